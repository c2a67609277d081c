package opsim

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"airegw/testharness/sim"
)

// Paths of the federation endpoints; the endings are fixed for CIE
// (entra-con-cie §2.1).
const (
	wellKnown      = "/.well-known/openid-federation"
	listPath       = "/list"
	fetchPath      = "/fetch"
	resolvePath    = "/resolve"
	markStatusPath = "/trust_mark_status"
	historyPath    = "/.well-known/openid-federation-historical-jwks"

	statementType = "application/entity-statement+jwt"
	typStatement  = "entity-statement+jwt"
	typMark       = "trust-mark+jwt"
)

// Entity types.
const (
	TypeRelyingParty = "openid_relying_party"
	TypeProvider     = "openid_provider"
	TypeIntermediate = "intermediate" // an aggregator (SA)
)

// entity is a subordinate of the anchor.
type entity struct {
	ID            string          `json:"id"`
	Type          string          `json:"type"`
	Private       bool            `json:"private,omitempty"` // body's kind, part of the mark's name
	Keys          json.RawMessage `json:"keys"`              // federation keys
	CoreKeys      json.RawMessage `json:"core_keys,omitempty"`
	Configuration string          `json:"configuration"` // as it was at registration
	Mark          string          `json:"-"`
}

func (e *entity) markRole() string { return e.Type + "/" + profileOf(e.Private) }

func profileOf(private bool) string {
	if private {
		return "private"
	}
	return "public"
}

// markID is the name of a trust mark, without the final slash, as production's.
func (s *Server) markID(role string) string { return s.at.Anchor + "/" + role }

// newMark issues a trust mark that is good for a year.
func (s *Server) newMark(subject, role string, now time.Time) (string, error) {
	kind, _, _ := strings.Cut(role, "/")
	claims := map[string]any{
		"iss": s.at.Anchor, "sub": subject, "id": s.markID(role),
		"iat": now.Unix(), "exp": now.Add(markLifetime).Unix(),
		"organization_type": role[len(kind)+1:],
		"id_code":           map[string]any{"ipa_code": "sim_" + shortName(subject)},
		"organization_name": "Ente simulato", "email": "ente@pec.example.it",
		"ref": s.at.Anchor + "/ref", "logo_uri": s.at.Anchor + "/logo.svg",
	}
	if kind == TypeIntermediate {
		claims["sa_profile"] = `["full"]` // a text in production
	}
	return s.keys.anchorKey().sign(typMark, claims)
}

// ErrRefused is returned for an entity the portal would not register.
var ErrRefused = errors.New("refused by the anchor")

// Registration is what the portal tells about an onboarded entity.
type Registration struct {
	ID        string `json:"id"`
	Type      string `json:"type"`
	TrustMark string `json:"trust_mark"`
	MarkID    string `json:"trust_mark_id"`
}

// Register onboards a relying party of a public body: it fetches the Entity
// Configuration, holds it against entra-con-cie §1, pins its federation and core
// keys and issues its trust mark. Durable on return when there is a folder. A
// second call takes the keys over anew. Every refusal wraps ErrRefused and names
// all that is wrong.
func (s *Server) Register(ctx context.Context, id string) (Registration, error) {
	return s.RegisterAs(ctx, id, TypeRelyingParty, false)
}

