package opsim

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	jose "github.com/go-jose/go-jose/v4"
)

// outcome is what becomes of a request: a page, or a redirect with that error.
type outcome struct {
	page     bool
	accepted bool
	code     string
	check    string // why, as the ledger tells
}

// requestCase is a row of the AgID OP catalogue for bad authorization requests
// (entra-con-cie §3), or one of the checks the table adds.
type requestCase struct {
	number, title string
	spoil         func(a *attempt)
	want          outcome
}

func shown(code, check string) outcome { return outcome{page: true, code: code, check: check} }

func redirectWith(code, check string) outcome { return outcome{code: code, check: check} }

var accepted = outcome{accepted: true}

func without(name string) func(*attempt) { return func(a *attempt) { delete(a.claims, name) } }

func with(name string, v any) func(*attempt) { return func(a *attempt) { a.claims[name] = v } }

func withoutParameter(name string) func(*attempt) { return func(a *attempt) { a.params.Del(name) } }

func both(name, v string) func(*attempt) { return func(a *attempt) { a.both(name, v) } }

func neither(name string) func(*attempt) {
	return func(a *attempt) { delete(a.claims, name); a.params.Del(name) }
}

// resigned signs the request object with another key or algorithm.
func resigned(how func(a *attempt) (string, error)) func(*attempt) {
	return func(a *attempt) {
		compact, err := how(a)
		if err != nil {
			a.w.t.Fatal(err)
		}
		a.compact = compact
	}
}

