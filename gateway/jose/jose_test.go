package jose_test

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	gojose "github.com/go-jose/go-jose/v4"

	"airegw/gateway/jose"
)

var now = time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)

// keys of every algorithm, made once: RSA generation is slow.
var keys = sync.OnceValue(func() map[jose.Algorithm]jose.Key {
	out := map[jose.Algorithm]jose.Key{}
	for _, a := range []jose.Algorithm{jose.ES256, jose.ES512, jose.RS256, jose.RSAOAEP256, jose.ECDHES, jose.ECDHESA128KW, jose.ECDHESA256KW} {
		k, err := jose.GenerateKey(a)
		if err != nil {
			panic(err)
		}
		out[a] = k
	}
	for _, a := range []jose.Algorithm{jose.RS512, jose.PS256, jose.PS512} {
		k, err := jose.NewKey(a, out[jose.RS256].Signer())
		if err != nil {
			panic(err)
		}
		out[a] = k
	}
	k, err := jose.NewKey(jose.RSAOAEP, out[jose.RSAOAEP256].Signer())
	if err != nil {
		panic(err)
	}
	out[jose.RSAOAEP] = k
	return out
})

type claims struct {
	Iss  string `json:"iss,omitempty"`
	Sub  string `json:"sub,omitempty"`
	Aud  any    `json:"aud,omitempty"`
	Iat  any    `json:"iat,omitempty"`
	Nbf  any    `json:"nbf,omitempty"`
	Exp  any    `json:"exp,omitempty"`
	Jti  string `json:"jti,omitempty"`
	Note string `json:"note,omitempty"`
}

func good() claims {
	return claims{Iss: "core", Sub: "x", Aud: "gateway", Iat: now.Unix(), Exp: now.Add(time.Minute).Unix(), Jti: "1", Note: "n"}
}

func want() jose.Expect {
	return jose.Expect{
		Algs: []jose.Algorithm{jose.ES256}, Typ: []string{"event+jwt"}, Now: now, Skew: 5 * time.Second,
		Issuer: "core", Audience: "gateway",
	}
}

func code(err error) jose.Code {
	var e *jose.Error
	if errors.As(err, &e) {
		return e.Code
	}
	if err != nil {
		return jose.Code("untyped: " + err.Error())
	}
	return ""
}

