package login

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"net/url"
	"time"
)

// trail gathers the evidence of one login in the order it happened.
type trail struct {
	now     func() time.Time
	records []Record
}

func (t *trail) add(kind RecordKind, content any) {
	data, err := json.Marshal(content)
	if err != nil {
		// Contents are our own structs of texts; only a bug gets here, and a login
		// without its evidence would be worse than a note in its place.
		data = json.RawMessage(`"not encodable"`)
	}
	t.records = append(t.records, Record{Kind: kind, At: t.now().UTC(), Content: data, Shared: kind == RecordTrustChain})
}

// sent is a form we posted; codes are kept as digests, being of no use after.
type sent struct {
	URL  string              `json:"url"`
	Form map[string][]string `json:"form,omitempty"`
}

// answered is what came back.
type answered struct {
	Status int    `json:"status,omitempty"`
	Type   string `json:"content_type,omitempty"`
	Body   string `json:"body,omitempty"`
	// JWS is the signed object inside an encrypted body: both are the proof.
	JWS   string `json:"jws,omitempty"`
	Error string `json:"error,omitempty"` // why nothing came back
}

// maxKept bounds what is kept of an answer that is no token anyway.
const maxKept = 64 << 10

func kept(body []byte) string { return string(body[:min(len(body), maxKept)]) }

func digestOf(text string) string {
	sum := sha256.Sum256([]byte(text))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// hashed is a copy of parameters with the values of code and token digested, and
// bounded: they come from outside.
func hashed(params url.Values) map[string][]string {
	out := map[string][]string{}
	for name, values := range params {
		if len(out) == 16 {
			break
		}
		for i, v := range values {
			if i == 2 {
				break
			}
			if name == "code" || name == "token" {
				v = "sha256:" + digestOf(v)
			}
			out[name[:min(len(name), 64)]] = append(out[name[:min(len(name), 64)]], v[:min(len(v), 4096)])
		}
	}
	return out
}