var badRequests = []requestCase{
	{"2.1.0", "parameter request is not present", func(a *attempt) { a.params.Set("request", "") }, shown("invalid_request", "request_missing")},
	{"2.1.1", "the value of request is not a valid JWT", func(a *attempt) { a.compact = "not.a.jwt" }, shown("invalid_request_object", "request_malformed")},
	{"2.1.2", "the signature of the request JWT is not valid", resigned(func(a *attempt) (string, error) {
		return a.w.keys.foreignSigner(a.rp.core).sign("", a.claims)
	}), shown("invalid_request_object", "request_signature")},
	{"2.1.3", "client_id is not present as HTTP parameter: tolerated for CIE", withoutParameter("client_id"), accepted},
	{"2.1.4", "client_id is not present into request parameter", without("client_id"), shown("invalid_request", "client_id_missing")},
	{"2.1.5", "the values of client_id are different", func(a *attempt) { a.params.Set("client_id", a.rp.id+"/another") }, shown("invalid_request", "client_id_differs")},
	{"2.1.6", "the value of client_id is not trusted", func(a *attempt) {
		stranger := a.w.newRP()
		a.claims["iss"], a.claims["client_id"] = stranger.id, stranger.id
		a.params.Set("client_id", stranger.id)
	}, shown("unauthorized_client", "client_untrusted")},
	{"2.1.7", "response_type is not present as HTTP parameter", withoutParameter("response_type"), redirectWith("invalid_request", "response_type_parameter_missing")},
	{"2.1.8", "response_type is not present into request parameter", without("response_type"), redirectWith("invalid_request", "response_type_missing")},
	{"2.1.9", "the values of response_type are different", with("response_type", "id_token"), redirectWith("invalid_request", "response_type_differs")},
	{"2.1.10", "response_type is different from code", both("response_type", "id_token"), redirectWith("unsupported_response_type", "response_type")},
	{"2.1.11", "scope is not present as HTTP parameter", withoutParameter("scope"), redirectWith("invalid_request", "scope_parameter_missing")},
	{"2.1.12", "scope is not present into request parameter", without("scope"), redirectWith("invalid_request", "scope_missing")},
	{"2.1.13", "the values of scope are different", with("scope", "openid profile"), redirectWith("invalid_request", "scope_differs")},
	{"2.1.14", "scope not contains openid", both("scope", "profile"), redirectWith("invalid_scope", "scope_openid")},
	{"2.1.15", "code_challenge is not present", neither("code_challenge"), redirectWith("invalid_request", "code_challenge_parameter_missing")},
	{"2.1.16", "code_challenge_method is not present", neither("code_challenge_method"), redirectWith("invalid_request", "code_challenge_method_parameter_missing")},
	{"2.1.17", "code_challenge_method is different from S256", both("code_challenge_method", "plain"), redirectWith("invalid_request", "code_challenge_method")},
	{"2.1.18", "nonce is not present", without("nonce"), redirectWith("invalid_request", "nonce")},
	{"2.1.19", "nonce length is less than 32 chars", with("nonce", strings.Repeat("n", 31)), redirectWith("invalid_request", "nonce")},
	{"2.1.20", "prompt is not present", without("prompt"), redirectWith("invalid_request", "prompt")},
	{"2.1.21", "the value of prompt is another one", with("prompt", "login"), redirectWith("invalid_request", "prompt")},
	{"2.1.22", "redirect_uri is not present", without("redirect_uri"), shown("invalid_request", "redirect_uri_missing")},
	{"2.1.23", "redirect_uri is not trusted", func(a *attempt) { a.claims["redirect_uri"] = a.rp.redirect() + "/another" }, shown("invalid_request", "redirect_uri_unregistered")},
	{"2.1.24", "acr_values is not present", without("acr_values"), redirectWith("invalid_request", "acr_values_missing")},
	{"2.1.25", "values of acr_values are different from the three", with("acr_values", "https://www.spid.gov.it/SpidL4"), redirectWith("invalid_request", "acr_values")},
	{"2.1.26", "claims is not present: accepted for CIE", without("claims"), accepted},
	{"2.1.27", "claim value is not in the expected form", with("claims", `{"userinfo":{}}`), redirectWith("invalid_request", "claims")},
	{"2.1.28", "claims are requested into id_token: valid for CIE", with("claims", map[string]any{"id_token": map[string]any{"given_name": nil}}), accepted},
	{"2.1.29", "requested claims are not valid", with("claims", map[string]any{"userinfo": map[string]any{"shoe_size": nil}}), redirectWith("invalid_request", "claims_unknown")},
	{"2.1.30", "state is not present", without("state"), redirectWith("invalid_request", "state")},
	{"2.1.31", "state length is less than 32 chars", with("state", strings.Repeat("s", 31)), redirectWith("invalid_request", "state")},

	// What the table of §3 says beside the catalogue.
	{"2.1.2", "the kid is unknown", resigned(func(a *attempt) (string, error) {
		key := a.rp.core
		key.kid = "another"
		return key.sign("", a.claims)
	}), shown("invalid_request_object", "request_signature")},
	{"2.1.2", "alg none", resigned(func(a *attempt) (string, error) { return unsigned("", a.claims) }), shown("invalid_request_object", "request_malformed")},
	{"2.1.2", "HS256 under the public key", resigned(func(a *attempt) (string, error) { return hmacSigned(a.rp.core, "", a.claims) }), shown("invalid_request_object", "request_malformed")},
	{"2.1.2", "an algorithm the key is not published for", resigned(func(a *attempt) (string, error) {
		key := a.rp.core
		key.alg = jose.RS512
		return key.sign("", a.claims)
	}), shown("invalid_request_object", "request_signature")},
	{"2.1.2", "signed by the federation key, which is no core key", resigned(func(a *attempt) (string, error) { return a.rp.fed.sign("", a.claims) }), shown("invalid_request_object", "request_signature")},
	{"2.1.0", "request_uri instead of request", func(a *attempt) {
		a.params.Set("request", "")
		a.params.Set("request_uri", a.rp.id+"/request")
	}, shown("request_uri_not_supported", "request_uri")},
	{"2.1.0", "request_uri beside request", func(a *attempt) { a.params.Set("request_uri", a.rp.id+"/request") }, redirectWith("request_uri_not_supported", "request_uri")},
	{"2.1.0", "registration", with("registration", map[string]any{}), redirectWith("registration_not_supported", "registration")},
	{"2.1.0", "a repeated parameter", func(a *attempt) { a.params.Add("scope", "openid") }, shown("invalid_request", "repeated_parameter")},
	{"2.1.14", "an unknown scope", both("scope", "openid address"), redirectWith("invalid_scope", "scope")},
	{"2.1.15", "code_challenge is no SHA-256", both("code_challenge", "short"), redirectWith("invalid_request", "code_challenge")},
	{"2.1.15", "code_challenge differs between the two sides", with("code_challenge", strings.Repeat("A", 43)), redirectWith("invalid_request", "code_challenge_differs")},
	{"2.1.19", "nonce with a sign that is no letter or digit", with("nonce", strings.Repeat("n", 40)+"-_"), redirectWith("invalid_request", "nonce")},
	{"2.1.31", "state with a sign that is no letter or digit", with("state", strings.Repeat("n", 40)+"-_"), redirectWith("invalid_request", "state")},
	{"2.1.21", "prompt none", with("prompt", "none"), redirectWith("invalid_request", "prompt")},
	{"2.1.21", "prompt as a list", with("prompt", []any{"consent"}), redirectWith("invalid_request", "prompt")},
	{"2.1.25", "acr_values as a list", with("acr_values", []any{Level(2).ACR()}), redirectWith("invalid_request", "acr_values_missing")},
	{"2.1.27", "claims as a list", with("claims", []any{}), redirectWith("invalid_request", "claims")},
	{"2.1.27", "a claim that is neither null nor an object", with("claims", map[string]any{"userinfo": map[string]any{"given_name": true}}), redirectWith("invalid_request", "claims")},
	{"2.1.27", "a part that is neither userinfo nor id_token", with("claims", map[string]any{"access_token": map[string]any{}}), redirectWith("invalid_request", "claims")},
	{"", "iss is not client_id", with("iss", "https://another.example.it"), redirectWith("invalid_request_object", "iss")},
	{"", "no iss", without("iss"), redirectWith("invalid_request_object", "iss")},
	{"", "aud without the provider", with("aud", "https://another.example.it"), redirectWith("invalid_request_object", "aud")},
	{"", "no aud", without("aud"), redirectWith("invalid_request_object", "aud")},
	{"", "no exp", without("exp"), redirectWith("invalid_request_object", "exp")},
	{"", "exp is past", with("exp", testStart.Unix()), redirectWith("invalid_request_object", "exp")},
	{"", "exp is a text", with("exp", "soon"), redirectWith("invalid_request_object", "exp")},
	{"", "iat in the future beyond the skew", with("iat", testStart.Add(4*time.Minute).Unix()), redirectWith("invalid_request_object", "iat")},
	{"", "iat in the future within the skew: accepted", with("iat", testStart.Add(2*time.Minute).Unix()), accepted},
	{"", "no iat: accepted, only exp is mandatory", without("iat"), accepted},
	{"", "sub is present", func(a *attempt) { a.claims["sub"] = a.rp.id }, redirectWith("invalid_request_object", "sub")},
	{"", "aud as a list that holds the provider: accepted", func(a *attempt) {
		a.claims["aud"] = []any{a.w.Addresses.Provider, a.w.Endpoints().Authorization}
	}, accepted},
	{"", "jti is a list", with("jti", []any{}), redirectWith("invalid_request_object", "jti")},
	{"", "no jti: accepted, the Italian text has none", without("jti"), accepted},
	{"", "no ui_locales: accepted", without("ui_locales"), accepted},
	{"", "ui_locales that are no language tags", with("ui_locales", "nocorrect"), redirectWith("invalid_request", "ui_locales")},
	{"", "scopes profile and email: allowed for CIE", both("scope", "openid profile email"), accepted},
	{"", "offline_access with consent", both("scope", "openid offline_access"), accepted},
	{"", "a parameter nobody knows: ignored", func(a *attempt) { a.params.Set("colour", "blue") }, accepted},

	{"2.0.0", "correct, consent login, level 1", with("acr_values", Level(1).ACR()), accepted},
	{"2.0.1", "correct, consent, offline_access, levels 2 and 1", func(a *attempt) {
		a.both("scope", "openid offline_access")
		a.claims["prompt"], a.claims["acr_values"] = "consent", Level(2).ACR()+" "+Level(1).ACR()
	}, accepted},
	{"2.0.2", "correct, consent login, level 2", func(*attempt) {}, accepted},
	{"2.2.0", "correct, consent, level 1", func(a *attempt) { a.claims["prompt"], a.claims["acr_values"] = "consent", Level(1).ACR() }, accepted},
	{"2.2.1", "correct, consent, level 2", with("prompt", "consent"), accepted},
	{"2.2.2", "correct, consent, level 3", func(a *attempt) { a.claims["prompt"], a.claims["acr_values"] = "consent", Level(3).ACR() }, accepted},
	{"2.2.3", "correct, offline_access, levels 2 and 1", func(a *attempt) {
		a.both("scope", "openid offline_access")
		a.claims["acr_values"] = Level(2).ACR() + " " + Level(1).ACR()
	}, accepted},
	{"2.2.4", "correct, levels 3 and 1", with("acr_values", Level(3).ACR()+" "+Level(1).ACR()), accepted},
	{"2.2.5", "correct, levels 1 and 2", with("acr_values", Level(1).ACR()+" "+Level(2).ACR()), accepted},
	{"2.2.6", "correct, levels 1 and 3", with("acr_values", Level(1).ACR()+" "+Level(3).ACR()), accepted},
}