func sign(t *testing.T, k jose.Key, typ string, c any) string {
	t.Helper()
	s, err := jose.Sign(k, typ, c)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func set(k jose.Key) jose.KeySet { return jose.NewKeySet(k.Public()) }

func TestATokenOfEveryAlgorithmVerifiesHereAndInAnotherLibrary(t *testing.T) {
	t.Parallel()
	for _, alg := range []jose.Algorithm{jose.ES256, jose.ES512, jose.RS256, jose.RS512, jose.PS256, jose.PS512} {
		k := keys()[alg]
		tok := sign(t, k, "event+jwt", good())
		w := want()
		w.Algs = []jose.Algorithm{alg}
		var got claims
		v, err := jose.Verify(tok, set(k), w, &got)
		if err != nil {
			t.Fatalf("%s: %v", alg, err)
		}
		if got.Note != "n" || v.KID != k.KID() || v.Issuer != "core" || v.ID != "1" || !v.ExpiresAt.Equal(now.Add(time.Minute)) {
			t.Errorf("%s: got %+v %+v", alg, got, v)
		}
		other, err := gojose.ParseSignedCompact(tok, []gojose.SignatureAlgorithm{gojose.SignatureAlgorithm(alg)})
		if err != nil {
			t.Fatalf("%s: go-jose: %v", alg, err)
		}
		payload, err := other.Verify(k.Public().Raw())
		if err != nil || string(payload) != string(v.Payload) {
			t.Errorf("%s: go-jose: %v", alg, err)
		}
		if other.Signatures[0].Protected.KeyID != k.KID() {
			t.Errorf("%s: kid %q", alg, other.Signatures[0].Protected.KeyID)
		}
	}
}

func TestKidIsTheThumbprintOfRFC7638(t *testing.T) {
	t.Parallel()
	for alg, k := range keys() {
		j := gojose.JSONWebKey{Key: k.Public().Raw()}
		sum, err := j.Thumbprint(5) // crypto.SHA256
		if err != nil {
			t.Fatal(err)
		}
		if got := base64.RawURLEncoding.EncodeToString(sum); got != k.KID() || len(got) != 43 {
			t.Errorf("%s: %s is not %s", alg, k.KID(), got)
		}
	}
}

func TestEveryClaimThatIsNotAsExpectedIsRefusedWithItsOwnCode(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		claims func(*claims)
		want   func(*jose.Expect)
		code   jose.Code
	}{
		"no exp":                   {claims: func(c *claims) { c.Exp = nil }, code: jose.CodeClaimMissing},
		"no iat":                   {claims: func(c *claims) { c.Iat = nil }, code: jose.CodeClaimMissing},
		"expired":                  {claims: func(c *claims) { c.Exp = now.Add(-5 * time.Second).Unix() }, code: jose.CodeExpired},
		"expired within the skew":  {claims: func(c *claims) { c.Exp = now.Add(-4 * time.Second).Unix() }},
		"from the future":          {claims: func(c *claims) { c.Iat = now.Add(6 * time.Second).Unix() }, code: jose.CodeFutureIat},
		"iat in milliseconds":      {claims: func(c *claims) { c.Iat = now.UnixMilli() }, code: jose.CodeClaimInvalid},
		"exp a string":             {claims: func(c *claims) { c.Exp = "soon" }, code: jose.CodeClaimInvalid},
		"exp negative":             {claims: func(c *claims) { c.Exp = -1 }, code: jose.CodeClaimInvalid},
		"nbf in the future":        {claims: func(c *claims) { c.Nbf = now.Add(time.Minute).Unix() }, code: jose.CodeNotYetValid},
		"fractional dates":         {claims: func(c *claims) { c.Iat = float64(now.Unix()) - 0.5 }},
		"too old":                  {claims: func(c *claims) { c.Iat = now.Add(-time.Hour).Unix() }, want: func(e *jose.Expect) { e.MaxAge = time.Minute }, code: jose.CodeTooOld},
		"lives too long":           {claims: func(c *claims) { c.Exp = now.Add(time.Hour).Unix() }, want: func(e *jose.Expect) { e.MaxLife = time.Minute }, code: jose.CodeLifeTooLong},
		"other issuer":             {claims: func(c *claims) { c.Iss = "evil" }, code: jose.CodeIssuer},
		"no issuer":                {claims: func(c *claims) { c.Iss = "" }, code: jose.CodeIssuer},
		"other subject":            {want: func(e *jose.Expect) { e.Subject = "y" }, code: jose.CodeSubject},
		"other audience":           {claims: func(c *claims) { c.Aud = "evil" }, code: jose.CodeAudience},
		"no audience":              {claims: func(c *claims) { c.Aud = nil }, code: jose.CodeAudience},
		"several audiences":        {claims: func(c *claims) { c.Aud = []string{"a", "gateway"} }},
		"audience of wrong type":   {claims: func(c *claims) { c.Aud = 7 }, code: jose.CodeClaimInvalid},
		"no expiry where allowed":  {claims: func(c *claims) { c.Exp = nil }, want: func(e *jose.Expect) { e.NoExpiry = true }},
		"expired though optional":  {claims: func(c *claims) { c.Exp = 1 }, want: func(e *jose.Expect) { e.NoExpiry = true }, code: jose.CodeExpired},
		"no audience foreseen":     {claims: func(c *claims) { c.Aud = nil }, want: func(e *jose.Expect) { e.Audience, e.NoAudience = "", true }},
		"caller forgot the issuer": {want: func(e *jose.Expect) { e.Issuer = "" }, code: jose.CodeExpectation},
		"caller forgot the aud":    {want: func(e *jose.Expect) { e.Audience = "" }, code: jose.CodeExpectation},
		"caller forgot the clock":  {want: func(e *jose.Expect) { e.Now = time.Time{} }, code: jose.CodeExpectation},
		"caller forgot the typ":    {want: func(e *jose.Expect) { e.Typ = nil }, code: jose.CodeExpectation},
		"caller forgot the algs":   {want: func(e *jose.Expect) { e.Algs = nil }, code: jose.CodeExpectation},
		"typ of another token":     {want: func(e *jose.Expect) { e.Typ = []string{"JWT"} }, code: jose.CodeTypRefused},
		"typ as full media type":   {want: func(e *jose.Expect) { e.Typ = []string{"application/EVENT+jwt"} }},
		"alg not on the list":      {want: func(e *jose.Expect) { e.Algs = []jose.Algorithm{jose.RS256} }, code: jose.CodeAlgRefused},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c, w := good(), want()
			if tc.claims != nil {
				tc.claims(&c)
			}
			if tc.want != nil {
				tc.want(&w)
			}
			k := keys()[jose.ES256]
			var got claims
			if _, err := jose.Verify(sign(t, k, "event+jwt", c), set(k), w, &got); code(err) != tc.code {
				t.Errorf("got %v, want %q", err, tc.code)
			}
		})
	}
}