// RegisterAs is Register for any kind of subordinate: TypeRelyingParty or
// TypeIntermediate, of a public or private body.
func (s *Server) RegisterAs(ctx context.Context, id, kind string, private bool) (Registration, error) {
	if kind != TypeRelyingParty && kind != TypeIntermediate {
		return Registration{}, fmt.Errorf("%w: unknown entity type %q", ErrRefused, kind)
	}
	config, err := s.fetchConfiguration(ctx, id)
	if err != nil {
		return Registration{}, fmt.Errorf("%w: %s: %w", ErrRefused, id, err)
	}
	// The portal refuses federation keys with certificates (entra-con-cie §1).
	_, err = readKeys(config.claims["jwks"], "x5c", "x5t", "x5t#S256")
	if err != nil {
		return Registration{}, fmt.Errorf("%w: %s: federation keys: %w", ErrRefused, id, err)
	}
	e := &entity{ID: id, Type: kind, Private: private, Configuration: config.compact}
	e.Keys, err = json.Marshal(config.claims["jwks"])
	if err != nil {
		return Registration{}, fmt.Errorf("register %s: %w", id, err)
	}
	metadata, _ := config.claims["metadata"].(map[string]any)
	if kind == TypeRelyingParty {
		wrong := append(checkFederationEntity(metadata["federation_entity"]), checkRelyingParty(metadata[TypeRelyingParty], id)...)
		if len(wrong) > 0 {
			return Registration{}, fmt.Errorf("%w: %s: %w", ErrRefused, id, wrong)
		}
		rp, _ := metadata[TypeRelyingParty].(map[string]any)
		e.CoreKeys, err = json.Marshal(rp["jwks"])
		if err != nil {
			return Registration{}, fmt.Errorf("register %s: %w", id, err)
		}
	}
	e.Mark, err = s.newMark(id, e.markRole(), s.wire.Now())
	if err == nil {
		err = s.keep(entry{Entity: e})
	}
	if err != nil {
		return Registration{}, fmt.Errorf("register %s: %w", id, err)
	}
	s.mu.Lock()
	s.entities[id] = e
	delete(s.clients, id)
	delete(s.revoked, id)
	s.mu.Unlock()
	s.note(Event{Kind: "registered", Client: id, Outcome: kind})
	return Registration{ID: id, Type: kind, TrustMark: e.Mark, MarkID: s.markID(e.markRole())}, nil
}

// Unregister ends the membership of a subordinate: its statement is gone, its
// mark is revoked, its chain at the provider forgotten.
func (s *Server) Unregister(id string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.entities[id] == nil {
		return fmt.Errorf("%w: %s is not registered", ErrRefused, id)
	}
	delete(s.entities, id)
	delete(s.clients, id)
	s.revoked[id] = true
	return nil
}

// RevokeMark revokes the trust mark of an entity, or gives it back. Only the
// status endpoint tells.
func (s *Server) RevokeMark(id string, revoked bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.revoked, id)
	if revoked {
		s.revoked[id] = true
	}
}

func (s *Server) markProvider() error {
	keys, err := json.Marshal(s.keys.federationSet())
	if err != nil {
		return fmt.Errorf("provider: %w", err)
	}
	e := &entity{ID: s.at.Provider, Type: TypeProvider, Keys: keys}
	e.Mark, err = s.newMark(e.ID, e.markRole(), s.wire.Now())
	if err != nil {
		return err
	}
	s.entities[e.ID] = e
	return nil
}

func (s *Server) entity(id string) (*entity, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e, ok := s.entities[id]
	return e, ok
}

// Anchor is the protocol surface of the Trust Anchor.
func (s *Server) Anchor() http.Handler {
	routes := map[string]struct {
		op     string
		method string
		serve  func(http.ResponseWriter, *http.Request, *flaws)
	}{
		wellKnown:      {OpAnchorConfiguration, http.MethodGet, s.serveAnchorConfiguration},
		listPath:       {OpAnchorList, http.MethodGet, s.serveList},
		fetchPath:      {OpAnchorFetch, http.MethodGet, s.serveFetch},
		resolvePath:    {OpAnchorResolve, http.MethodGet, s.serveAnchorResolve},
		markStatusPath: {OpAnchorMarkStatus, http.MethodPost, s.serveMarkStatus},
		historyPath:    {OpAnchorHistory, http.MethodGet, s.serveHistory},
	}
	op := func(r *http.Request) string { return routes[r.URL.Path].op }
	subject := func(r *http.Request) string { return r.URL.Query().Get("sub") }
	return s.serving("anchor", sim.Unpleasant(s.faults, s.clock, op, subject, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		route, ok := routes[r.URL.Path]
		switch {
		case !ok:
			federationError(w, http.StatusNotFound, "not_found", "no such endpoint")
		case r.Method != route.method:
			w.Header().Set("Allow", route.method)
			federationError(w, http.StatusMethodNotAllowed, "invalid_request", "method not allowed")
		default:
			route.serve(w, r, s.flaws(route.op, subject(r)))
		}
	})))
}