func TestAgIDBadAuthorizationRequestsAreRefusedAsTheTableSays(t *testing.T) {
	t.Parallel()
	w := ready(t)
	titles(t, "2.1.", func(yield func(string)) {
		for _, c := range badRequests {
			yield(c.number)
		}
	})
	for _, c := range badRequests {
		t.Run(c.number+" "+c.title, func(t *testing.T) {
			a := w.attempt()
			a.w = &world{Running: w.Running, t: t, clock: w.clock, rp: w.rp}
			c.spoil(a)
			status, header, body := a.authorize()
			if c.want.page {
				if status != http.StatusBadRequest || header.Get("Location") != "" || !strings.Contains(body, ">"+c.want.code+"<") {
					t.Fatalf("wanted a page with %s: %d %q %s", c.want.code, status, header.Get("Location"), body)
				}
			} else {
				q := a.callback(status, header, body)
				if c.want.accepted != (q.Get("code") != "") || q.Get("error") != c.want.code {
					t.Fatalf("wanted %q: %v", c.want.code, q)
				}
				state, _ := a.claims["state"].(string)
				if q.Get("state") != state || q.Get("iss") != w.Addresses.Provider {
					t.Errorf("state %q or iss %q", q.Get("state"), q.Get("iss"))
				}
				if !c.want.accepted && q.Get("error_description") == "" {
					t.Error("no error_description (2.5.2)")
				}
			}
			if !c.want.accepted && w.Refusals()[0].Check != c.want.check {
				t.Errorf("refused by %q, want %q", w.Refusals()[0].Check, c.want.check)
			}
		})
	}
}

