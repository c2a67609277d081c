package web_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"
	"github.com/getkin/kin-openapi/routers/gorillamux"

	"airegw/gateway"
	"airegw/gateway/web"
)

// contract loads openapi.yaml and a router over it.
func contract(t *testing.T) (*openapi3.T, routers.Router) {
	t.Helper()
	raw, err := os.ReadFile("openapi.yaml")
	if err != nil {
		t.Fatal(err)
	}
	doc, err := openapi3.NewLoader().LoadFromData(raw)
	if err != nil {
		t.Fatal(err)
	}
	err = doc.Validate(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	doc.Servers = openapi3.Servers{{URL: "/api/v1"}}
	router, err := gorillamux.NewRouter(doc)
	if err != nil {
		t.Fatal(err)
	}
	return doc, router
}

func TestTheContractListsExactlyTheRoutesOfTheAPI(t *testing.T) {
	t.Parallel()
	doc, _ := contract(t)
	served := map[string]bool{}
	for _, r := range web.Routes(false) {
		if p, ok := strings.CutPrefix(r.Path, "/api/v1"); ok && p != "/openapi.yaml" {
			served[r.Method+" "+strings.NewReplacer(":number", "{number}", ":id", "{id}").Replace(p)] = true
		}
	}
	for path, item := range doc.Paths.Map() {
		for method := range item.Operations() {
			if !served[method+" "+path] {
				t.Errorf("%s %s is in the contract and not served", method, path)
			}
			delete(served, method+" "+path)
		}
	}
	for s := range served {
		t.Errorf("%s is served and not in the contract", s)
	}
}

func TestTheContractKeepsTheItalianGuidelines(t *testing.T) {
	t.Parallel()
	doc, _ := contract(t)
	if doc.Info.Contact == nil || doc.Info.Extensions["x-summary"] == nil || !strings.HasPrefix(doc.OpenAPI, "3.0.") {
		t.Error("contact, x-summary or version is missing")
	}
	var look func(where string, s *openapi3.SchemaRef)
	look = func(where string, s *openapi3.SchemaRef) {
		if s == nil || s.Ref != "" || s.Value == nil {
			return
		}
		v := s.Value
		switch {
		case v.Type.Is("object") && v.AdditionalProperties.Has == nil && v.AdditionalProperties.Schema == nil:
			t.Errorf("%s: additionalProperties is not said", where)
		case v.Type.Is("array") && v.MaxItems == nil:
			t.Errorf("%s: an array without maxItems", where)
		case v.Type.Is("string") && v.MaxLength == nil && len(v.Enum) == 0 && v.Pattern == "":
			t.Errorf("%s: a string without bound", where)
		case v.Type.Is("integer") && (v.Min == nil || v.Max == nil || v.Format == ""):
			t.Errorf("%s: an integer without bounds or format", where)
		}
		for name, p := range v.Properties {
			look(where+"."+name, p)
		}
		look(where+"[]", v.Items)
	}
	for name, s := range doc.Components.Schemas {
		look(name, s)
	}
	for path, item := range doc.Paths.Map() {
		for method, o := range item.Operations() {
			if path != "/status" && o.Responses.Value("429") == nil {
				t.Errorf("%s %s: no 429", method, path)
			}
			for code, r := range o.Responses.Map() {
				if code[0] >= '4' && r.Value.Content.Get("application/problem+json") == nil {
					t.Errorf("%s %s %s: not problem+json", method, path, code)
				}
			}
		}
	}
	for _, h := range []string{"X-RateLimit-Limit", "X-RateLimit-Remaining", "X-RateLimit-Reset", "Retry-After"} {
		if doc.Components.Responses["P429"].Value.Headers[h] == nil {
			t.Errorf("429 lacks %s", h)
		}
	}
}

// TestEveryAnswerIsTheContracts plays a whole life and holds each request and
// answer of the API to openapi.yaml.
func TestEveryAnswerIsTheContracts(t *testing.T) {
	t.Parallel()
	_, router := contract(t)
	w := newWorld(t)
	held := &heldTo{t: t, router: router, next: http.DefaultTransport, seen: map[string]bool{}}
	hold := func(b *browser) *browser { b.http.Transport = held; return b }

	p := person("ok", 3)
	number, code := w.submitted(p.CF, "FOREIGN_RESIDENCE")
	desk := hold(w.machine(clientID, w.client))
	one := "/api/v1/requests/" + number
	call := func(b *browser, method, path, body string, want int) string {
		t.Helper()
		header := map[string]string{}
		if strings.Contains(path, "/track/") {
			header["Tracker-Code"] = code
		}
		contentType := ""
		if body != "" {
			contentType = "application/json"
		}
		got := b.do(method, path, contentType, body, header)
		if got.status != want {
			t.Errorf("%s %s: %d, want %d: %s", method, path, got.status, want, got.body)
		}
		return got.body
	}
	call(desk, "GET", one, "", 200) // not yet checked
	w.work()
	call(desk, "POST", "/api/v1/requests", input(p.CF, "FOREIGN_RESIDENCE"), 409) // a second one
	call(desk, "POST", one+"/delivery", `{"option":"CONSULATE"}`, 400)
	call(desk, "GET", "/api/v1/requests?limit=1", "", 200)
	call(desk, "GET", "/api/v1/requests?surname="+p.Surname, "", 200)
	call(desk, "GET", "/api/v1/requests?fiscal_code="+p.CF+"&state=prechecked&state=submitted", "", 200)
	for _, a := range counterWork {
		name, body, _ := strings.Cut(a, " ")
		call(desk, "GET", one+"/checklist", "", 200)
		call(desk, "POST", one+"/counter/"+name, body, 200)
	}
	call(desk, "POST", one+"/counter/suspend", `{"code":"photo_unfit"}`, 200)
	call(desk, "POST", one+"/counter/resume", "", 200)
	var r struct {
		Decision struct {
			Fee int `json:"fee_cents"`
		} `json:"decision"`
	}
	if err := json.Unmarshal([]byte(call(desk, "GET", one, "", 200)), &r); err != nil {
		t.Fatal(err)
	}
	fee, err := json.Marshal(gateway.Fee{Cents: r.Decision.Fee, Means: "cash"})
	if err != nil {
		t.Fatal(err)
	}
	call(desk, "POST", one+"/counter/fee", string(fee), 200)
	for _, act := range []string{"prepare", "print", "confirm", "sign"} {
		call(desk, "POST", one+"/counter/"+act, "", 200)
	}
	w.work()
	for i, e := range []string{"cnsd_certified", "in_production", "shipped"} {
		w.event(number, i+1, e, gateway.CoreDetails{Tracking: "RR123456789IT", Carrier: "Poste"})
	}
	call(desk, "GET", one, "", 200)
	call(desk, "GET", one+"/checklist", "", 200)
	call(desk, "POST", one+"/cancellation", `{"code":"withdrawn"}`, 409)
	anybody := hold(w.browser("it"))
	call(anybody, "GET", "/api/v1/track/"+number, "", 200)
	call(anybody, "GET", "/api/v1/requests", "", 401)
	call(anybody, "GET", "/api/v1/registry/comuni?q=citta+di+castello", "", 200)
	call(anybody, "GET", "/api/v1/registry/comuni?q=presicce", "", 200)
	call(anybody, "GET", "/api/v1/registry/posts", "", 200)
	call(anybody, "GET", "/api/v1/registry/posts?iso2=AR", "", 200)
	call(anybody, "GET", "/api/v1/status", "", 200)
	call(hold(w.machine(otherClientID, w.other)), "GET", one, "", 404)
	call(desk, "POST", one+"/counter/unpark", "", 403)
	call(desk, "POST", one+"/tracker", "", 200)
	call(anybody, "GET", "/api/v1/track/"+number, "", 404) // the old code is dead

	// Outcomes that are explained: the register knows the person as dead, and a
	// fiscal code that is not validated.
	for _, scenario := range []string{"deceased", "cf-not-validated"} {
		n, trackerCode := w.submitted(person(scenario, 0).CF, "FOREIGN_RESIDENCE")
		w.work()
		code = trackerCode
		call(desk, "GET", "/api/v1/requests/"+n, "", 200)
		call(anybody, "GET", "/api/v1/track/"+n, "", 200)
	}
	if len(held.seen) < 24 {
		t.Errorf("only %d operations were seen", len(held.seen))
	}
}

// heldTo checks each exchange of the API against the contract.
type heldTo struct {
	t      *testing.T
	router routers.Router
	next   http.RoundTripper
	seen   map[string]bool
}

func (h *heldTo) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := h.next.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	raw, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, err
	}
	resp.Body.Close()
	resp.Body = io.NopCloser(bytes.NewReader(raw))
	route, params, err := h.router.FindRoute(req)
	if err != nil {
		h.t.Errorf("%s %s: %v", req.Method, req.URL.Path, err)
		return resp, nil
	}
	h.seen[route.Operation.OperationID] = true
	err = openapi3filter.ValidateResponse(context.Background(), &openapi3filter.ResponseValidationInput{
		RequestValidationInput: &openapi3filter.RequestValidationInput{
			Request: req, PathParams: params, Route: route,
			Options: &openapi3filter.Options{AuthenticationFunc: openapi3filter.NoopAuthenticationFunc},
		},
		Status: resp.StatusCode, Header: resp.Header, Body: io.NopCloser(bytes.NewReader(raw)),
		Options: &openapi3filter.Options{IncludeResponseStatus: true, MultiError: true},
	})
	if err != nil {
		h.t.Errorf("%s %s %d: %v", req.Method, req.URL.Path, resp.StatusCode, err)
	}
	return resp, nil
}
