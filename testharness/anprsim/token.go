package anprsim

import (
	"bytes"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"strings"
	"time"

	jose "github.com/go-jose/go-jose/v4"
)

// compact is a compact JWS taken apart, its signature not yet checked.
type compact struct {
	raw    string
	header map[string]any
	claims map[string]any
}

var (
	errNotCompact = errors.New("not three base64url parts")
	errNotObject  = errors.New("header or payload is not a JSON object")
)

// parseCompact takes a compact JWS apart. It is strict: padding, trailing data
// and a payload that is not an object are errors.
func parseCompact(raw string) (compact, error) {
	parts := strings.Split(raw, ".")
	if len(parts) != 3 || len(raw) > 16<<10 {
		return compact{}, errNotCompact
	}
	t := compact{raw: raw}
	for i, into := range []*map[string]any{&t.header, &t.claims} {
		text, err := base64.RawURLEncoding.DecodeString(parts[i])
		if err != nil {
			return compact{}, errNotCompact
		}
		dec := json.NewDecoder(bytes.NewReader(text))
		dec.UseNumber()
		err = dec.Decode(into)
		if err != nil || *into == nil {
			return compact{}, errNotObject
		}
		if _, err = dec.Token(); !errors.Is(err, io.EOF) {
			return compact{}, errNotObject
		}
	}
	_, err := base64.RawURLEncoding.DecodeString(parts[2])
	if err != nil || parts[2] == "" {
		return compact{}, errNotCompact
	}
	return t, nil
}

// verify checks the signature, RS256 only.
func (t compact) verify(pub *rsa.PublicKey) bool {
	jws, err := jose.ParseSignedCompact(t.raw, []jose.SignatureAlgorithm{jose.RS256})
	if err != nil {
		return false
	}
	_, err = jws.Verify(pub)
	return err == nil
}

// text is a claim or header that must be a string.
func text(m map[string]any, name string) string {
	v, _ := m[name].(string)
	return v
}

// has says whether the member is there at all.
func has(m map[string]any, name string) bool { _, ok := m[name]; return ok }

// seconds is a NumericDate; ok is false when absent or not a number.
func seconds(m map[string]any, name string) (time.Time, bool) {
	n, ok := m[name].(json.Number)
	if !ok {
		return time.Time{}, false
	}
	f, err := n.Float64()
	if err != nil || f < 0 || f > 1e14 {
		return time.Time{}, false
	}
	return time.Unix(int64(f), 0), true
}

// hasAudience accepts a string or a list that holds want.
func hasAudience(m map[string]any, want string) bool {
	switch v := m["aud"].(type) {
	case string:
		return v == want
	case []any:
		for _, a := range v {
			if a == want {
				return true
			}
		}
	}
	return false
}