func TestAlteredHeadersAndForeignKeysAreRefused(t *testing.T) {
	t.Parallel()
	k := keys()[jose.ES256]
	tok := sign(t, k, "event+jwt", good())
	parts := strings.Split(tok, ".")
	header := func(h string) string {
		return base64.RawURLEncoding.EncodeToString([]byte(h)) + "." + parts[1] + "." + parts[2]
	}
	other, err := jose.GenerateKey(jose.ES256)
	if err != nil {
		t.Fatal(err)
	}
	kid := k.KID()
	for name, tc := range map[string]struct {
		tok  string
		set  jose.KeySet
		code jose.Code
	}{
		"alg none":            {header(`{"alg":"none","typ":"event+jwt","kid":"` + kid + `"}`), set(k), jose.CodeAlgRefused},
		"alg HS256":           {header(`{"alg":"HS256","typ":"event+jwt","kid":"` + kid + `"}`), set(k), jose.CodeAlgRefused},
		"no kid":              {header(`{"alg":"ES256","typ":"event+jwt"}`), set(k), jose.CodeKidMissing},
		"no typ":              {header(`{"alg":"ES256","kid":"` + kid + `"}`), set(k), jose.CodeTypRefused},
		"ALG in capitals":     {header(`{"ALG":"ES256","typ":"event+jwt","kid":"` + kid + `"}`), set(k), jose.CodeAlgRefused},
		"crit":                {header(`{"alg":"ES256","typ":"event+jwt","kid":"` + kid + `","crit":["exp"]}`), set(k), jose.CodeCriticalHeader},
		"b64":                 {header(`{"alg":"ES256","typ":"event+jwt","kid":"` + kid + `","b64":false}`), set(k), jose.CodeCriticalHeader},
		"header re-signed":    {header(`{"alg":"ES256","typ":"event+jwt","kid":"` + kid + `","cty":"x"}`), set(k), jose.CodeSignature},
		"key of someone else": {tok, set(other), jose.CodeUnknownKey},
		"empty set":           {tok, jose.KeySet{}, jose.CodeUnknownKey},
		"four parts":          {tok + ".x", set(k), jose.CodeMalformed},
		"padding":             {tok + "=", set(k), jose.CodeMalformed},
		"empty":               {"", set(k), jose.CodeMalformed},
		"huge":                {strings.Repeat("a", jose.MaxToken+1), set(k), jose.CodeTooLarge},
		"json serialization":  {`{"payload":"","signatures":[]}`, set(k), jose.CodeMalformed},
	} {
		if _, err := jose.Verify(tc.tok, tc.set, want(), nil); code(err) != tc.code {
			t.Errorf("%s: got %v, want %s", name, err, tc.code)
		}
	}
	// Same kid, other key: the signature decides.
	data, err := json.Marshal(set(other))
	if err != nil {
		t.Fatal(err)
	}
	swapped, err := jose.ParseKeySet([]byte(strings.ReplaceAll(string(data), other.KID(), kid)))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := jose.Verify(tok, swapped, want(), nil); code(err) != jose.CodeSignature {
		t.Errorf("swapped key: %v", err)
	}
}

