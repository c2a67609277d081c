package opsim

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	jose "github.com/go-jose/go-jose/v4"

	"airegw/testharness/sim"
)

// Bounds of the provider's own walk through the federation (entra-con-cie §2.4,
// §2.5).
const (
	fetchTimeout = 10 * time.Second
	fetchLimit   = 512 << 10
	maxHints     = 5
)

// loopbackTransport calls this machine and no other.
func loopbackTransport() http.RoundTripper {
	dialer := &net.Dialer{Timeout: 5 * time.Second}
	return &http.Transport{
		DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			host, _, err := net.SplitHostPort(addr)
			if err != nil || !loopback(host) {
				return nil, fmt.Errorf("call %s: %w", addr, sim.ErrNotLoopback)
			}
			return dialer.DialContext(ctx, network, addr)
		},
		MaxIdleConnsPerHost: 4, IdleConnTimeout: 30 * time.Second,
	}
}

// statement is an entity statement whose signature holds.
type statement struct {
	compact string
	claims  map[string]any
	expires time.Time
}

// get fetches one statement: 200, the exact content type, bounded, no redirect.
func (s *Server) get(ctx context.Context, address string) (string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return "", fmt.Errorf("fetch: %w", err)
	}
	resp, err := s.http.Do(req)
	if err != nil {
		return "", fmt.Errorf("fetch: %w", err)
	}
	defer resp.Body.Close() //nolint:errcheck // read-only
	body, err := io.ReadAll(io.LimitReader(resp.Body, fetchLimit+1))
	switch {
	case err != nil:
		return "", fmt.Errorf("fetch %s: %w", address, err)
	case resp.StatusCode != http.StatusOK:
		return "", fmt.Errorf("fetch %s: status %d", address, resp.StatusCode)
	case resp.Header.Get("Content-Type") != statementType:
		return "", fmt.Errorf("fetch %s: content type %q is not %s", address, resp.Header.Get("Content-Type"), statementType)
	case len(body) > fetchLimit:
		return "", fmt.Errorf("fetch %s: more than %d bytes", address, fetchLimit)
	}
	return string(body), nil
}

// configurationURL is where an entity publishes itself: appended to the whole
// id (entra-con-cie §1).
func configurationURL(id string) string { return strings.TrimSuffix(id, "/") + wellKnown }

// fetchConfiguration fetches and verifies an Entity Configuration by its own
// keys.
func (s *Server) fetchConfiguration(ctx context.Context, id string) (statement, error) {
	err := webAddress(id)
	if err != nil {
		return statement{}, fmt.Errorf("entity id %q: %w", id, err)
	}
	compact, err := s.get(ctx, configurationURL(id))
	if err != nil {
		return statement{}, err
	}
	return readConfiguration(compact, id, s.wire.Now())
}

// readConfiguration verifies an Entity Configuration of id by its own keys
// (entra-con-cie §1).
func readConfiguration(compact, id string, now time.Time) (statement, error) {
	j, err := readJWT(compact)
	if err != nil {
		return statement{}, err
	}
	keys, err := readKeys(j.claims["jwks"])
	if err != nil {
		return statement{}, fmt.Errorf("jwks: %w", err)
	}
	st, err := checkStatement(j, compact, id, id, keys, now)
	if err != nil {
		return statement{}, err
	}
	hints, ok := stringList(j.claims["authority_hints"])
	switch {
	case !ok || len(hints) == 0:
		return statement{}, errors.New("authority_hints is missing or empty")
	case len(hints) > maxHints:
		return statement{}, fmt.Errorf("more than %d authority_hints", maxHints)
	}
	if _, ok := j.claims["metadata"].(map[string]any); !ok {
		return statement{}, errors.New("metadata is missing")
	}
	return st, nil
}

// checkStatement holds header, signature, iss, sub and times of a statement.
func checkStatement(j jwt, compact, iss, sub string, keys []jose.JSONWebKey, now time.Time) (statement, error) {
	if j.typ != typStatement {
		return statement{}, fmt.Errorf("typ is %q, not %s", j.typ, typStatement)
	}
	err := j.verify(keys)
	if err != nil {
		return statement{}, err
	}
	if j.text("iss") != iss || j.text("sub") != sub {
		return statement{}, fmt.Errorf("iss %q and sub %q are not %s and %s", j.text("iss"), j.text("sub"), iss, sub)
	}
	expires, err := checkTimes(j.claims, now)
	if err != nil {
		return statement{}, err
	}
	return statement{compact: compact, claims: j.claims, expires: expires}, nil
}

