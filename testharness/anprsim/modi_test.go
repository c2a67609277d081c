package anprsim

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"net/http"
	"net/url"
	"testing"
	"time"
)

type govwayBody struct {
	Title    string `json:"title"`
	Status   int    `json:"status"`
	Detail   string `json:"detail"`
	GovwayID string `json:"govway_id"`
}

func TestEveryBrokenCallIsRefusedOpaquelyAndDiagnosed(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	cf := person(t, "ok").CF
	aud := w.id.Audiences["C030"]
	hexDigest := "SHA-256=" + hex.EncodeToString(make([]byte, 32))
	otherDigest := "SHA-256=" + base64.StdEncoding.EncodeToString(make([]byte, 32))
	cases := map[string]struct {
		ask    ask
		status int
		title  string
		cause  string
	}{
		"no voucher":                 {ask{headers: map[string]string{"Authorization": "-"}}, 401, "TokenAuthenticationRequired", "voucher_missing"},
		"voucher not Bearer":         {ask{headers: map[string]string{"Authorization": "Basic eDp5"}}, 401, "TokenAuthenticationFailed", "voucher_not_bearer"},
		"voucher garbage":            {ask{headers: map[string]string{"Authorization": "Bearer a.b.c"}}, 401, "TokenAuthenticationFailed", "voucher_malformed"},
		"no signature":               {ask{headers: map[string]string{"Agid-JWT-Signature": "-"}}, 400, "InteroperabilityInvalidRequest", "signature_missing"},
		"no evidence":                {ask{headers: map[string]string{"Agid-JWT-TrackingEvidence": "-"}}, 400, "InteroperabilityInvalidRequest", "audit_missing"},
		"no digest":                  {ask{headers: map[string]string{"Digest": "-"}}, 400, "InteroperabilityInvalidRequest", "digest_missing"},
		"digest in hex":              {ask{headers: map[string]string{"Digest": hexDigest}}, 400, "InteroperabilityInvalidRequest", "digest_hex"},
		"digest of another body":     {ask{headers: map[string]string{"Digest": otherDigest}}, 400, "InteroperabilityInvalidRequest", "digest_mismatch"},
		"digest algorithm":           {ask{headers: map[string]string{"Digest": "SHA-512=x"}}, 400, "InteroperabilityInvalidRequest", "digest_algorithm"},
		"digest without padding":     {ask{headers: map[string]string{"Digest": "SHA-256=abc"}}, 400, "InteroperabilityInvalidRequest", "digest_encoding"},
		"aud with -PDND":             {ask{signature: map[string]any{"aud": "https://modipa.anpr.sim.invalid/govway/rest/in/MinInternoPortaANPR-PDND/C030-servizioAccertamentoIdUnicoNazionale/v1"}}, 400, "InteroperabilityInvalidRequest", "signature_aud"},
		"aud with the operation":     {ask{signature: map[string]any{"aud": aud + "/anpr-service-e002"}}, 400, "InteroperabilityInvalidRequest", "signature_aud"},
		"aud of another service":     {ask{audit: map[string]any{"aud": w.id.Audiences["C020"]}}, 400, "InteroperabilityInvalidRequest", "audit_aud"},
		"aud of PDND":                {ask{audit: map[string]any{"aud": w.id.AssertionAudience}}, 400, "InteroperabilityInvalidRequest", "audit_aud"},
		"aud missing":                {ask{signature: map[string]any{"aud": nil}}, 400, "InteroperabilityInvalidRequest", "signature_aud_missing"},
		"signature by a stranger":    {ask{wrongKey: "signature"}, 400, "InteroperabilityInvalidRequest", "signature_invalid"},
		"evidence by a stranger":     {ask{wrongKey: "audit"}, 400, "InteroperabilityInvalidRequest", "audit_invalid"},
		"unknown kid":                {ask{sigHeader: map[string]any{"kid": "x"}}, 400, "InteroperabilityInvalidRequest", "signature_kid_unknown"},
		"typ":                        {ask{sigHeader: map[string]any{"typ": "jose"}}, 400, "InteroperabilityInvalidRequest", "signature_typ"},
		"iss":                        {ask{signature: map[string]any{"iss": "someone"}}, 400, "InteroperabilityInvalidRequest", "signature_iss"},
		"iat in milliseconds":        {ask{signature: map[string]any{"iat": testNow.UnixMilli(), "exp": testNow.Add(time.Minute).UnixMilli()}}, 400, "InteroperabilityInvalidRequest", "signature_iat_future"},
		"iat old":                    {ask{signature: map[string]any{"iat": testNow.Add(-6 * time.Minute).Unix()}}, 400, "InteroperabilityInvalidRequest", "signature_iat_old"},
		"iat text":                   {ask{signature: map[string]any{"iat": "now"}}, 400, "InteroperabilityInvalidRequest", "signature_iat_missing"},
		"exp missing":                {ask{signature: map[string]any{"exp": nil}}, 400, "InteroperabilityInvalidRequest", "signature_exp_missing"},
		"expired":                    {ask{signature: map[string]any{"exp": testNow.Unix()}}, 400, "InteroperabilityInvalidRequest", "signature_expired"},
		"nbf ahead":                  {ask{signature: map[string]any{"nbf": testNow.Add(time.Minute).Unix()}}, 400, "InteroperabilityInvalidRequest", "signature_nbf"},
		"no jti":                     {ask{signature: map[string]any{"jti": nil}}, 400, "InteroperabilityInvalidRequest", "signature_jti_missing"},
		"signed_headers an object":   {ask{signed: map[string]string{"digest": "x"}}, 400, "InteroperabilityInvalidRequest", "signed_headers_type"},
		"signed_headers two members": {ask{signed: []map[string]string{{"digest": "x", "content-type": "y"}}}, 400, "InteroperabilityInvalidRequest", "signed_headers_item"},
		"digest not signed":          {ask{signed: []map[string]string{{"content-type": "application/json"}}}, 400, "InteroperabilityInvalidRequest", "signed_headers_digest"},
		"charset added on the way":   {ask{headers: map[string]string{"Content-Type": "application/json;charset=UTF-8"}}, 400, "InteroperabilityInvalidRequest", "signed_headers_value"},
		"userID missing":             {ask{audit: map[string]any{"userID": nil}}, 400, "InteroperabilityInvalidRequest", "audit_userid"},
		"userId misspelt":            {ask{audit: map[string]any{"userID": nil, "userId": "op"}}, 400, "InteroperabilityInvalidRequest", "audit_userid"},
		"userLocation missing":       {ask{audit: map[string]any{"userLocation": nil}}, 400, "InteroperabilityInvalidRequest", "audit_userlocation"},
		"LoA too long":               {ask{audit: map[string]any{"LoA": "123456789012345678901"}}, 400, "InteroperabilityInvalidRequest", "audit_loa"},
		"dnonce short":               {ask{audit: map[string]any{"dnonce": "12"}}, 400, "InteroperabilityInvalidRequest", "audit_dnonce"},
		"purpose of the evidence":    {ask{audit: map[string]any{"purposeId": testPurpose("C020")}}, 400, "InteroperabilityInvalidRequest", "audit_purpose"},
		"voucher without digest":     {ask{assertion: map[string]any{"digest": nil}}, 400, "InteroperabilityInvalidRequest", "voucher_digest_missing"},
		"no content type":            {ask{headers: map[string]string{"Content-Type": "-"}}, 400, "ContentTypeNotProvided", "content_type_missing"},
		"content type":               {ask{headers: map[string]string{"Content-Type": "text/plain"}}, 400, "ContentTypeNotSupported", "content_type"},
		"voucher of another service": {ask{path: w.id.Services["C020"] + w.id.QueryPath}, 401, "TokenAuthenticationFailed", "voucher_aud"},
	}
	opaque := ""
	for name, c := range cases {
		c.ask.code, c.ask.criteria = "C030", byCF(cf)
		res, body := w.call(c.ask)
		var got govwayBody
		if err := json.Unmarshal(body, &got); err != nil {
			t.Errorf("%s: %v in %s", name, err, body)
			continue
		}
		cause := w.sim.Refusals()[0]
		if res.StatusCode != c.status || got.Title != c.title || got.Status != c.status || got.GovwayID == "" || cause.Code != c.cause {
			t.Errorf("%s: %d %s, cause %+v; want %d %s %s", name, res.StatusCode, got.Title, cause, c.status, c.title, c.cause)
		}
		if res.Header.Get("GovWay-Transaction-ID") != got.GovwayID {
			t.Errorf("%s: transaction ids differ", name)
		}
		if c.title == "InteroperabilityInvalidRequest" {
			if opaque == "" {
				opaque = got.Detail
			}
			if got.Detail != opaque {
				t.Errorf("%s: the detail %q tells it apart from %q", name, got.Detail, opaque)
			}
		}
	}
}

