// Package examples_test holds clients of the simulated register written from
// its OpenAPI documents only, one in Go and one for node, and runs both.
package examples_test

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	jose "github.com/go-jose/go-jose/v4"

	"airegw/testharness/anprsim"
)

const fiscalCode = "FRRLCU86D57Z600N"

// register is what a client must know of the register; the JSON names are
// those of the line "airegw sim anpr" prints.
type register struct {
	TokenURL          string            `json:"token_url"`
	AssertionAudience string            `json:"assertion_audience"`
	Services          map[string]string `json:"services"`
	Audiences         map[string]string `json:"audiences"`
	ClientFile        string            `json:"client_file"`
}

// client is the least there is to a client of door A.
type client struct {
	register
	id, kid  string
	key      *rsa.PrivateKey
	purposes map[string]string
	seq      int
}

// jws is a compact RS256 JWS, nothing but the standard library.
func (c *client) jws(claims map[string]any) string {
	part := func(v any) string {
		b, err := json.Marshal(v)
		if err != nil {
			panic(err) // maps of strings and numbers
		}
		return base64.RawURLEncoding.EncodeToString(b)
	}
	input := part(map[string]string{"alg": "RS256", "typ": "JWT", "kid": c.kid}) + "." + part(claims)
	sum := sha256.Sum256([]byte(input))
	signature, err := rsa.SignPKCS1v15(rand.Reader, c.key, crypto.SHA256, sum[:])
	if err != nil {
		panic(err)
	}
	return input + "." + base64.RawURLEncoding.EncodeToString(signature)
}

func (c *client) claims(aud string, more map[string]any) map[string]any {
	now := time.Now()
	claims := map[string]any{
		"iss": c.id, "sub": c.id, "aud": aud, "jti": rand.Text(), "iat": now.Unix(), "exp": now.Add(2 * time.Minute).Unix(),
	}
	for name, v := range more {
		claims[name] = v
	}
	return claims
}

// voucher gets a voucher pinned to a new tracking evidence.
func (c *client) voucher(service string) (voucher, evidence string, err error) {
	evidence = c.jws(c.claims(c.Audiences[service], map[string]any{
		"purposeId": c.purposes[service], "dnonce": "7041592837465", "userID": "operatore-1", "userLocation": "POSTAZIONE-1", "LoA": "LoA3",
	}))
	sum := sha256.Sum256([]byte(evidence))
	res, err := http.PostForm(c.TokenURL, url.Values{
		"client_id": {c.id}, "grant_type": {"client_credentials"},
		"client_assertion_type": {"urn:ietf:params:oauth:client-assertion-type:jwt-bearer"},
		"client_assertion": {c.jws(c.claims(c.AssertionAudience, map[string]any{
			"purposeId": c.purposes[service], "digest": map[string]string{"alg": "SHA256", "value": hex.EncodeToString(sum[:])},
		}))},
	})
	if err != nil {
		return "", "", err
	}
	defer res.Body.Close()
	var out struct {
		AccessToken string `json:"access_token"`
	}
	err = json.NewDecoder(res.Body).Decode(&out)
	if err == nil && (res.StatusCode != http.StatusOK || out.AccessToken == "") {
		err = errors.New("no voucher: " + res.Status)
	}
	return out.AccessToken, evidence, err
}

// answer is the part of RispostaE002OK and RispostaKO this client reads.
type answer struct {
	Subjects struct {
		List []struct {
			IDs struct {
				IDANPR string `json:"idANPR"`
			} `json:"identificativi"`
			Residence []struct {
				Kind    string `json:"tipoIndirizzo"`
				Foreign *struct {
					Post struct {
						Code string `json:"codiceConsolato"`
						Seat string `json:"descrizioneConsolato"`
					} `json:"consolato"`
				} `json:"localitaEstera"`
			} `json:"residenza"`
		} `json:"datiSoggetto"`
	} `json:"listaSoggetti"`
}