// checkTimes wants iat not in the future, beyond the skew, and exp in it.
func checkTimes(claims map[string]any, now time.Time) (time.Time, error) {
	iat, ok := unixTime(claims["iat"])
	if !ok {
		return time.Time{}, errors.New("iat is missing or not a time")
	}
	exp, ok := unixTime(claims["exp"])
	switch {
	case !ok:
		return time.Time{}, errors.New("exp is missing or not a time")
	case iat.After(now.Add(skew)):
		return time.Time{}, errors.New("iat is in the future")
	case !exp.After(now):
		return time.Time{}, errors.New("exp is past")
	}
	return exp, nil
}

// trustError is why a client is not trusted: the code of entra-con-cie §2.8.
type trustError struct {
	code string // invalid_client or unauthorized_client
	err  error
}

func (e *trustError) Error() string { return e.err.Error() }
func (e *trustError) Unwrap() error { return e.err }

// client is a relying party the provider trusts until expires.
type client struct {
	id       string
	expires  time.Time
	chain    []string       // leaf to anchor
	metadata map[string]any // all final metadata, by entity type
	marks    []any
	rp       map[string]any // final openid_relying_party
	keys     []jose.JSONWebKey
	redirect []string
	grants   []string
}

func (c *client) text(name string) string { v, _ := c.rp[name].(string); return v }

// encryptionKey is the first key with use enc, as the reference provider takes
// it.
func (c *client) encryptionKey() (jose.JSONWebKey, bool) {
	i := slices.IndexFunc(c.keys, func(k jose.JSONWebKey) bool { return k.Use == "enc" })
	if i < 0 {
		return jose.JSONWebKey{}, false
	}
	return c.keys[i], true
}

// trusted gives the client with a valid chain, building the chain when none is
// cached (entra-con-cie §2.5).
func (s *Server) trusted(ctx context.Context, id string) (*client, *trustError) {
	if c := s.cached(id); c != nil {
		return c, nil
	}
	s.trustMu.Lock()
	defer s.trustMu.Unlock()
	if c := s.cached(id); c != nil {
		return c, nil
	}
	c, err := s.buildChain(ctx, id)
	if err != nil {
		var t *trustError
		if !errors.As(err, &t) {
			t = &trustError{code: "invalid_client", err: err}
		}
		return nil, t
	}
	s.mu.Lock()
	s.clients[id] = c
	s.mu.Unlock()
	return c, nil
}

func (s *Server) cached(id string) *client {
	now := s.wire.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.clients[id]
	if c != nil && c.expires.After(now) {
		return c
	}
	return nil
}

// ForgetChain makes the provider build a client's chain anew; "" forgets all.
func (s *Server) ForgetChain(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if id == "" {
		clear(s.clients)
		return
	}
	delete(s.clients, id)
}

func (s *Server) buildChain(ctx context.Context, id string) (*client, error) {
	now := s.wire.Now()
	config, err := s.fetchConfiguration(ctx, id)
	if err != nil {
		return nil, err
	}
	// Before any other call: a mark, statically valid.
	marks, err := s.validMarks(config, id, now)
	if err != nil {
		return nil, &trustError{code: "unauthorized_client", err: err}
	}
	hints, _ := stringList(config.claims["authority_hints"])
	// Nearest first: the anchor itself before any aggregator.
	slices.SortStableFunc(hints, func(a, b string) int {
		switch {
		case a == s.at.Anchor && b != s.at.Anchor:
			return -1
		case b == s.at.Anchor && a != s.at.Anchor:
			return 1
		}
		return 0
	})
	var errs []error
	for _, hint := range hints {
		var superiors []statement
		superiors, err = s.climb(ctx, config, id, hint, now)
		if err == nil {
			return s.conclude(config, superiors, id, marks, now)
		}
		errs = append(errs, fmt.Errorf("by way of %s: %w", hint, err))
	}
	return nil, errors.Join(errs...)
}