func TestACachedVoucherNeedsItsOwnEvidence(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a := ask{code: "C030", criteria: byCF(person(t, "ok").CF)}
	a.evidence = w.trackingEvidence(a)
	a.voucher = w.newVoucher(a, a.evidence)
	w.good(a)
	w.clock.Advance(9 * time.Minute)
	w.good(a) // the pair lives as long as the voucher
	fresh := a
	fresh.evidence = w.trackingEvidence(a)
	if res, _ := w.call(fresh); res.StatusCode != 400 || w.sim.Refusals()[0].Code != "voucher_digest" {
		t.Errorf("cached voucher with a new evidence: %d, %+v", res.StatusCode, w.sim.Refusals()[0])
	}
	if err := w.sim.faults.Inject(FaultStrictAudit, 1); err != nil {
		t.Fatal(err)
	}
	if res, _ := w.call(a); res.StatusCode != 400 || w.sim.Refusals()[0].Code != "audit_iat_old" {
		t.Errorf("old evidence under strict-audit-age: %d, %+v", res.StatusCode, w.sim.Refusals()[0])
	}
	w.clock.Advance(2 * time.Minute)
	if res, body := w.call(a); res.StatusCode != 401 || !bytes.Contains(body, []byte("TokenExpired")) {
		t.Errorf("expired voucher: %d %s", res.StatusCode, body)
	}
}

