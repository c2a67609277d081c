package gateway

import (
	"context"
	"errors"
	"strconv"
	"time"

	"airegw/anpr"
)

// How we stand towards the register: who asks in its audit, how urgent a
// question is, what a failed one means for the request that waits, and how much
// of the day's budget is left. A failed question never refuses anybody.

// portal is the station of a citizen who acts from home.
const portal = "portal"

// asking answers who asks for a check, as the register's audit keeps it
// (AUDIT_REST_02), and how urgent it is: the person whose act asked for it, else
// the service itself.
func asking(r *Request, t Task) (anpr.Actor, anpr.Urgency) {
	urgency := anpr.UrgencyRefresh
	switch {
	case t.Actor.Kind == ActorOperator:
		urgency = anpr.UrgencyCounter // somebody stands before them
	case r.Register == nil, t.Actor != Actor{}:
		urgency = anpr.UrgencyRequest
	}
	return auditActor(t.Actor), urgency
}

// auditActor is an actor as the tracking evidence names them: operator and
// station at the counter; a citizen's opaque id, "portal" and the level of the
// login; a machine client and its office; the service itself for a worker.
func auditActor(a Actor) anpr.Actor {
	level := "L" + strconv.Itoa(a.Level)
	switch a.Kind {
	case ActorCitizen:
		return anpr.Actor{User: a.ID, Location: portal, LoA: level}
	case ActorOperator, ActorClient:
		station := a.Station
		if station == "" {
			station = a.Office.ID()
		}
		if a.Level == 0 {
			level = string(a.Kind)
		}
		return anpr.Actor{User: a.ID, Location: station, LoA: level}
	default:
		return serviceActor("request")
	}
}

// serviceActor is a worker's identity: the service id; the reason of the
// question is the request number.
func serviceActor(step string) anpr.Actor {
	return anpr.Actor{User: "airegw-" + step, Location: "airegw", LoA: "service"}
}

// registerMark says why a request waits for the register, and until when. The
// operator sees whether it is an outage that passes, a quota, or something that
// somebody has to mend (agreement, purpose, key, configuration).
func (g *Gateway) registerMark(err error, now time.Time, tries int) Mark {
	m := Mark{Kind: MarkWaiting, Code: "register_unavailable", Due: now.Add(g.after(tries)), Tries: tries}
	var e *anpr.RegisterError
	if !errors.As(err, &e) {
		return m
	}
	switch {
	case e.Kind == anpr.KindQuery:
		// It cannot be asked as it stands, now or later: a person must look.
		m.Kind, m.Code, m.Due = MarkParked, "register_query", time.Time{}
	case e.Code == anpr.CodeQuota, e.Code == anpr.CodeVoucherQuota:
		m.Code = "register_quota"
	case e.Code == anpr.CodeBudget:
		m.Code = "register_budget"
	case e.Code == anpr.CodeVoucherRefused, e.Code == anpr.CodeForbidden:
		m.Code = "register_agreement"
	case e.Kind == anpr.KindConfiguration:
		m.Code = "register_configuration"
	}
	if m.Kind == MarkWaiting && e.RetryAt.After(m.Due) {
		m.Due = g.spread(now, e.RetryAt)
	}
	m.Detail = registerDetail(e)
	return m
}

// spread lets those who wait for the same long moment come one after the other
// when it has come.
func (g *Gateway) spread(now, at time.Time) time.Time {
	window := min(at.Sub(now)/20, 5*time.Minute)
	if window <= 0 {
		return at
	}
	g.randMu.Lock()
	defer g.randMu.Unlock()
	return at.Add(time.Duration(g.backoff.Int64N(int64(window))))
}

// registerDetail is what the operator quotes to the register's support: service,
// reason, status, transaction, and the skew of our clocks where it is a suspect.
func registerDetail(e *anpr.RegisterError) string {
	s := string(e.Code)
	if e.Service != "" {
		s = string(e.Service) + " " + s
	}
	if e.Status != 0 {
		s += " " + strconv.Itoa(e.Status)
	}
	for _, part := range []string{e.Title, string(e.Source), e.Detail} {
		if part != "" {
			s += " " + part
		}
	}
	if e.TransactionID != "" {
		s += " transaction " + e.TransactionID
	}
	if skew := e.ClockSkew; skew > 5*time.Second || skew < -5*time.Second {
		s += " clock_skew " + skew.Round(time.Second).String()
	}
	return s
}

// waitForRegister gives an outbox row back because the register did not say:
// the request shows why, and no number of tries parks it, since an announced
// stop of the register lasts longer than that (§8 row 12).
func (g *Gateway) waitForRegister(ctx context.Context, r *Request, row Outbox, err error) error {
	mark := g.registerMark(err, g.clock.Now(), row.Tries+1)
	if mark.Kind == MarkParked {
		return g.store.ReleaseOutbox(ctx, row, time.Time{}, mark.Code, mark.Detail, true)
	}
	err = g.commit(ctx, r, Change{Mark: &mark})
	if err != nil {
		return err
	}
	return g.store.ReleaseOutbox(ctx, row, mark.Due, mark.Code, mark.Detail, false)
}

// RegisterState is how the register stands, for the desk: what was spent of
// today's budgets, and which services are not asked until when.
type RegisterState struct {
	Usage []anpr.Usage
	Stops []anpr.Stop
}

// RegisterState answers how much of the register's quota is spent and which
// stops hold. It asks nobody.
func (g *Gateway) RegisterState(ctx context.Context) (RegisterState, error) {
	q, ok := g.register.(interface {
		Quotas(ctx context.Context) ([]anpr.Usage, []anpr.Stop, error)
	})
	if !ok {
		return RegisterState{}, nil
	}
	usage, stops, err := q.Quotas(ctx)
	return RegisterState{Usage: usage, Stops: stops}, wrap("read quotas", err)
}