// titles demands a case for every row of the AgID catalogue with the prefix,
// where the catalogue is at hand.
func titles(t *testing.T, prefix string, numbers func(func(string))) {
	t.Helper()
	text, there := shared(t, "fixtures", "oidc", "agid-conformance-catalog", "check-op-tests.tsv")
	if !there {
		return
	}
	have := map[string]bool{}
	numbers(func(n string) { have[n] = true })
	rows := 0
	for line := range strings.Lines(string(text)) {
		number, _, _ := strings.Cut(line, "\t")
		if !strings.HasPrefix(number, prefix) {
			continue
		}
		rows++
		if !have[number] {
			t.Errorf("catalogue row without a test: %s", strings.TrimSpace(line))
		}
	}
	if rows == 0 {
		t.Errorf("no rows %s in the catalogue", prefix)
	}
}

func TestAReplayedRequestIsRefused(t *testing.T) {
	t.Parallel()
	w := ready(t)
	a := w.attempt()
	a.code()
	if q := a.answer(); q.Get("error") != "invalid_request" || w.Refusals()[0].Check != "nonce_replayed" {
		t.Errorf("the same request again: %v", q)
	}
	a.claims["nonce"] = token43()
	if q := a.answer(); q.Get("error") != "invalid_request" || w.Refusals()[0].Check != "jti_replayed" {
		t.Errorf("the same jti again: %v", q)
	}
}