// serving refuses everything while a party is out of service.
func (s *Server) serving(party string, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		down := s.down[party]
		s.mu.Unlock()
		if down {
			sim.Mark(w.Header(), "down")
			w.Header().Set("Retry-After", "60")
			sim.WriteProblem(w, sim.Problem{Status: http.StatusServiceUnavailable, Code: "temporarily_unavailable", Detail: "switched off at the management surface"})
			return
		}
		next.ServeHTTP(w, r)
	})
}

// federationError answers an error of entra-con-cie §2.8.
func federationError(w http.ResponseWriter, status int, code, description string) {
	sim.WriteJSON(w, status, map[string]string{"error": code, "error_description": description})
}

func writeStatement(w http.ResponseWriter, f *flaws, contentType, compact string) {
	f.mark(w.Header())
	w.Header().Set("Content-Type", contentType)
	w.Header().Set("Cache-Control", "no-store")
	_, _ = w.Write([]byte(compact))
}

func internalError(w http.ResponseWriter, err error) {
	federationError(w, http.StatusInternalServerError, "server_error", err.Error())
}

// anchorClaims is the anchor's Entity Configuration (entra-con-cie §2.3).
func (s *Server) anchorClaims(now time.Time) map[string]any {
	issuers := map[string]any{}
	for _, role := range []string{TypeRelyingParty, TypeProvider, TypeIntermediate} {
		for _, private := range []bool{false, true} {
			issuers[s.markID(role+"/"+profileOf(private))] = []string{s.at.Anchor}
		}
	}
	// Production publishes both names.
	return map[string]any{
		"iss": s.at.Anchor, "sub": s.at.Anchor, "iat": now.Unix(), "exp": now.Add(s.lifetimes().Anchor).Unix(),
		"jwks": s.keys.anchorSet(),
		"metadata": map[string]any{"federation_entity": map[string]any{
			"organization_name": "Federazione CIE simulata", "homepage_uri": s.at.Anchor, "policy_uri": s.at.Anchor + "/policy",
			"logo_uri": s.at.Anchor + "/logo.svg", "contacts": []string{"federazione@pec.example.it"},
			"federation_fetch_endpoint":             s.at.Anchor + fetchPath,
			"federation_list_endpoint":              s.at.Anchor + listPath,
			"federation_resolve_endpoint":           s.at.Anchor + resolvePath,
			"federation_trust_mark_status_endpoint": s.at.Anchor + markStatusPath,
			"federation_historical_keys_endpoint":   s.at.Anchor + historyPath,
		}},
		"constraints":         map[string]any{"max_path_length": 1},
		"trust_mark_issuers":  issuers,
		"trust_marks_issuers": maps.Clone(issuers),
	}
}

func (s *Server) serveAnchorConfiguration(w http.ResponseWriter, _ *http.Request, f *flaws) {
	now := s.wire.Now()
	s.publish(w, f, "anchor-ec", "text/html; charset=utf-8", s.at.Anchor, s.keys.anchorKey(), now, func() (map[string]any, error) {
		claims := s.anchorClaims(now)
		if f.fires("constraint-type") {
			claims["constraints"] = map[string]any{"max_path_length": 1, "allowed_leaf_entity_types": []string{TypeRelyingParty}}
		}
		if f.fires("anchor-ec-old-issuers-name") {
			delete(claims, "trust_mark_issuers")
		}
		return claims, nil
	})
}

// publish answers an Entity Configuration, or what the faults kind-redirect,
// kind-oversized and kind-wrong-type (served as wrongType) make of it.
func (s *Server) publish(w http.ResponseWriter, f *flaws, kind, wrongType, id string, key signer, now time.Time, claims func() (map[string]any, error)) {
	if f.fires(kind + "-redirect") {
		f.mark(w.Header())
		w.Header().Set("Location", id+wellKnown+"?again")
		w.WriteHeader(http.StatusFound)
		return
	}
	if f.fires(kind + "-oversized") {
		f.mark(w.Header())
		w.Header().Set("Content-Type", statementType)
		oversized(w)
		return
	}
	contentType := statementType
	if f.fires(kind + "-wrong-type") {
		contentType = wrongType
	}
	made, err := claims()
	var compact string
	if err == nil {
		compact, err = f.sign(kind, paper{typ: typStatement, claims: made, key: key}, now)
	}
	if err != nil {
		internalError(w, err)
		return
	}
	writeStatement(w, f, contentType, compact)
}