func TestASignatureIsGoodForOneCall(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	req := w.request(ask{code: "C030", criteria: byCF(person(t, "ok").CF)})
	for _, want := range []int{200, 400} {
		again := req.Clone(t.Context())
		var err error
		again.Body, err = req.GetBody()
		if err != nil {
			t.Fatal(err)
		}
		res, err := http.DefaultClient.Do(again)
		if err != nil {
			t.Fatal(err)
		}
		read(t, res)
		if res.StatusCode != want {
			t.Errorf("got %d, want %d", res.StatusCode, want)
		}
	}
	if c := w.sim.Refusals()[0].Code; c != "signature_replayed" {
		t.Errorf("cause %s", c)
	}
}

func TestThePurposeIsTiedToClientAndService(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a := ask{code: "C030", criteria: byCF(person(t, "ok").CF)}
	a.evidence = w.trackingEvidence(a)
	a.voucher = w.newVoucher(a, a.evidence)
	keep := *w.sim.clients[testClientID]
	keep.Purposes = map[string]string{"C020": testPurpose("C020")}
	if err := w.sim.RegisterClient(keep); err != nil {
		t.Fatal(err)
	}
	if res, _ := w.call(a); res.StatusCode != 403 || w.sim.Refusals()[0].Wire != "AuthorizationDeny" {
		t.Errorf("purpose taken away: %d %+v", res.StatusCode, w.sim.Refusals()[0])
	}
}