func TestAnUntrustedClientIsRedirectedWhereThatIsSwitchedOn(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(o *Options) { o.RedirectTrustFailure = true })
	if q := w.attempt().answer(); q.Get("error") != "unauthorized_client" {
		t.Errorf("no mark: %v", q)
	}
	w.onboard(w.rp)
	if err := w.Unregister(w.rp.id); err != nil {
		t.Fatal(err)
	}
	if q := w.attempt().answer(); q.Get("error") != "invalid_client" {
		t.Errorf("no statement: %v", q)
	}
}

// tokenCase is a row of the AgID OP catalogue for bad token requests, or one
// of the checks §4.3 adds.
type tokenCase struct {
	number, title string
	spoil         func(a *attempt)
	status        int
	code, check   string
}

func assert(name string, v any) func(*attempt) {
	return func(a *attempt) { a.assert = map[string]any{name: v} }
}

func form(name string, v any) func(*attempt) {
	return func(a *attempt) { a.form = map[string]any{name: v} }
}

var badTokenRequests = []tokenCase{
	{"3.1.1", "parameter client_id is not present", form("client_id", nil), 400, "invalid_request", "client_id_missing"},
	{"3.1.2", "the value of client_id is not trusted", func(a *attempt) { a.form = map[string]any{"client_id": a.w.newRP().id} }, 401, "invalid_client", "client_untrusted"},
	{"3.1.4", "parameter client_assertion is not present", form("client_assertion", nil), 400, "invalid_request", "client_assertion_missing"},
	{"3.1.5", "the value of client_assertion is not a valid JWT", form("client_assertion", "head.payload.verifysignature"), 401, "invalid_client", "client_assertion_malformed"},
	{"3.1.6", "the signature of client_assertion JWT is not valid", func(a *attempt) {
		key := a.w.keys.foreignSigner(a.rp.core)
		compact, err := key.sign("", map[string]any{"iss": a.rp.id, "sub": a.rp.id, "aud": a.w.Endpoints().Token})
		if err != nil {
			a.w.t.Fatal(err)
		}
		a.form = map[string]any{"client_assertion": compact}
	}, 401, "invalid_client", "client_assertion_signature"},
	{"3.1.7", "the claim iss in the client_assertion is not present", assert("iss", nil), 401, "invalid_client", "assertion_iss"},
	{"3.1.8", "iss is different from the value of client_id", assert("iss", "https://another.example.it"), 401, "invalid_client", "assertion_iss"},
	{"3.1.9", "the claim sub in the client_assertion is not present", assert("sub", nil), 401, "invalid_client", "assertion_sub"},
	{"3.1.10", "sub is different from the value of iss", assert("sub", "https://another.example.it"), 401, "invalid_client", "assertion_sub"},
	{"3.1.11", "the claim aud in the client_assertion is not present", assert("aud", nil), 401, "invalid_client", "assertion_aud"},
	{"3.1.12", "aud is different from the URL of token endpoint", func(a *attempt) { a.assert = map[string]any{"aud": a.w.Addresses.Provider} }, 401, "invalid_client", "assertion_aud"},
	{"3.1.13", "the claim iat in the client_assertion is not present", assert("iat", nil), 401, "invalid_client", "assertion_iat"},
	{"3.1.14", "the value of iat is not a valid unix time", assert("iat", "now"), 401, "invalid_client", "assertion_iat"},
	{"3.1.15", "the value of iat is > current date + 3min", assert("iat", testStart.Add(4*time.Minute).Unix()), 401, "invalid_client", "assertion_iat_skew"},
	{"3.1.16", "the claim exp in the client_assertion is not present", assert("exp", nil), 401, "invalid_client", "assertion_exp"},
	{"3.1.17", "the value of exp is not a valid unix time", assert("exp", 1.5), 401, "invalid_client", "assertion_exp"},
	{"3.1.18", "the value of exp is < current date", assert("exp", testStart.Add(-time.Minute).Unix()), 401, "invalid_client", "assertion_exp_past"},
	{"3.1.19", "the claim jti in the client_assertion is not present", assert("jti", nil), 401, "invalid_client", "assertion_jti"},
	{"3.1.20", "the value of jti is less of 16 byte length", assert("jti", "fifteen-bytes-x"), 401, "invalid_client", "assertion_jti"},
	{"3.1.21", "parameter client_assertion_type is not present", form("client_assertion_type", nil), 400, "invalid_request", "client_assertion_type_missing"},
	{"3.1.22", "the value of client_assertion_type is another one", form("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwtbearer"), 401, "invalid_client", "client_assertion_type"},
	{"3.1.23", "the parameter grant_type is not present", form("grant_type", nil), 400, "invalid_request", "grant_type_missing"},
	{"3.1.24", "the value of grant_type is not one of the two", form("grant_type", "password"), 400, "unsupported_grant_type", "grant_type"},
	{"3.1.25", "parameter code is not present", form("code", nil), 400, "invalid_request", "code_missing"},
	{"3.1.26", "the value of code is not valid", form("code", "6a4ec6f9-5f5c-4ab8-9c5b-1f2d3c4b5a69"), 400, "invalid_grant", "code"},
	{"3.1.27", "parameter code_verifier is not present", form("code_verifier", nil), 400, "invalid_request", "code_verifier_missing"},
	{"3.1.28", "the value of code_verifier is not valid", form("code_verifier", strings.Repeat("v", 43)), 400, "invalid_grant", "code_verifier"},
	{"3.1.29", "refresh_token: parameter refresh_token is not present", form("grant_type", "refresh_token"), 400, "invalid_request", "refresh_token_missing"},
	{"3.1.30", "the redirect_uri is not present", form("redirect_uri", nil), 400, "invalid_request", "redirect_uri_missing"},
	{"3.1.31", "redirect_uri is different from that of the authorization request", func(a *attempt) { a.form = map[string]any{"redirect_uri": a.rp.redirect() + "/another"} }, 400, "invalid_grant", "redirect_uri"},
	{"3.1.32", "refresh_token: the value of refresh_token is not present", func(a *attempt) {
		a.form = map[string]any{"grant_type": "refresh_token", "refresh_token": ""}
	}, 400, "invalid_request", "refresh_token_missing"},
	{"3.1.33", "refresh_token: the value of refresh_token is not valid", func(a *attempt) {
		a.form = map[string]any{"grant_type": "refresh_token", "refresh_token": "8xLOxBtZp8"}
	}, 400, "invalid_grant", "refresh_token"},
	{"3.1.34", "refresh_token: parameter client_id is not present", func(a *attempt) {
		a.form = map[string]any{"grant_type": "refresh_token", "refresh_token": "8xLOxBtZp8", "client_id": nil}
	}, 400, "invalid_request", "client_id_missing"},
	{"3.1.35", "refresh_token: the value of client_id is not trusted", func(a *attempt) {
		a.form = map[string]any{"grant_type": "refresh_token", "refresh_token": "8xLOxBtZp8", "client_id": a.w.newRP().id}
	}, 401, "invalid_client", "client_untrusted"},
	{"3.1.36", "unsupported grant_type", form("grant_type", "client_credentials"), 400, "unsupported_grant_type", "grant_type"},

	// What §4.3 says beside the catalogue.
	{"", "iat is more than three minutes ago", assert("iat", testStart.Add(-4*time.Minute).Unix()), 401, "invalid_client", "assertion_iat_skew"},
	{"", "aud holds the token endpoint and another", func(a *attempt) {
		a.assert = map[string]any{"aud": []any{a.w.Endpoints().Token, a.w.Addresses.Provider}}
	}, 401, "invalid_client", "assertion_aud"},
	{"", "the request object as a client assertion", func(a *attempt) {
		compact, err := a.rp.core.sign("", a.claims)
		if err != nil {
			a.w.t.Fatal(err)
		}
		a.form = map[string]any{"client_assertion": compact}
	}, 401, "invalid_client", "assertion_sub"},
}

