package web

import (
	"context"
	"crypto/sha256"
	"net/http"
	"sync"
	"time"

	"airegw/gateway"
	broken "airegw/gateway/fault"
	"airegw/gateway/jose"
)

// BearerLife is the longest life of a client's assertion, exp less iat.
const BearerLife = 10 * time.Minute

// bearerCache remembers assertions that verified, until they end, so that a
// client pays for one signature and not for one per call. Revocation is not
// cached: the client is looked up on every call.
type bearerCache struct {
	mu    sync.RWMutex
	known map[[sha256.Size]byte]verifiedBearer
}

type verifiedBearer struct {
	client string
	keys   [sha256.Size]byte // digest of the key set that verified it: new keys end old assertions
	until  time.Time
}

const bearerCacheSize = 10_000

func newBearerCache() *bearerCache {
	return &bearerCache{known: map[[sha256.Size]byte]verifiedBearer{}}
}

func (b *bearerCache) get(sum [sha256.Size]byte, now time.Time) (verifiedBearer, bool) {
	b.mu.RLock()
	defer b.mu.RUnlock()
	v, ok := b.known[sum]
	return v, ok && now.Before(v.until)
}

func (b *bearerCache) put(sum [sha256.Size]byte, v verifiedBearer, now time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.known) >= bearerCacheSize {
		for k, old := range b.known {
			if !now.Before(old.until) {
				delete(b.known, k)
			}
		}
		if len(b.known) >= bearerCacheSize {
			clear(b.known)
		}
	}
	b.known[sum] = v
}

// client answers who a bearer belongs to: a private_key_jwt assertion (RFC 7523)
// signed by the client itself, with iss and sub the client's id, aud our base
// URL + "/api/v1", at most BearerLife long. Every reason to refuse it is the
// same answer to the caller; the record keeps the cause.
func (s *Server) client(ctx context.Context, token string, now time.Time) (caller, error) {
	refuse := func(err error) error {
		return &gateway.Error{Kind: gateway.Unauthenticated, Code: "bearer_invalid", Err: err}
	}
	if len(token) > jose.MaxToken {
		return caller{}, refuse(nil)
	}
	sum := sha256.Sum256([]byte(token))
	known, ok := s.bearer.get(sum, now)
	if !ok {
		var claims struct {
			Issuer string `json:"iss"`
		}
		_, _, _, err := jose.Peek(token, &claims)
		if err != nil {
			return caller{}, refuse(err)
		}
		known.client = claims.Issuer
	}
	if known.client == "" || len(known.client) > 200 {
		return caller{}, refuse(nil)
	}
	client, err := s.opt.Clients.Client(ctx, known.client)
	switch {
	case err != nil && gateway.KindOf(err) == gateway.NotFound:
		return caller{}, refuse(err)
	case err != nil:
		return caller{}, err
	case client.Revoked && !broken.Mutant("web.revoked"):
		return caller{}, fault{status: http.StatusUnauthorized, code: "bearer_invalid"}
	}
	keysSum := sha256.Sum256(client.JWKS)
	if !ok || keysSum != known.keys {
		keys, err := jose.ParseKeySet(client.JWKS)
		if err != nil {
			return caller{}, refuse(err)
		}
		v, err := jose.Verify(token, keys, jose.Expect{
			Algs: []jose.Algorithm{jose.ES256, jose.RS256},
			Typ:  []string{"client-authentication+jwt", jose.TypeJWT},
			Now:  now, Skew: 30 * time.Second, MaxLife: BearerLife,
			Issuer: client.ID, Subject: client.ID, Audience: s.audience,
		}, nil)
		if err != nil {
			return caller{}, refuse(err)
		}
		if v.ID == "" {
			return caller{}, refuse(nil)
		}
		s.bearer.put(sum, verifiedBearer{client: client.ID, keys: keysSum, until: v.ExpiresAt}, now)
	}
	actor := gateway.Actor{Kind: gateway.ActorClient, ID: client.ID, Office: client.Office, Role: gateway.RoleClerk}
	return caller{kind: MachineClient, scope: gateway.OperatorScope(actor), office: client.Office, id: client.ID, name: client.ID}, nil
}
