package anprcontract

import (
	"bytes"
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	jose "github.com/go-jose/go-jose/v4"

	"airegw/testharness/sim"
)

// Client is a PDND client with its private key: of a test, never of production.
type Client struct {
	ID       string            `json:"client_id"`
	Kid      string            `json:"kid"`
	Purposes map[string]string `json:"purposes"` // service code to purpose id
	Key      jose.JSONWebKey   `json:"private_jwk"`
	PEM      string            `json:"private_key,omitempty"` // PKCS #8 or #1, instead of private_jwk when read
}

// NewClient makes a client with a new key and a purpose for each service.
func NewClient(services map[string]string) (Client, error) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return Client{}, fmt.Errorf("contract: key of the client: %w", err)
	}
	c := NewPurposes("", services)
	c.Key = jose.JSONWebKey{Key: key, Algorithm: "RS256", Use: "sig"}
	sum, err := c.Key.Thumbprint(crypto.SHA256)
	if err != nil {
		return Client{}, fmt.Errorf("contract: thumbprint: %w", err)
	}
	c.Kid = base64.RawURLEncoding.EncodeToString(sum)
	c.Key.KeyID = c.Kid
	return c, nil
}

// NewPurposes is a client without a key: an id, drawn when empty, and a purpose
// for each service.
func NewPurposes(id string, services map[string]string) Client {
	if id == "" {
		id = uuid()
	}
	c := Client{ID: id, Purposes: map[string]string{}}
	for code := range services {
		c.Purposes[code] = uuid()
	}
	return c
}

func parsePEM(text []byte) (*rsa.PrivateKey, error) {
	block, _ := pem.Decode(text)
	if block == nil {
		return nil, errors.New("contract: private_key is no PEM block")
	}
	if key, err := x509.ParsePKCS1PrivateKey(block.Bytes); err == nil {
		return key, nil
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("contract: private_key: %w", err)
	}
	private, ok := key.(*rsa.PrivateKey)
	if !ok {
		return nil, errors.New("contract: private_key is not RSA")
	}
	return private, nil
}

// ReadClient reads a client as Encode writes it, or with the key as PEM. The kid may be left out:
// it is the thumbprint of the key.
func ReadClient(r io.Reader) (Client, error) {
	var c Client
	err := sim.ReadJSON(r, 64<<10, &c)
	if err != nil {
		return c, fmt.Errorf("contract: client: %w", err)
	}
	if c.PEM != "" {
		key, err := parsePEM([]byte(c.PEM))
		if err != nil {
			return c, err
		}
		c.Key, c.PEM = jose.JSONWebKey{Key: key, Algorithm: "RS256", Use: "sig"}, ""
	}
	if c.Kid == "" {
		c.Kid = c.Key.KeyID
	}
	if c.Kid == "" && c.Key.Valid() {
		sum, err := c.Key.Thumbprint(crypto.SHA256)
		if err != nil {
			return c, fmt.Errorf("contract: client: %w", err)
		}
		c.Kid = base64.RawURLEncoding.EncodeToString(sum)
	}
	c.Key.KeyID = c.Kid
	return c, c.check()
}

// Encode is the client as JSON, with its private key.
func (c Client) Encode() ([]byte, error) {
	b, err := json.MarshalIndent(c, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("contract: client: %w", err)
	}
	return append(b, '\n'), nil
}

// Public is the client's key set without private members.
func (c Client) Public() jose.JSONWebKeySet {
	return jose.JSONWebKeySet{Keys: []jose.JSONWebKey{c.Key.Public()}}
}

func (c Client) check() error {
	_, private := c.Key.Key.(*rsa.PrivateKey)
	switch {
	case c.ID == "":
		return errors.New("contract: the client has no client_id")
	case !private:
		return errors.New("contract: the client's private_jwk is not a private RSA key")
	case c.Kid == "":
		return errors.New("contract: the client has no kid")
	case len(c.Purposes) == 0:
		return errors.New("contract: the client has no purposes")
	}
	return nil
}