func TestAgIDBadTokenRequestsAreRefusedAsTheTableSays(t *testing.T) {
	t.Parallel()
	w := ready(t)
	titles(t, "3.1.", func(yield func(string)) {
		for _, c := range badTokenRequests {
			yield(c.number)
		}
		yield("3.1.0") // TestAgID310…
		yield("3.1.3") // TestAgID313…
	})
	for _, c := range badTokenRequests {
		t.Run(c.number+" "+c.title, func(t *testing.T) {
			a := w.attempt()
			a.w = &world{Running: w.Running, t: t, clock: w.clock, rp: w.rp}
			code := a.code()
			c.spoil(a)
			status, header, answer := a.exchange(code)
			if status != c.status || answer["error"] != c.code || answer["access_token"] != nil {
				t.Fatalf("%d %v, want %d %s", status, answer, c.status, c.code)
			}
			if header.Get("Content-Type") != "application/json" || answer["error_description"] == nil || header.Get("Cache-Control") != "no-store" {
				t.Errorf("headers %v, answer %v", header, answer)
			}
			if got := w.Refusals()[0].Check; got != c.check {
				t.Errorf("refused by %q, want %q", got, c.check)
			}
		})
	}
}

func TestAgID310ATokenRequestByGETIsRefused(t *testing.T) {
	t.Parallel()
	w := ready(t)
	a := w.attempt()
	endpoint := w.Endpoints().Token
	query := a.authenticated(endpoint, map[string]any{
		"grant_type": "authorization_code", "code": a.code(), "code_verifier": a.verifier, "redirect_uri": w.rp.redirect(),
	})
	status, _, body := w.get(endpoint + "?" + query.Encode())
	if status != http.StatusMethodNotAllowed || object(body)["error"] != "invalid_request" {
		t.Errorf("%d %s", status, body)
	}
}