func TestAPublicKeyNeverServesAsAnHMACSecretNorAnEncryptionKeyForSignatures(t *testing.T) {
	t.Parallel()
	k := keys()[jose.RS256]
	data, err := json.Marshal(set(k))
	if err != nil {
		t.Fatal(err)
	}
	enc, err := jose.ParseKeySet([]byte(strings.ReplaceAll(string(data), `"use":"sig"`, `"use":"enc"`)))
	if err != nil {
		t.Fatal(err)
	}
	w := want()
	w.Algs = []jose.Algorithm{jose.RS256, jose.PS256}
	tok := sign(t, k, "event+jwt", good())
	if _, err := jose.Verify(tok, enc, w, nil); code(err) != jose.CodeUnknownKey {
		t.Errorf("use enc: %v", err)
	}
	// The set says RS256; a PS256 signature by the same key is not what it published.
	tok = sign(t, keys()[jose.PS256], "event+jwt", good())
	if _, err := jose.Verify(tok, set(k), w, nil); code(err) != jose.CodeUnknownKey {
		t.Errorf("other alg: %v", err)
	}
}

func TestForeignSetsWithPrivateMembersAreRefusedAndOddKeysLeftOut(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "k.jwk")
	if err := jose.SaveKey(path, keys()[jose.ES256]); err != nil {
		t.Fatal(err)
	}
	private, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := jose.ParseKeySet([]byte(`{"keys":[` + string(private) + `]}`)); code(err) != jose.CodePrivateMember {
		t.Errorf("private key accepted: %v", err)
	}
	if _, err := jose.ParseKeySet([]byte(`{"keys":[{"kty":"oct","k":"AAAA"}]}`)); code(err) != jose.CodePrivateMember {
		t.Errorf("symmetric key accepted: %v", err)
	}
	s, err := jose.ParseKeySet([]byte(`{"keys":[{"kty":"OKP","crv":"Ed25519","x":"AAAA"},{"kty":"RSA","n":"AQAB","e":"AQAB","kid":"weak"},{"kty":"EC","crv":"P-256","x":"AAAA","y":"AAAA"}]}`))
	if err != nil || s.Len() != 0 {
		t.Errorf("odd keys: %d %v", s.Len(), err)
	}
	for _, bad := range []string{"", "[]", `{}`, `{"keys":{}}`, `{"keys":[1]}`, `{"keys":[]} x`, strings.Repeat(" ", jose.MaxKeySet+1)} {
		if _, err := jose.ParseKeySet([]byte(bad)); err == nil {
			t.Errorf("accepted %.20q", bad)
		}
	}
}

func TestKeyFilesRoundTripAndMayNotLieOpen(t *testing.T) {
	t.Parallel()
	for _, alg := range []jose.Algorithm{jose.ES256, jose.RS256, jose.RSAOAEP256} {
		dir := t.TempDir()
		k := keys()[alg]
		for i, save := range []func(string, jose.Key) error{jose.SaveKey, jose.SaveKeyPEM} {
			path := filepath.Join(dir, fmt.Sprintf("k%d", i))
			if err := save(path, k); err != nil {
				t.Fatal(err)
			}
			if err := save(path, k); code(err) != jose.CodeKeyFile {
				t.Errorf("overwritten: %v", err)
			}
			info, err := os.Stat(path)
			if err != nil || info.Mode().Perm() != 0o600 {
				t.Errorf("mode %v %v", info.Mode(), err)
			}
			got, err := jose.LoadKey(path, alg)
			if err != nil || got.KID() != k.KID() {
				t.Fatalf("%s: %v", alg, err)
			}
			if err := os.Chmod(path, 0o640); err != nil {
				t.Fatal(err)
			}
			if _, err := jose.LoadKey(path, alg); code(err) != jose.CodeKeyFileOpen {
				t.Errorf("open file: %v", err)
			}
			if err := os.Chmod(path, 0o600); err != nil {
				t.Fatal(err)
			}
			wrong := jose.ES512
			if _, err := jose.LoadKey(path, wrong); code(err) != jose.CodeAlgRefused {
				t.Errorf("wrong alg: %v", err)
			}
		}
		left, err := os.ReadDir(dir)
		if err != nil || len(left) != 2 {
			t.Errorf("left over: %v %v", left, err)
		}
		if s := fmt.Sprintf("%v %+v %#v", k, k, k); strings.Count(s, "jose.Key(") != 3 {
			t.Errorf("prints %s", s)
		}
	}
	if _, err := jose.LoadKey(filepath.Join(t.TempDir(), "none"), jose.ES256); code(err) != jose.CodeKeyFile {
		t.Errorf("missing file: %v", err)
	}
}