// Subject is a person of the register to judge, as the scenarios need one.
type Subject struct {
	CF      string `json:"cf"`
	IDANPR  string `json:"id_anpr,omitempty"`
	Surname string `json:"surname,omitempty"`
	Name    string `json:"name,omitempty"`
	Sex     string `json:"sex,omitempty"`
	Birth   string `json:"birth_date,omitempty"` // YYYY-MM-DD
	DiedOn  string `json:"died_on,omitempty"`
	// Comune of residence or AIRE registration, ISTAT code; the SOAP doors ask for it.
	Comune string `json:"comune,omitempty"`
}

// Subjects are people by role: aire (alive, living abroad), other (a second
// one), resident (in Italy, never in AIRE), deceased, cancelled, absent (a tax
// code nobody has), duplicate (one tax code, two people), unvalidated (tax code
// not validated), partial (birth date without day), minor (with parents in the
// register), lost (cancelled for another reason), accented (letters beyond ASCII
// in the surname), nameless (no first name).
type Subjects map[string]Subject

// ReadSubjects reads a JSON object from role to subject.
func ReadSubjects(r io.Reader) (Subjects, error) {
	s := Subjects{}
	err := sim.ReadJSON(r, 1<<20, &s)
	if err != nil {
		return nil, fmt.Errorf("contract: subjects: %w", err)
	}
	return s, nil
}

// SimSubjects are the roles as the simulators' population fills them.
func SimSubjects() Subjects {
	s := Subjects{"absent": {CF: "XXXXXX00A01H501X"}}
	for role, scenario := range map[string]string{
		"aire": "ok", "other": "theft", "resident": "not-aire", "deceased": "deceased", "cancelled": "aire-cancelled-6",
		"duplicate": "duplicate", "unvalidated": "cf-not-validated", "partial": "partial-birth-date", "minor": "minor-two-parents",
		"lost": "aire-cancelled-5", "accented": "diacritics", "nameless": "no-first-name",
	} {
		if p, ok := sim.PersonByScenario(scenario); ok {
			one := Subject{CF: p.CF, IDANPR: p.IDANPR, Surname: p.Surname, Name: p.Name, Sex: p.Sex, Birth: p.Birth.Date, DiedOn: p.DiedOn, Comune: p.Address.ComuneISTAT}
			if p.AIRE != nil {
				one.Comune = p.AIRE.ComuneISTAT
			}
			s[role] = one
		}
	}
	return s
}

// SimLine is the JSON line "airegw sim anpr" prints; the same object is
// served at DiscoveryPath of its protocol address.
type SimLine struct {
	URL               string            `json:"url"`            // base of door A: "/<service>/v1/anpr-service-e002" is appended
	TokenURL          string            `json:"token_url"`      // PDND's token endpoint
	ManagementURL     string            `json:"management_url"` // faults, clock, true causes
	Audience          string            `json:"audience"`       // base of the audiences: "/<service>/v1" is appended
	ClientID          string            `json:"client_id"`
	Kid               string            `json:"kid"`
	Purposes          map[string]string `json:"purposes"` // service code to purpose id
	AssertionAudience string            `json:"assertion_audience"`
	JWKSURL           string            `json:"jwks_url"`
	Services          map[string]string `json:"services"`               // code to the full address of the operation
	Audiences         map[string]string `json:"audiences"`              // code to aud
	ClientFile        string            `json:"client_file,omitempty"`  // the test client with its private key; absent with --client-jwks
	CIEURL            string            `json:"cie_url,omitempty"`      // door B
	ConsularURL       string            `json:"consular_url,omitempty"` // door C; certificates: POST /soap of the management API
	Seed              uint64            `json:"seed,omitempty"`
	PID               int               `json:"pid,omitempty"`
}

// DiscoveryPath tells where a simulator says what it is.
const DiscoveryPath = "/.well-known/airegw-sim-anpr"