func TestAgID313ACodeOfAnotherClientIsRefused(t *testing.T) {
	t.Parallel()
	w := ready(t)
	other := w.newRP()
	w.onboard(other)
	a := w.attempt()
	code := a.code()
	thief := w.attemptOf(other)
	thief.verifier = a.verifier
	thief.form = map[string]any{"redirect_uri": w.rp.redirect()}
	status, _, answer := thief.exchange(code)
	if status != 400 || answer["error"] != "invalid_grant" || w.Refusals()[0].Check != "code_client" {
		t.Errorf("%d %v", status, answer)
	}
	// The code is still its owner's.
	a.tokens(code)
}

func TestTheFormIsReadStrictly(t *testing.T) {
	t.Parallel()
	w := ready(t)
	a := w.attempt()
	endpoint := w.Endpoints().Token
	form := a.authenticated(endpoint, map[string]any{"grant_type": "authorization_code"})
	form.Add("grant_type", "refresh_token")
	if status, _, body := w.post(endpoint, form); status != 400 || object(body)["error"] != "invalid_request" {
		t.Errorf("a repeated parameter: %d %s", status, body)
	}
	status, _, body := w.do(http.MethodPost, endpoint, form, map[string]string{"Content-Type": "application/json"})
	if status != 400 || object(body)["error"] != "invalid_request" {
		t.Errorf("JSON: %d %s", status, body)
	}
}