func TestTheTokenEndpointSaysNothingAndLogsAll(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	form := func(name, value string) url.Values { return url.Values{name: {value}} }
	claim := func(name string, v any) map[string]any { return map[string]any{name: v} }
	cases := map[string]struct {
		ask  ask
		code string
	}{
		"assertion type":      {ask{form: form("client_assertion_type", "x")}, "0002"},
		"grant type":          {ask{form: form("grant_type", "password")}, "0003"},
		"given twice":         {ask{form: url.Values{"grant_type": {"client_credentials", "client_credentials"}}}, "0007"},
		"client id shape":     {ask{form: form("client_id", "me")}, "0023"},
		"not a JWT":           {ask{form: form("client_assertion", "x")}, "0006"},
		"aud":                 {ask{assertion: claim("aud", "https://"+w.id.AssertionAudience)}, "0004"},
		"aud missing":         {ask{assertion: claim("aud", nil)}, "0005"},
		"jti missing":         {ask{assertion: claim("jti", nil)}, "0008"},
		"iat missing":         {ask{assertion: claim("iat", nil)}, "0009"},
		"exp missing":         {ask{assertion: claim("exp", nil)}, "0010"},
		"iss missing":         {ask{assertion: claim("iss", nil)}, "0011"},
		"sub missing":         {ask{assertion: claim("sub", nil)}, "0012"},
		"sub other":           {ask{assertion: claim("sub", "00000000-0000-4000-8000-000000000000")}, "0013"},
		"sub shape":           {ask{assertion: claim("sub", "me")}, "0024"},
		"purpose shape":       {ask{assertion: claim("purposeId", "x")}, "0014"},
		"purpose missing":     {ask{assertion: claim("purposeId", nil)}, "0030"},
		"purpose unknown":     {ask{assertion: claim("purposeId", "00000000-0000-4000-8000-000000000000")}, "0020"},
		"kid missing":         {ask{assertHdr: claim("kid", nil)}, "0015"},
		"kid shape":           {ask{assertHdr: claim("kid", "short")}, "0031"},
		"kid unknown":         {ask{assertHdr: claim("kid", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA")}, "0016"},
		"typ":                 {ask{assertHdr: claim("typ", "jwt+x")}, "0018"},
		"signed by another":   {ask{wrongKey: "assertion"}, "0033"},
		"expired":             {ask{assertion: claim("exp", testNow.Unix())}, "0017"},
		"iat in milliseconds": {ask{assertion: claim("iat", testNow.UnixMilli())}, "0018"},
		"nbf ahead":           {ask{assertion: claim("nbf", testNow.Add(time.Hour).Unix())}, "0019"},
		"digest text":         {ask{assertion: claim("digest", "x")}, "0025"},
		"digest length":       {ask{assertion: claim("digest", map[string]string{"alg": "SHA256", "value": "abcd"})}, "0026"},
		"digest algorithm":    {ask{assertion: claim("digest", map[string]string{"alg": "SHA-256", "value": "abcd"})}, "0027"},
	}
	opaque := ""
	for name, c := range cases {
		c.ask.code = "C030"
		res := w.token(c.ask, "evidence")
		body := read(t, res)
		if res.StatusCode != 400 || w.sim.Refusals()[0].Code != "015-"+c.code {
			t.Errorf("%s: %d, cause %+v, want %s", name, res.StatusCode, w.sim.Refusals()[0], c.code)
		}
		var got map[string]any
		if err := json.Unmarshal(body, &got); err != nil {
			t.Fatal(err)
		}
		delete(got, "correlationId")
		same, err := json.Marshal(got)
		if err != nil {
			t.Fatal(err)
		}
		if opaque == "" {
			opaque = string(same)
		}
		if string(same) != opaque || !bytes.Contains(same, []byte("015-0008")) {
			t.Errorf("%s is told apart on the wire: %s", name, same)
		}
	}
	// nbf and unknown claims pass until the strict flag is on.
	now := claim("nbf", testNow.Unix())
	if res := w.token(ask{code: "C030", assertion: now}, "e"); res.StatusCode != 200 {
		t.Errorf("nbf: %d", res.StatusCode)
	}
	if err := w.sim.faults.Inject(FaultStrictClaims, 1); err != nil {
		t.Fatal(err)
	}
	if res := w.token(ask{code: "C030", assertion: now}, "e"); res.StatusCode != 400 || w.sim.Refusals()[0].Code != "015-0032" {
		t.Errorf("nbf under strict-claims: %d", res.StatusCode)
	}
}

func TestThePublishedKeyHasNoPrivateMember(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	res, err := http.Get(w.http.URL + w.id.JWKSPath)
	if err != nil {
		t.Fatal(err)
	}
	var set struct {
		Keys []map[string]any `json:"keys"`
	}
	if err := json.Unmarshal(read(t, res), &set); err != nil {
		t.Fatal(err)
	}
	for _, member := range []string{"d", "p", "q", "dp", "dq", "qi", "oth", "k"} {
		if _, there := set.Keys[0][member]; there {
			t.Errorf("member %s is published", member)
		}
	}
	if len(set.Keys) != 1 || set.Keys[0]["kty"] != "RSA" {
		t.Errorf("keys %v", set.Keys)
	}
}