// Discover asks an address whether it is a simulator of ours.
func Discover(ctx context.Context, origin string) (SimLine, error) {
	var line SimLine
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, origin+DiscoveryPath, nil)
	if err != nil {
		return line, fmt.Errorf("contract: %w", err)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return line, fmt.Errorf("contract: %w", err)
	}
	defer res.Body.Close() //nolint:errcheck // read-only
	if res.StatusCode != http.StatusOK {
		return line, fmt.Errorf("contract: %s%s answers %d: not a simulator of ours, so a client, its audience and a token address are needed", origin, DiscoveryPath, res.StatusCode)
	}
	body, err := io.ReadAll(io.LimitReader(res.Body, 1<<20))
	if err == nil {
		err = json.Unmarshal(body, &line)
	}
	if err != nil {
		return line, fmt.Errorf("contract: what %s says of itself: %w", origin, err)
	}
	return line, nil
}

// Register makes a test client known to a simulator through its management API.
func Register(ctx context.Context, managementURL string, c Client) error {
	body, err := json.Marshal(map[string]any{"client_id": c.ID, "jwks": c.Public(), "purposes": c.Purposes})
	if err != nil {
		return fmt.Errorf("contract: register: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, managementURL+"/clients", bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("contract: register: %w", err)
	}
	req.Header.Set("Content-Type", "application/json")
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return fmt.Errorf("contract: register: %w", err)
	}
	defer res.Body.Close() //nolint:errcheck // read-only
	if res.StatusCode != http.StatusCreated {
		text, _ := io.ReadAll(io.LimitReader(res.Body, 1000)) // only to tell
		return fmt.Errorf("contract: register the test client: %d %s", res.StatusCode, text)
	}
	return nil
}

// Signed is a call ready to be sent: the address, the exact body, the headers.
type Signed struct {
	Method  string            `json:"method"`
	URL     string            `json:"url"`
	Headers map[string]string `json:"headers"`
	Body    string            `json:"body"`
}

// Sign prepares one call of a service for whoever sends it by hand: it gets the
// voucher from the token endpoint and signs the body. The headers are good for
// one call, for two minutes.
func Sign(ctx context.Context, t Target, service, body string) (Signed, error) {
	err := t.check()
	if err != nil {
		return Signed{}, err
	}
	if t.Services[service] == "" || t.Client.Purposes[service] == "" {
		return Signed{}, fmt.Errorf("contract: the client has no purpose for service %q", service)
	}
	t.ManagementURL = ""
	s, err := newSession(ctx, t, Options{PerCall: 10 * time.Second, MaxCalls: 10, Now: time.Now})
	if err != nil {
		return Signed{}, err
	}
	defer s.restore()
	req, err := s.request(draft{service: service, raw: body})
	if err != nil {
		return Signed{}, fmt.Errorf("contract: sign: %w", err)
	}
	out := Signed{Method: req.Method, URL: req.URL.String(), Headers: map[string]string{}, Body: body}
	for _, name := range []string{"Content-Type", "Authorization", "Digest", "Agid-JWT-Signature", "Agid-JWT-TrackingEvidence"} {
		out.Headers[name] = req.Header.Get(name)
	}
	return out, nil
}

// Question is the body of a call about one person, by tax code or by idANPR.
func Question(service, fiscalCode, idANPR, reason string, now time.Time) (string, error) {
	criteria := map[string]string{}
	if fiscalCode != "" {
		criteria["codiceFiscale"] = fiscalCode
	}
	if idANPR != "" {
		criteria["idANPR"] = idANPR
	}
	body, err := json.Marshal(map[string]any{
		"idOperazioneClient": now.UTC().Format("20060102150405") + fmt.Sprintf("%09d", now.Nanosecond()),
		"criteriRicerca":     criteria,
		"datiRichiesta": map[string]string{
			"dataRiferimentoRichiesta": now.UTC().Format(time.DateOnly), "motivoRichiesta": reason, "casoUso": service,
		},
	})
	if err != nil {
		return "", fmt.Errorf("contract: question: %w", err)
	}
	return string(body), nil
}
