package web

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/alexedwards/scs/v2"
	"github.com/gin-gonic/gin"

	"airegw/gateway"
	broken "airegw/gateway/fault"
)

// door is one kind of session: operators and citizens have one each, with a
// cookie that carries its name, so that neither can be mistaken for the other.
type door struct {
	sm    *scs.SessionManager
	book  SessionBook
	idle  time.Duration
	which string // stored in the session and compared on every load
}

// touchEvery is how old the note of the last call may be before it is written
// again: a session must not cost a write per page.
const touchEvery = 2 * time.Minute

// ownTime gives sessions the life they have on the gateway's clock: the session
// library reckons with the machine's, which is another one in a simulation.
type ownTime struct {
	scs.CtxStore
	now func() time.Time
}

// CommitCtx moves the expiry from the machine's clock to ours.
func (o ownTime) CommitCtx(ctx context.Context, token string, b []byte, expiry time.Time) error {
	return o.CtxStore.CommitCtx(ctx, token, b, o.now().Add(time.Until(expiry)))
}

var blankManagers sync.Map // by door

// blankManager answers a new session manager with the door's own context key.
// scs.New starts the clean-up of a default store nobody uses; stopping it races
// with its start, so each door's is made once in a process and copied.
func blankManager(name string) *scs.SessionManager {
	made, ok := blankManagers.Load(name)
	if !ok {
		made, _ = blankManagers.LoadOrStore(name, scs.New())
	}
	return made.(*scs.SessionManager)
}

func newDoor(store scs.CtxStore, book SessionBook, name string, secure bool, life, idle time.Duration) *door {
	blank := *blankManager(name)
	sm := &blank
	sm.Store = store
	sm.HashTokenInStore = true
	sm.Lifetime = life
	sm.IdleTimeout = idle
	sm.Cookie.Name = name
	if secure && !broken.Mutant("web.host-cookie") {
		sm.Cookie.Name = "__Host-" + name
	}
	sm.Cookie.Secure = secure
	sm.Cookie.HttpOnly = true
	sm.Cookie.SameSite = http.SameSiteLaxMode
	sm.Cookie.Path = "/"
	sm.Cookie.Persist = false
	return &door{sm: sm, book: book, idle: idle, which: name}
}

// SessionBook keeps who has which session open; the store does. A session that
// is not open in the book is worth nothing. What it writes is durable on return.
type SessionBook interface {
	// NoteSession notes a session that begins; the one it follows ends.
	NoteSession(ctx context.Context, n gateway.SessionNote, follows string) error
	// KeepSession moves the end of an open session.
	KeepSession(ctx context.Context, id string, expires time.Time) error
	SessionOpen(ctx context.Context, id string) (bool, error)
	// SessionsOf answers an owner's open sessions, newest first.
	SessionsOf(ctx context.Context, owner string) ([]gateway.SessionNote, error)
	// EndSession ends a session of an owner; NotFound when it is not theirs.
	EndSession(ctx context.Context, owner, id string) error
}

// load answers the call's context with its session data; ok is false when there
// is no live session of this door.
func (d *door) load(c *gin.Context, now time.Time) (ctx context.Context, ok bool, err error) {
	token, err := c.Cookie(d.sm.Cookie.Name)
	if err != nil || token == "" {
		return nil, false, nil
	}
	ctx, err = d.sm.Load(c.Request.Context(), token)
	if err != nil {
		return nil, false, fmt.Errorf("load session: %w", err)
	}
	if d.sm.GetString(ctx, "door") != d.which && !broken.Mutant("web.session-door") {
		return nil, false, nil
	}
	id := d.sm.GetString(ctx, "session")
	open, err := d.book.SessionOpen(ctx, id)
	if err != nil {
		return nil, false, fmt.Errorf("look session up: %w", err)
	}
	if !open && !broken.Mutant("web.session-ended") {
		return nil, false, nil // ended from another browser
	}
	if seen := d.sm.GetInt64(ctx, "seen"); now.Unix()-seen >= int64(touchEvery.Seconds()) {
		d.sm.Put(ctx, "seen", now.Unix())
		_, _, err = d.sm.Commit(ctx)
		if err == nil {
			err = d.book.KeepSession(ctx, id, now.Add(d.idle))
		}
		if err != nil {
			return nil, false, fmt.Errorf("touch session: %w", err)
		}
	}
	return ctx, true, nil
}

// owner names whose sessions those of an opaque id are.
func (d *door) owner(id string) string { return d.which + " " + id }

// longestBrowser is how much is kept of what a browser calls itself.
const longestBrowser = 200

