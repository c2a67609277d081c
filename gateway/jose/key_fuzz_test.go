package jose_test

import (
	"encoding/json"
	"errors"
	"testing"

	"airegw/gateway/jose"
)

// FuzzParsePrivateKey: a key file is a key that signs, or refused with a code
// and without its contents.
func FuzzParsePrivateKey(f *testing.F) {
	f.Add([]byte(`{"kty":"EC","crv":"P-256","x":"MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4","y":"4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM","d":"870MB6gfuTJ4HtUnUvYMyJpr5eUZNP4Bk43bVdj3eAE"}`))
	f.Add([]byte(`{"kty":"RSA","alg":"ES256"}`))
	f.Add([]byte("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"))
	f.Add([]byte("-----BEGIN EC PRIVATE KEY-----\n\n-----END EC PRIVATE KEY-----\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		key, err := jose.ParsePrivateKey(data, jose.ES256)
		if err != nil {
			if e := (*jose.Error)(nil); !errors.As(err, &e) || e.Code == "" {
				t.Fatalf("refused as %v", err)
			}
			return
		}
		compact, err := jose.SignBytes(key, jose.Header{Typ: "x"}, []byte("y"))
		if err != nil {
			t.Fatalf("a key that does not sign: %v", err)
		}
		if _, err := jose.VerifyBytes(compact, jose.NewKeySet(key.Public()), []jose.Algorithm{jose.ES256}, []string{"x"}); err != nil {
			t.Fatalf("its signature does not hold: %v", err)
		}
		if _, err := json.Marshal(key.Public()); err != nil {
			t.Fatal(err)
		}
	})
}