func (s *Server) serveList(w http.ResponseWriter, r *http.Request, f *flaws) {
	kind := r.URL.Query().Get("entity_type")
	s.mu.Lock()
	list := []string{}
	for id, e := range s.entities {
		if kind == "" || kind == e.Type {
			list = append(list, id)
		}
	}
	s.mu.Unlock()
	slices.Sort(list)
	if f.fires("list-without-op") {
		list = slices.DeleteFunc(list, func(id string) bool { return id == s.at.Provider })
	}
	malformed := f.fires("list-malformed")
	f.mark(w.Header())
	if malformed {
		sim.WriteJSON(w, http.StatusOK, map[string]any{"entities": list})
		return
	}
	sim.WriteJSON(w, http.StatusOK, list)
}

// policyFor is the metadata policy the anchor sets (entra-con-cie §2.5).
func (s *Server) policyFor(e *entity) map[string]any {
	if e.Type == TypeProvider {
		return map[string]any{TypeProvider: s.providerPolicy()}
	}
	oneOf := func(list []any, essential bool) map[string]any {
		return map[string]any{"one_of": list, "essential": essential}
	}
	rp := map[string]any{
		"grant_types": map[string]any{
			"subset_of": []any{"authorization_code", "refresh_token"}, "superset_of": []any{"authorization_code"},
		},
		"id_token_signed_response_alg":    oneOf(texts(signatureAlgs), true),
		"userinfo_signed_response_alg":    oneOf(texts(signatureAlgs), true),
		"userinfo_encrypted_response_alg": oneOf(texts(keyAlgs), true),
		"userinfo_encrypted_response_enc": oneOf(texts(contentAlgs), true),
		"id_token_encrypted_response_alg": oneOf(texts(keyAlgs), false),
		"id_token_encrypted_response_enc": oneOf(texts(contentAlgs), false),
		"token_endpoint_auth_method":      oneOf([]any{"private_key_jwt"}, true),
		"client_registration_types":       map[string]any{"subset_of": []any{"automatic"}, "essential": true},
		"redirect_uris":                   map[string]any{"essential": true},
		"client_id":                       map[string]any{"essential": true},
		"response_types":                  map[string]any{"value": []any{"code"}},
	}
	if len(e.CoreKeys) > 0 {
		rp["jwks"] = map[string]any{"value": e.CoreKeys}
	}
	return map[string]any{TypeRelyingParty: rp}
}

func (s *Server) providerPolicy() map[string]any {
	essential := map[string]any{"essential": true}
	list := func(values ...any) map[string]any {
		return map[string]any{"subset_of": values, "essential": true}
	}
	algs := map[string]any{"subset_of": texts(signatureAlgs), "superset_of": []any{"RS256", "RS512"}}
	return map[string]any{
		"jwks":                                           map[string]any{"value": s.keys.coreSet()},
		"issuer":                                         essential,
		"authorization_endpoint":                         essential,
		"token_endpoint":                                 essential,
		"userinfo_endpoint":                              essential,
		"introspection_endpoint":                         essential,
		"revocation_endpoint":                            essential,
		"code_challenge_methods_supported":               list("S256"),
		"token_endpoint_auth_methods_supported":          list("private_key_jwt"),
		"response_types_supported":                       list("code"),
		"response_modes_supported":                       list("form_post", "query"),
		"scopes_supported":                               map[string]any{"subset_of": []any{"openid", "offline_access", "profile", "email"}, "superset_of": []any{"openid"}},
		"acr_values_supported":                           list(Level(1).ACR(), Level(2).ACR(), Level(3).ACR()),
		"subject_types_supported":                        list("pairwise"),
		"id_token_signing_alg_values_supported":          algs,
		"userinfo_signing_alg_values_supported":          algs,
		"authorization_response_iss_parameter_supported": map[string]any{"value": true},
		"client_registration_types_supported":            list("automatic"),
	}
}