func (c *client) ask(service string, criteria map[string]string) (answer, error) {
	var out answer
	voucher, evidence, err := c.voucher(service)
	if err != nil {
		return out, err
	}
	c.seq++
	body, err := json.Marshal(map[string]any{
		"idOperazioneClient": time.Now().UTC().Format("20060102150405") + fmt.Sprintf("%06d", c.seq), "criteriRicerca": criteria,
		"datiRichiesta": map[string]string{"dataRiferimentoRichiesta": time.Now().UTC().Format(time.DateOnly), "motivoRichiesta": "PROVA-1", "casoUso": service},
	})
	if err != nil {
		return out, err
	}
	sum := sha256.Sum256(body)
	digest := "SHA-256=" + base64.StdEncoding.EncodeToString(sum[:])
	req, err := http.NewRequest(http.MethodPost, c.Services[service], bytes.NewReader(body))
	if err != nil {
		return out, err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Authorization", "Bearer "+voucher)
	req.Header.Set("Digest", digest)
	req.Header.Set("Agid-JWT-TrackingEvidence", evidence)
	req.Header.Set("Agid-JWT-Signature", c.jws(c.claims(c.Audiences[service], map[string]any{
		"signed_headers": []map[string]string{{"digest": digest}, {"content-type": "application/json"}},
	})))
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return out, err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(res.Body)
		return out, fmt.Errorf("%s: %s %s", service, res.Status, text)
	}
	return out, json.NewDecoder(res.Body).Decode(&out)
}

// start serves a simulator that knows one client; stop ends it.
func start() (c *client, stop func(), err error) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return nil, nil, err
	}
	public := jose.JSONWebKey{Key: &key.PublicKey}
	thumb, err := public.Thumbprint(crypto.SHA256)
	if err != nil {
		return nil, nil, err
	}
	c = &client{
		id: "3f8a5c1e-0000-4000-8000-00000000e0a1", kid: base64.RawURLEncoding.EncodeToString(thumb), key: key,
		purposes: map[string]string{"C030": "9b1d0000-0000-4000-8000-00000000e030", "C020": "9b1d0000-0000-4000-8000-00000000e020"},
	}
	s, err := anprsim.New(anprsim.Options{Clients: []anprsim.Client{{ID: c.id, JWKS: jose.JSONWebKeySet{Keys: []jose.JSONWebKey{public}}, Purposes: c.purposes}}})
	if err != nil {
		return nil, nil, err
	}
	server := httptest.NewServer(s.Handler())
	id := s.Identity()
	c.register = register{TokenURL: server.URL + id.TokenPath, AssertionAudience: id.AssertionAudience, Audiences: id.Audiences, Services: map[string]string{}}
	for code, path := range id.Services {
		c.Services[code] = server.URL + path + id.QueryPath
	}
	return c, server.Close, nil
}

// From a fiscal code to the consular post of the person's foreign residence.
func Example() {
	c, stop, err := start()
	if err != nil {
		fmt.Println(err)
		return
	}
	defer stop()
	who, err := c.ask("C030", map[string]string{"codiceFiscale": fiscalCode})
	if err != nil || len(who.Subjects.List) != 1 {
		fmt.Println("C030:", err, len(who.Subjects.List))
		return
	}
	id := who.Subjects.List[0].IDs.IDANPR
	where, err := c.ask("C020", map[string]string{"idANPR": id})
	if err != nil || len(where.Subjects.List) != 1 {
		fmt.Println("C020:", err, len(where.Subjects.List))
		return
	}
	home := where.Subjects.List[0].Residence[0]
	fmt.Println(id, "kind", home.Kind, home.Foreign.Post.Code, home.Foreign.Post.Seat)
	// Output: ZN15688CX kind 4 2600103 BUENOS AIRES
}

func TestTheNodeClientGetsAC030AndAC020Answer(t *testing.T) {
	t.Parallel()
	node, err := exec.LookPath("node")
	if err != nil {
		t.Fatal("node is not here: it is needed for the example client (and for make)")
	}
	c, stop, err := start()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(stop)
	dir := t.TempDir()
	write := func(name string, v any) string {
		t.Helper()
		b, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	c.ClientFile = write("client.json", map[string]any{
		"client_id": c.id, "kid": c.kid, "purposes": c.purposes, "private_jwk": jose.JSONWebKey{Key: c.key, KeyID: c.kid},
	})
	simFile := write("sim.json", c.register)
	run := func(cf string) (string, string, error) {
		cmd := exec.CommandContext(t.Context(), node, "client.mjs", simFile, cf)
		var out, problems strings.Builder
		cmd.Stdout, cmd.Stderr = &out, &problems
		err := cmd.Run()
		return out.String(), problems.String(), err
	}
	out, problems, err := run(fiscalCode)
	if err != nil {
		t.Fatalf("%v: %s", err, problems)
	}
	for _, want := range []string{`"idANPR":"ZN15688CX"`, `"tipoIndirizzo":"4"`, `"codiceConsolato":"2600103"`} {
		if !strings.Contains(out, want) {
			t.Errorf("no %s in %s", want, out)
		}
	}
	// Nobody: the client says so and does not take it for an error of the line.
	if _, problems, err = run("XXXXXX00A01H501X"); err == nil || !strings.Contains(problems, "0 subjects") {
		t.Errorf("absent: %v %s", err, problems)
	}
}