func TestClaimsMustBeAStructSoThatNoNameComesFromOutside(t *testing.T) {
	t.Parallel()
	for _, c := range []any{map[string]any{`x":0,"admin`: true}, nil, "x", []int{1}, json.RawMessage(`{}`)} {
		if _, err := jose.Sign(keys()[jose.ES256], "JWT", c); code(err) != jose.CodeExpectation {
			t.Errorf("%T: %v", c, err)
		}
	}
	for _, h := range []jose.Header{{}, {Typ: `a"b`}, {Typ: "a", NoTyp: true}, {Typ: "a", Cty: "x y"}} {
		if _, err := jose.SignBytes(keys()[jose.ES256], h, nil); code(err) != jose.CodeExpectation {
			t.Errorf("%+v: %v", h, err)
		}
	}
	if _, err := jose.Sign(keys()[jose.RSAOAEP256], "JWT", claims{}); code(err) != jose.CodeAlgRefused {
		t.Errorf("encryption key signs: %v", err)
	}
	if _, err := jose.Sign(jose.Key{}, "JWT", claims{}); code(err) != jose.CodeExpectation {
		t.Errorf("zero key signs: %v", err)
	}
}

func TestADetachedSignatureBindsTheContent(t *testing.T) {
	t.Parallel()
	k := keys()[jose.ES256]
	content := []byte("rules: v1\n")
	sig, err := jose.SignDetached(k, "rules+jws", content)
	if err != nil {
		t.Fatal(err)
	}
	algs, typ := []jose.Algorithm{jose.ES256}, []string{"rules+jws"}
	if _, err := jose.VerifyDetached(sig, content, set(k), algs, typ); err != nil {
		t.Fatal(err)
	}
	for _, other := range [][]byte{nil, []byte("rules: v2\n")} {
		if _, err := jose.VerifyDetached(sig, other, set(k), algs, typ); code(err) != jose.CodeSignature {
			t.Errorf("%q: %v", other, err)
		}
	}
	whole, err := jose.SignBytes(k, jose.Header{Typ: "rules+jws"}, content)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := jose.VerifyDetached(whole, content, set(k), algs, typ); code(err) != jose.CodeMalformed {
		t.Errorf("attached: %v", err)
	}
	empty, err := jose.SignDetached(k, "rules+jws", nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := jose.VerifyDetached(empty, nil, set(k), algs, typ); err != nil {
		t.Errorf("empty content: %v", err)
	}
}

func TestEncryptionRoundTripsAndIsReadByAnotherLibrary(t *testing.T) {
	t.Parallel()
	for _, alg := range []jose.Algorithm{jose.RSAOAEP, jose.RSAOAEP256, jose.ECDHES, jose.ECDHESA128KW, jose.ECDHESA256KW} {
		for _, enc := range []jose.ContentEncryption{jose.A128CBCHS256, jose.A256CBCHS512, jose.A256GCM} {
			k := keys()[alg]
			tok, err := jose.Encrypt(k.Public(), alg, enc, "JWT", []byte("secret"))
			if err != nil {
				t.Fatal(err)
			}
			out, err := jose.Decrypt(tok, []jose.Key{k}, []jose.Algorithm{alg}, []jose.ContentEncryption{enc})
			if err != nil || string(out) != "secret" {
				t.Fatalf("%s %s: %v", alg, enc, err)
			}
			other, err := gojose.ParseEncryptedCompact(tok, []gojose.KeyAlgorithm{gojose.KeyAlgorithm(alg)}, []gojose.ContentEncryption{gojose.ContentEncryption(enc)})
			if err != nil {
				t.Fatal(err)
			}
			if out, err := other.Decrypt(k.Signer()); err != nil || string(out) != "secret" {
				t.Errorf("go-jose: %v", err)
			}
		}
	}
}

func TestAnEphemeralKeyOffTheCurveIsRefused(t *testing.T) {
	t.Parallel()
	k := keys()[jose.ECDHES]
	tok, err := jose.Encrypt(k.Public(), jose.ECDHES, jose.A256CBCHS512, "", []byte("secret"))
	if err != nil {
		t.Fatal(err)
	}
	parts := strings.Split(tok, ".")
	raw, err := base64.RawURLEncoding.DecodeString(parts[0])
	if err != nil {
		t.Fatal(err)
	}
	var header map[string]any
	if err := json.Unmarshal(raw, &header); err != nil {
		t.Fatal(err)
	}
	epk := header["epk"].(map[string]any)
	for what, change := range map[string]map[string]any{
		"another point": {"kty": "EC", "crv": "P-256", "x": epk["y"], "y": epk["x"]},
		"another curve": {"kty": "EC", "crv": "P-521", "x": epk["x"], "y": epk["y"]},
		"no curve":      {"kty": "EC", "x": epk["x"], "y": epk["y"]},
		"zero":          {"kty": "EC", "crv": "P-256", "x": "AA", "y": "AA"},
		"an RSA key":    {"kty": "RSA", "n": epk["x"], "e": "AQAB"},
	} {
		header["epk"] = change
		raw, err := json.Marshal(header)
		if err != nil {
			t.Fatal(err)
		}
		parts[0] = base64.RawURLEncoding.EncodeToString(raw)
		_, err = jose.Decrypt(strings.Join(parts, "."), []jose.Key{k}, []jose.Algorithm{jose.ECDHES}, []jose.ContentEncryption{jose.A256CBCHS512})
		if code(err) != jose.CodeDecrypt {
			t.Errorf("%s: %v", what, err)
		}
	}
}

func TestDecryptRefusesWhatIsNotOnTheLists(t *testing.T) {
	t.Parallel()
	k := keys()[jose.RSAOAEP256]
	tok, err := jose.Encrypt(k.Public(), jose.RSAOAEP256, jose.A256GCM, "", []byte("secret"))
	if err != nil {
		t.Fatal(err)
	}
	ring := []jose.Key{k}
	algs, encs := []jose.Algorithm{jose.RSAOAEP256}, []jose.ContentEncryption{jose.A256GCM}
	parts := strings.Split(tok, ".")
	header := func(h string) string {
		return base64.RawURLEncoding.EncodeToString([]byte(h)) + "." + strings.Join(parts[1:], ".")
	}
	flipped := []byte(parts[3])
	if flipped[0] == 'A' { // another letter of base64url, whichever it is
		flipped[0] = 'B'
	} else {
		flipped[0] = 'A'
	}
	for name, tc := range map[string]struct {
		tok  string
		ring []jose.Key
		algs []jose.Algorithm
		encs []jose.ContentEncryption
		code jose.Code
	}{
		"alg off list":  {tok, ring, []jose.Algorithm{jose.RSAOAEP}, encs, jose.CodeAlgRefused},
		"enc off list":  {tok, ring, algs, []jose.ContentEncryption{jose.A256CBCHS512}, jose.CodeEncRefused},
		"no key":        {tok, nil, algs, encs, jose.CodeUnknownKey},
		"no lists":      {tok, ring, nil, nil, jose.CodeExpectation},
		"zip":           {header(`{"alg":"RSA-OAEP-256","enc":"A256GCM","kid":"` + k.KID() + `","zip":"DEF"}`), ring, algs, encs, jose.CodeCriticalHeader},
		"no kid":        {header(`{"alg":"RSA-OAEP-256","enc":"A256GCM"}`), ring, algs, encs, jose.CodeKidMissing},
		"RSA1_5":        {header(`{"alg":"RSA1_5","enc":"A256GCM","kid":"` + k.KID() + `"}`), ring, algs, encs, jose.CodeAlgRefused},
		"dir":           {header(`{"alg":"dir","enc":"A256GCM","kid":"` + k.KID() + `"}`), ring, algs, encs, jose.CodeAlgRefused},
		"header edited": {header(`{"alg":"RSA-OAEP-256","enc":"A256GCM","kid":"` + k.KID() + `","cty":"x"}`), ring, algs, encs, jose.CodeDecrypt},
		"content bit":   {strings.Join([]string{parts[0], parts[1], parts[2], string(flipped), parts[4]}, "."), ring, algs, encs, jose.CodeDecrypt},
		"three parts":   {"a.b.c", ring, algs, encs, jose.CodeMalformed},
	} {
		if _, err := jose.Decrypt(tc.tok, tc.ring, tc.algs, tc.encs); code(err) != tc.code {
			t.Errorf("%s: got %v, want %s", name, err, tc.code)
		}
	}
	if _, err := jose.Encrypt(keys()[jose.RS256].Public(), jose.RSAOAEP256, jose.A256GCM, "", nil); code(err) != jose.CodeAlgRefused {
		t.Errorf("signature key encrypts: %v", err)
	}
}

func TestPeekReadsWithoutBelieving(t *testing.T) {
	t.Parallel()
	k := keys()[jose.ES256]
	var c claims
	kid, alg, typ, err := jose.Peek(sign(t, k, "event+jwt", good()), &c)
	if err != nil || kid != k.KID() || alg != jose.ES256 || typ != "event+jwt" || c.Iss != "core" {
		t.Errorf("%s %s %s %+v %v", kid, alg, typ, c, err)
	}
	if _, _, _, err := jose.Peek("a.b", &c); code(err) != jose.CodeMalformed {
		t.Errorf("%v", err)
	}
}

func FuzzVerify(f *testing.F) {
	k := keys()[jose.ES256]
	tok, err := jose.Sign(k, "event+jwt", good())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(tok)
	f.Add("e30.e30.e30")
	f.Add("..")
	f.Add(strings.Replace(tok, ".", ".A", 1))
	ks := set(k)
	f.Fuzz(func(t *testing.T, s string) {
		var c claims
		v, err := jose.Verify(s, ks, want(), &c)
		if err == nil && string(v.Payload) == "" {
			t.Fatal("verified nothing")
		}
		// Signatures are not forged by mutation: what verifies carries our payload.
		if err == nil && strings.Split(s, ".")[1] != strings.Split(tok, ".")[1] {
			t.Fatalf("accepted %q", s)
		}
		if err != nil && strings.HasPrefix(string(code(err)), "untyped") {
			t.Fatalf("untyped error %v", err)
		}
		_, _, _, _ = jose.Peek(s, &c)
		_, _ = jose.VerifyDetached(s, []byte("x"), ks, []jose.Algorithm{jose.ES256}, []string{"event+jwt"})
	})
}

func FuzzParseKeySet(f *testing.F) {
	data, err := json.Marshal(jose.NewKeySet(keys()[jose.ES256].Public(), keys()[jose.RS256].Public()))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	f.Add([]byte(`{"keys":[{"kty":"EC","crv":"P-256","x":"AA","y":"AA"}]}`))
	f.Add([]byte(`{"keys":[]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		s, err := jose.ParseKeySet(data)
		if err != nil {
			return
		}
		out, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		again, err := jose.ParseKeySet(out)
		if err != nil || again.Len() != s.Len() {
			t.Fatalf("does not round-trip: %v", err)
		}
	})
}

func FuzzDecrypt(f *testing.F) {
	k := keys()[jose.RSAOAEP256]
	tok, err := jose.Encrypt(k.Public(), jose.RSAOAEP256, jose.A128CBCHS256, "", []byte("x"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(tok)
	f.Add("e30.e30.e30.e30.e30")
	f.Fuzz(func(t *testing.T, s string) {
		out, err := jose.Decrypt(s, []jose.Key{k}, []jose.Algorithm{jose.RSAOAEP256}, []jose.ContentEncryption{jose.A128CBCHS256})
		if err == nil && string(out) != "x" {
			t.Fatalf("decrypted %q", out)
		}
	})
}