// statementClaims is what the anchor says of a subordinate (entra-con-cie §2.2).
func (s *Server) statementClaims(e *entity, now time.Time) map[string]any {
	keys := any(e.Keys)
	if e.Type == TypeProvider {
		keys = s.keys.federationSet()
	}
	return map[string]any{
		"iss": s.at.Anchor, "sub": e.ID, "iat": now.Unix(), "exp": now.Add(s.lifetimes().Statement).Unix(),
		"jwks": keys, "metadata_policy": s.policyFor(e),
		"trust_marks": []any{s.markEntry(e)},
	}
}

func (s *Server) markEntry(e *entity) map[string]any {
	return map[string]any{"id": s.markID(e.markRole()), "iss": s.at.Anchor, "trust_mark": e.Mark}
}

func (s *Server) serveFetch(w http.ResponseWriter, r *http.Request, f *flaws) {
	sub := r.URL.Query().Get("sub")
	if sub == "" {
		federationError(w, http.StatusBadRequest, "invalid_request", "sub is missing")
		return
	}
	e, ok := s.entity(sub)
	if !ok || (sub == s.at.Provider && f.fires("statement-unknown")) {
		f.mark(w.Header())
		federationError(w, http.StatusNotFound, "not_found", "no such subordinate")
		return
	}
	now := s.wire.Now()
	claims := s.statementClaims(e, now)
	// Only the statement about the provider is spoiled: a relying party's own
	// mark must stay within reach.
	if e.Type != TypeProvider {
		f = nil
	}
	s.spoilStatement(f, claims)
	compact, err := f.sign("statement", paper{typ: typStatement, claims: claims, key: s.keys.anchorKey()}, now)
	if err != nil {
		internalError(w, err)
		return
	}
	if f == nil {
		f = s.flaws(OpAnchorFetch, sub)
	}
	writeStatement(w, f, statementType, compact)
}

func (s *Server) spoilStatement(f *flaws, claims map[string]any) {
	policy := func(parameter string, operators map[string]any) {
		all, _ := claims["metadata_policy"].(map[string]any)
		p, _ := all[TypeProvider].(map[string]any)
		if p != nil {
			p[parameter] = operators
		}
	}
	if f.fires("statement-wrong-sub") {
		claims["sub"] = s.at.Provider + "/another"
	}
	if f.fires("statement-wrong-iss") {
		claims["iss"] = s.at.Anchor + "/another"
	}
	if f.fires("statement-keys-differ") {
		claims["jwks"] = keySet(s.keys.foreignSigner(s.keys.federationKey()))
	}
	if f.fires("statement-policy-conflict") {
		policy("scopes_supported", map[string]any{"one_of": []any{"openid"}, "add": []any{"openid"}})
	}
	if f.fires("statement-policy-violated") {
		policy("code_challenge_methods_supported", map[string]any{"superset_of": []any{"S512"}})
	}
	if f.fires("statement-crit") {
		claims["crit"] = []any{"https://example.it/unknown"}
		claims["https://example.it/unknown"] = true
	}
	if f.fires("statement-string-constraints") {
		claims["constraints"] = "{}"
	}
	if f.fires("statement-hints") {
		claims["authority_hints"] = []any{s.at.Anchor}
	}
}

// serveMarkStatus answers the form of the Italian text (id, sub) with JSON and
// that of the final specification (trust_mark) with a signed answer.
func (s *Server) serveMarkStatus(w http.ResponseWriter, r *http.Request, f *flaws) {
	form, err := readForm(w, r)
	if err != nil {
		federationError(w, http.StatusBadRequest, "invalid_request", err.Error())
		return
	}
	now := s.wire.Now()
	id, sub, compact := form.Get("id"), form.Get("sub"), form.Get("trust_mark")
	if compact != "" {
		j, err := readJWT(compact)
		if err != nil || j.verify(s.keys.anchorSet().Keys) != nil {
			federationError(w, http.StatusNotFound, "not_found", "not a mark of this issuer")
			return
		}
		id, sub = j.text("id"), j.text("sub")
	} else if id == "" || sub == "" {
		federationError(w, http.StatusBadRequest, "invalid_request", "id and sub, or trust_mark")
		return
	}
	active := s.markActive(id, sub, now)
	if sub == s.at.Provider && f.fires("mark-revoked") {
		active = false
	}
	f.mark(w.Header())
	if compact == "" {
		sim.WriteJSON(w, http.StatusOK, map[string]bool{"active": active})
		return
	}
	status := "active"
	if !active {
		status = "revoked"
	}
	answer, err := s.keys.anchorKey().sign("trust-mark-status-response+jwt", map[string]any{
		"iss": s.at.Anchor, "iat": now.Unix(), "trust_mark": compact, "status": status,
	})
	if err != nil {
		internalError(w, err)
		return
	}
	writeStatement(w, f, "application/trust-mark-status-response+jwt", answer)
}

