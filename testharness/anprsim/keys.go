package anprsim

import (
	"crypto"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"

	jose "github.com/go-jose/go-jose/v4"

	"airegw/testharness/sim"
)

// voucherKey signs vouchers.
type voucherKey struct {
	private *rsa.PrivateKey
	kid     string
}

func (s *Server) loadKey() (voucherKey, error) {
	private, err := s.findKey()
	if err != nil {
		return voucherKey{}, fmt.Errorf("key of the vouchers: %w", err)
	}
	kid, err := thumbprint(&private.PublicKey)
	if err != nil {
		return voucherKey{}, fmt.Errorf("key of the vouchers: %w", err)
	}
	return voucherKey{private: private, kid: kid}, nil
}

func (s *Server) findKey() (*rsa.PrivateKey, error) {
	if s.opt.Key != nil {
		return s.opt.Key, nil
	}
	return sim.OpenRSAKey(s.opt.Dir, "anpr-voucher-key")
}

// thumbprint is the RFC 7638 SHA-256 thumbprint, base64url, 43 characters:
// the kid the PDND portal shows.
func thumbprint(pub *rsa.PublicKey) (string, error) {
	k := jose.JSONWebKey{Key: pub}
	sum, err := k.Thumbprint(crypto.SHA256)
	if err != nil {
		return "", fmt.Errorf("thumbprint: %w", err)
	}
	return base64.RawURLEncoding.EncodeToString(sum), nil
}

func (s *Server) serveJWKS(w http.ResponseWriter, _ *http.Request) {
	k, err := s.keyOnce()
	if err != nil {
		sim.WriteProblem(w, sim.Problem{Status: http.StatusInternalServerError, Code: "key", Detail: err.Error()})
		return
	}
	sim.WriteJSON(w, http.StatusOK, jose.JSONWebKeySet{Keys: []jose.JSONWebKey{
		{Key: &k.private.PublicKey, KeyID: k.kid, Algorithm: "RS256", Use: "sig"},
	}})
}

// sign makes a compact RS256 JWS over claims with the given header type.
func (k voucherKey) sign(typ string, claims map[string]any) (string, error) {
	payload, err := json.Marshal(claims)
	if err != nil {
		return "", err
	}
	opts := (&jose.SignerOptions{}).WithType(jose.ContentType(typ)).WithHeader("use", "sig").WithHeader("kid", k.kid)
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.RS256, Key: k.private}, opts)
	if err != nil {
		return "", err
	}
	jws, err := signer.Sign(payload)
	if err != nil {
		return "", err
	}
	return jws.CompactSerialize()
}