func TestAClientAssertionIsGoodOnce(t *testing.T) {
	t.Parallel()
	w := ready(t)
	a := w.attempt()
	code := a.code()
	a.form = map[string]any{"client_assertion": a.assertion(w.Endpoints().Token)}
	a.tokens(code)
	status, _, answer := a.exchange(code)
	if status != 401 || answer["error"] != "invalid_client" || w.Refusals()[0].Check != "jti_replayed" {
		t.Errorf("%d %v", status, answer)
	}
}

func TestACodeIsGoodOnceAndForFiveMinutes(t *testing.T) {
	t.Parallel()
	w := ready(t)
	a := w.attempt()
	code := a.code()
	access, _ := a.tokens(code)["access_token"].(string)
	if status, _, answer := a.exchange(code); status != 400 || answer["error"] != "invalid_grant" || w.Refusals()[0].Check != "code_reused" {
		t.Errorf("second use: %d %v", status, answer)
	}
	if status, _, _ := w.do(http.MethodGet, w.Endpoints().UserInfo, nil, map[string]string{"Authorization": "Bearer " + access}); status != 401 {
		t.Errorf("the first token lives on after a second use: %d", status)
	}
	a = w.attempt()
	code = a.code()
	w.clock.Advance(codeLifetime)
	if status, _, answer := a.exchange(code); status != 400 || answer["error"] != "invalid_grant" || w.Refusals()[0].Check != "code_expired" {
		t.Errorf("after five minutes: %d %v", status, answer)
	}
}

func TestAgIDBadIntrospectionAndRevocationRequestsAreRefused(t *testing.T) {
	t.Parallel()
	w := ready(t)
	for name, endpoint := range map[string]string{"introspection": w.Endpoints().Introspection, "revocation": w.Endpoints().Revocation} {
		for _, c := range []tokenCase{
			{"9.1.1", "parameter client_assertion is not present", form("client_assertion", nil), 400, "invalid_request", "client_assertion_missing"},
			{"9.1.2", "the value of client_assertion is not a valid JWT", form("client_assertion", "x.y.z"), 401, "invalid_client", "client_assertion_malformed"},
			{"9.1.5", "iss is different from client_id", assert("iss", "https://another.example.it"), 401, "invalid_client", "assertion_iss"},
			{"9.1.9", "aud is the URL of another endpoint", func(a *attempt) { a.assert = map[string]any{"aud": a.w.Endpoints().Token} }, 401, "invalid_client", "assertion_aud"},
			{"9.1.16", "the claim jti is not present", assert("jti", nil), 401, "invalid_client", "assertion_jti"},
			{"9.1.18", "client_assertion_type is not present", form("client_assertion_type", nil), 400, "invalid_request", "client_assertion_type_missing"},
			{"9.1.20", "parameter client_id is not present", form("client_id", nil), 400, "invalid_request", "client_id_missing"},
			{"9.1.21", "the value of client_id is not trusted", form("client_id", "http://127.0.0.1:1/nobody"), 401, "invalid_client", "client_untrusted"},
			{"9.1.22", "parameter token is not present", form("token", nil), 400, "invalid_request", "token_missing"},
		} {
			t.Run(c.number+" "+name+" "+c.title, func(t *testing.T) {
				a := w.attempt()
				a.w = &world{Running: w.Running, t: t, clock: w.clock, rp: w.rp}
				c.spoil(a)
				status, _, body := a.w.post(endpoint, a.authenticated(endpoint, map[string]any{"token": "x"}))
				if status != c.status || object(body)["error"] != c.code || w.Refusals()[0].Check != c.check {
					t.Errorf("%d %s by %s", status, body, w.Refusals()[0].Check)
				}
			})
		}
		if status, _, _ := w.get(endpoint + "?" + url.Values{"token": {"x"}}.Encode()); status != http.StatusMethodNotAllowed {
			t.Errorf("9.1.0 %s by GET: %d", name, status)
		}
	}
}