// validMarks are the marks of the entity that the federation knows for its
// role; none is an error. Issuers' keys are those the anchor has pinned, so
// nobody is called.
func (s *Server) validMarks(config statement, id string, now time.Time) ([]any, error) {
	list, _ := config.claims["trust_marks"].([]any)
	var good []any
	var errs []error
	for _, e := range list[:min(len(list), 10)] {
		m, _ := e.(map[string]any)
		err := s.validMark(m, id, now)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		good = append(good, e)
	}
	if len(good) == 0 {
		return nil, errors.Join(append([]error{errors.New("no valid trust mark")}, errs...)...)
	}
	return good, nil
}

func (s *Server) validMark(m map[string]any, id string, now time.Time) error {
	name, _ := m["id"].(string)
	compact, _ := m["trust_mark"].(string)
	j, err := readJWT(compact)
	if err != nil {
		return fmt.Errorf("mark %q: %w", name, err)
	}
	role := strings.TrimPrefix(strings.TrimSuffix(name, "/"), s.at.Anchor+"/")
	switch {
	case role != TypeRelyingParty+"/public" && role != TypeRelyingParty+"/private":
		return fmt.Errorf("mark %q is not one the federation knows for relying parties", name)
	case j.typ != typMark:
		return fmt.Errorf("mark %q: typ %q", name, j.typ)
	case j.text("id") != name:
		return fmt.Errorf("mark %q has another id", name)
	case j.text("iss") != s.at.Anchor:
		return fmt.Errorf("mark %q: %q may not issue it", name, j.text("iss"))
	case j.text("sub") != id:
		return fmt.Errorf("mark %q was given to %q", name, j.text("sub"))
	}
	err = j.verify(s.keys.anchorSet().Keys)
	if err != nil {
		return fmt.Errorf("mark %q: %w", name, err)
	}
	_, err = checkTimes(j.claims, now)
	if err != nil {
		return fmt.Errorf("mark %q: %w", name, err)
	}
	return nil
}

// climb gives the statements above the leaf: one about it by the anchor, or one
// by an aggregator and one by the anchor about the aggregator.
func (s *Server) climb(ctx context.Context, leaf statement, id, hint string, now time.Time) ([]statement, error) {
	if hint == s.at.Anchor {
		about, err := s.anchorStatement(id, now)
		if err != nil {
			return nil, err
		}
		return []statement{about}, vouched(leaf, about)
	}
	if hint == id {
		return nil, errors.New("a loop")
	}
	about, err := s.anchorStatement(hint, now)
	if err != nil {
		return nil, err
	}
	config, err := s.fetchConfiguration(ctx, hint)
	if err != nil {
		return nil, fmt.Errorf("aggregator: %w", err)
	}
	err = vouched(config, about)
	if err != nil {
		return nil, fmt.Errorf("aggregator: %w", err)
	}
	metadata, _ := config.claims["metadata"].(map[string]any)
	fe, _ := metadata["federation_entity"].(map[string]any)
	endpoint, _ := fe["federation_fetch_endpoint"].(string)
	err = webAddress(endpoint)
	if err != nil {
		return nil, fmt.Errorf("aggregator: federation_fetch_endpoint: %w", err)
	}
	compact, err := s.get(ctx, endpoint+"?sub="+url.QueryEscape(id))
	if err != nil {
		return nil, fmt.Errorf("aggregator: %w", err)
	}
	j, err := readJWT(compact)
	if err != nil {
		return nil, fmt.Errorf("aggregator's statement: %w", err)
	}
	keys, err := readKeys(about.claims["jwks"])
	if err != nil {
		return nil, fmt.Errorf("aggregator: %w", err)
	}
	st, err := checkStatement(j, compact, hint, id, keys, now)
	if err != nil {
		return nil, fmt.Errorf("aggregator's statement: %w", err)
	}
	return []statement{st, about}, vouched(leaf, st)
}