func (s *Server) markActive(id, sub string, now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.entities[sub]
	if e == nil || s.revoked[sub] || s.markID(e.markRole()) != strings.TrimSuffix(id, "/") {
		return false
	}
	j, err := readJWT(e.Mark)
	if err != nil {
		return false
	}
	exp, ok := unixTime(j.claims["exp"])
	return ok && now.Before(exp)
}

// serveHistory tells the anchor's former keys, signed by the current one.
func (s *Server) serveHistory(w http.ResponseWriter, _ *http.Request, f *flaws) {
	keys := []any{}
	for _, former := range s.keys.former() {
		text, err := json.Marshal(former.key.public())
		if err != nil {
			internalError(w, err)
			return
		}
		members, err := decodeObject(text)
		if err != nil {
			internalError(w, err)
			return
		}
		members["exp"] = former.retired.Unix()
		keys = append(keys, members)
	}
	compact, err := s.keys.anchorKey().sign("jwk-set+jwt", map[string]any{"iss": s.at.Anchor, "iat": s.wire.Now().Unix(), "keys": keys})
	if err != nil {
		internalError(w, err)
		return
	}
	writeStatement(w, f, "application/jwk-set+jwt", compact)
}

// serveAnchorResolve answers for the entities the anchor knows: nothing is
// fetched because a stranger asked (entra-con-cie §2.6).
func (s *Server) serveAnchorResolve(w http.ResponseWriter, r *http.Request, f *flaws) {
	s.serveResolve(w, r, f, s.at.Anchor, s.keys.anchorKey())
}

func (s *Server) serveResolve(w http.ResponseWriter, r *http.Request, f *flaws, issuer string, key signer) {
	q := r.URL.Query()
	sub, anchor := q.Get("sub"), q.Get("anchor")
	if anchor == "" {
		anchor = q.Get("trust_anchor")
	}
	switch {
	case sub == "" || anchor == "":
		federationError(w, http.StatusBadRequest, "invalid_request", "sub and anchor are needed")
		return
	case anchor != s.at.Anchor:
		federationError(w, http.StatusNotFound, "invalid_trust_anchor", "another anchor")
		return
	}
	known, err := s.resolved(sub)
	if err != nil {
		federationError(w, http.StatusNotFound, "not_found", err.Error())
		return
	}
	now := s.wire.Now()
	compact, err := key.sign("resolve-response+jwt", map[string]any{
		"iss": issuer, "sub": sub, "iat": now.Unix(), "exp": known.expires.Unix(),
		"metadata": known.metadata, "trust_marks": known.marks, "trust_chain": known.chain,
	})
	if err != nil {
		internalError(w, err)
		return
	}
	writeStatement(w, f, "application/resolve-response+jwt", compact)
}

// readForm reads application/x-www-form-urlencoded of at most 64 kB; a repeated
// parameter is an error.
func readForm(w http.ResponseWriter, r *http.Request) (url.Values, error) {
	contentType, _, _ := strings.Cut(r.Header.Get("Content-Type"), ";")
	if !strings.EqualFold(strings.TrimSpace(contentType), "application/x-www-form-urlencoded") {
		return nil, errors.New("the body is not application/x-www-form-urlencoded")
	}
	r.Body = http.MaxBytesReader(w, r.Body, 1<<16)
	err := r.ParseForm()
	if err != nil {
		return nil, fmt.Errorf("the body is not a form: %w", err)
	}
	return r.PostForm, once(r.PostForm)
}

// once refuses repeated parameters (RFC 6749 §3.1).
func once(values url.Values) error {
	for name, list := range values {
		if len(list) > 1 {
			return fmt.Errorf("parameter %s is repeated", name)
		}
	}
	return nil
}

// shortName is eight hex digits for a text, stable over restarts.
func shortName(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:4])
}