// open starts a session with a new token; one that was there ends. values has
// the caller's opaque id, and the login's reference where there was one.
func (d *door) open(c *gin.Context, now time.Time, values map[string]string) error {
	old, err := c.Cookie(d.sm.Cookie.Name)
	if err != nil {
		old = ""
	}
	ctx, err := d.sm.Load(c.Request.Context(), old)
	if err != nil {
		return fmt.Errorf("load session: %w", err)
	}
	follows := d.sm.GetString(ctx, "session")
	if !broken.Mutant("web.renew") {
		err = d.sm.RenewToken(ctx)
	}
	if err != nil {
		return fmt.Errorf("renew session: %w", err)
	}
	err = d.sm.Clear(ctx)
	if err != nil {
		return fmt.Errorf("clear session: %w", err)
	}
	d.sm.Put(ctx, "door", d.which)
	d.sm.Put(ctx, "seen", now.Unix())
	id := reference()
	d.sm.Put(ctx, "session", id)
	for k, v := range values {
		d.sm.Put(ctx, k, v)
	}
	browser := c.GetHeader("User-Agent")
	browser = strings.ToValidUTF8(browser[:min(len(browser), longestBrowser)], "")
	err = d.book.NoteSession(ctx, gateway.SessionNote{
		ID: id, Owner: d.owner(values["id"]), StartedAt: now, ExpiresAt: now.Add(d.idle), Level: len(values["level"]),
		Browser: browser, Login: values["login"],
	}, follows)
	if err != nil {
		return fmt.Errorf("note session: %w", err)
	}
	token, expiry, err := d.sm.Commit(ctx)
	if err != nil {
		return fmt.Errorf("commit session: %w", err)
	}
	d.sm.WriteSessionCookie(ctx, c.Writer, token, expiry)
	return nil
}

// close ends the session, in the store too: the token is worth nothing after.
func (d *door) close(c *gin.Context) error {
	token, err := c.Cookie(d.sm.Cookie.Name)
	if err != nil || token == "" {
		return nil
	}
	ctx, err := d.sm.Load(c.Request.Context(), token)
	if err != nil {
		return fmt.Errorf("load session: %w", err)
	}
	id, owner := d.sm.GetString(ctx, "session"), d.owner(d.sm.GetString(ctx, "id"))
	err = d.sm.Destroy(ctx)
	if err != nil {
		return fmt.Errorf("destroy session: %w", err)
	}
	d.sm.WriteSessionCookie(ctx, c.Writer, "", time.Time{})
	err = d.book.EndSession(ctx, owner, id)
	if err != nil && gateway.KindOf(err) != gateway.NotFound {
		return fmt.Errorf("end session: %w", err)
	}
	return nil
}

// identify finds out who calls: a client by its bearer, else an operator, else
// a citizen by session. Nobody is no error.
func (s *Server) identify(c *gin.Context, ev *event) error {
	if auth := c.GetHeader("Authorization"); auth != "" && ev.route.Surface == SurfaceAPI {
		token, ok := strings.CutPrefix(auth, "Bearer ")
		if !ok {
			return fault{status: http.StatusUnauthorized, code: "bearer_invalid"}
		}
		who, err := s.client(c.Request.Context(), token, ev.start)
		if err != nil {
			return err
		}
		ev.who = who
		return nil
	}
	if ctx, ok, err := s.operators.load(c, ev.start); err != nil {
		return unavailable(err)
	} else if ok {
		sm := s.operators.sm
		actor := gateway.Actor{
			Kind: gateway.ActorOperator, ID: sm.GetString(ctx, "id"),
			Office:  gateway.OfficeFromID(sm.GetString(ctx, "office")),
			Role:    gateway.Role(sm.GetString(ctx, "role")),
			Station: sm.GetString(ctx, "station"),
		}
		kind := Operator
		if actor.Role == gateway.RoleReferent {
			kind = Referent
		}
		if _, owner := gateway.OwnerOf(actor.Role); owner {
			kind = RuleOwner
		}
		ev.who = caller{
			kind: kind, scope: gateway.OperatorScope(actor), name: sm.GetString(ctx, "name"),
			office: actor.Office, id: actor.ID, door: s.operators, session: sm.GetString(ctx, "session"), card: sm.GetString(ctx, "card"),
		}
		return nil
	}
	if ctx, ok, err := s.citizens.load(c, ev.start); err != nil {
		return unavailable(err)
	} else if ok {
		sm := s.citizens.sm
		level := len(sm.GetString(ctx, "level")) // one mark per level
		id := sm.GetString(ctx, "id")
		ev.who = caller{
			kind: Citizen, scope: gateway.CitizenScope(sm.GetString(ctx, "fiscal_code"), id, level),
			name: sm.GetString(ctx, "name"), id: id, door: s.citizens, session: sm.GetString(ctx, "session"), login: sm.GetString(ctx, "login"),
		}
	}
	return nil
}

// unavailable makes an error of the session store one of ours: whatever it is,
// the caller should come back later, and must not pass for signed out.
func unavailable(err error) error {
	var e *gateway.Error
	if errors.As(err, &e) {
		return err
	}
	return &gateway.Error{Kind: gateway.Unavailable, Code: "store_unavailable", Err: err}
}

// becomeOperator opens an operator's session and ends a citizen's.
func (s *Server) becomeOperator(c *gin.Context, now time.Time, o DemoOperator) error {
	err := s.citizens.close(c)
	if err != nil {
		return unavailable(err)
	}
	err = s.operators.open(c, now, map[string]string{
		"id": o.ID, "name": o.Name, "office": o.Office.ID(), "role": string(o.Role), "station": o.Station,
	})
	if err != nil {
		return unavailable(err)
	}
	return nil
}

// becomeCitizen opens a citizen's session and ends an operator's. values has the
// opaque id, the name and the login's reference.
func (s *Server) becomeCitizen(c *gin.Context, now time.Time, fiscalCode string, level int, values map[string]string) error {
	err := s.operators.close(c)
	if err != nil {
		return unavailable(err)
	}
	values["fiscal_code"] = fiscalCode
	values["level"] = strings.Repeat("*", max(1, min(3, level)))
	err = s.citizens.open(c, now, values)
	if err != nil {
		return unavailable(err)
	}
	return nil
}