// vouched verifies a configuration again with the keys its superior vouches
// for.
func vouched(config, about statement) error {
	keys, err := readKeys(about.claims["jwks"])
	if err != nil {
		return fmt.Errorf("statement's jwks: %w", err)
	}
	j, err := readJWT(config.compact)
	if err == nil {
		err = j.verify(keys)
	}
	if err != nil {
		return fmt.Errorf("configuration under the statement's keys: %w", err)
	}
	return nil
}

// anchorStatement is the anchor's own, clean statement.
func (s *Server) anchorStatement(id string, now time.Time) (statement, error) {
	e, ok := s.entity(id)
	if !ok {
		return statement{}, fmt.Errorf("%s is not registered at the anchor", id)
	}
	compact, err := s.keys.anchorKey().sign(typStatement, s.statementClaims(e, now))
	if err != nil {
		return statement{}, err
	}
	j, err := readJWT(compact)
	if err != nil {
		return statement{}, err
	}
	return checkStatement(j, compact, s.at.Anchor, id, s.keys.anchorSet().Keys, now)
}

// conclude applies the policies from the anchor down and reads the final
// metadata.
func (s *Server) conclude(config statement, superiors []statement, id string, marks []any, now time.Time) (*client, error) {
	metadata, _ := config.claims["metadata"].(map[string]any)
	policy := typePolicy{}
	expires := config.expires
	chain := []string{config.compact}
	for _, st := range superiors {
		chain = append(chain, st.compact)
		if st.expires.Before(expires) {
			expires = st.expires
		}
	}
	for _, st := range slices.Backward(superiors) {
		all, _ := st.claims["metadata_policy"].(map[string]any)
		if all[TypeRelyingParty] == nil {
			continue
		}
		p, err := readPolicy(all[TypeRelyingParty])
		if err == nil {
			policy, err = policy.merge(p)
		}
		if err != nil {
			return nil, &trustError{code: "invalid_client", err: err}
		}
	}
	own, ok := metadata[TypeRelyingParty].(map[string]any)
	if !ok {
		return nil, &trustError{code: "unauthorized_client", err: errors.New("metadata is not that of a relying party")}
	}
	final, err := policy.apply(own)
	if err != nil {
		return nil, &trustError{code: "unauthorized_client", err: err}
	}
	if wrong := checkRelyingParty(final, id); len(wrong) > 0 {
		return nil, &trustError{code: "unauthorized_client", err: wrong}
	}
	anchor, err := s.keys.anchorKey().sign(typStatement, s.anchorClaims(now))
	if err != nil {
		return nil, err
	}
	c := &client{id: id, expires: expires, chain: append(chain, anchor), rp: final, marks: marks}
	c.metadata = map[string]any{TypeRelyingParty: final, "federation_entity": metadata["federation_entity"]}
	c.keys, err = readKeys(final["jwks"])
	if err != nil {
		return nil, &trustError{code: "unauthorized_client", err: fmt.Errorf("jwks: %w", err)}
	}
	c.redirect, _ = stringList(final["redirect_uris"])
	c.grants, _ = stringList(final["grant_types"])
	return c, nil
}

// known is what a resolve endpoint tells.
type known struct {
	expires  time.Time
	metadata map[string]any
	marks    []any
	chain    []string
}

// resolved is what is known of an entity without calling anybody: a client
// whose chain is cached, or the provider.
func (s *Server) resolved(sub string) (known, error) {
	if c := s.cached(sub); c != nil {
		return known{expires: c.expires, metadata: c.metadata, marks: c.marks, chain: c.chain}, nil
	}
	if sub != s.at.Provider {
		return known{}, errors.New("no chain is known")
	}
	now := s.wire.Now()
	claims := s.providerClaims(now)
	config, err := s.keys.federationKey().sign(typStatement, claims)
	if err != nil {
		return known{}, err
	}
	about, err := s.anchorStatement(sub, now)
	if err != nil {
		return known{}, err
	}
	anchor, err := s.keys.anchorKey().sign(typStatement, s.anchorClaims(now))
	if err != nil {
		return known{}, err
	}
	metadata, _ := claims["metadata"].(map[string]any)
	marks, _ := claims["trust_marks"].([]any)
	return known{expires: about.expires, metadata: metadata, marks: marks, chain: []string{config, about.compact, anchor}}, nil
}
