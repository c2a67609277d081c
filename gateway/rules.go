package gateway

import (
	"archive/zip"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"sync"
	"time"

	"airegw/gateway/jose"
	"airegw/policies"
)

// RuleOwners are the keys of the two ministries that own the rules together.
type RuleOwners struct {
	// Keys are what an approval must be signed with.
	Keys map[policies.Owner]jose.KeySet
	// Signers hold the owners' private keys in a simulation: there the server
	// signs when that owner's person approves. Empty in production, where the
	// person uploads a detached JWS made elsewhere.
	Signers map[policies.Owner]jose.Key
}

// The roles of the people who approve rules, one ministry each. They belong to
// no office and see no request.
const (
	RoleOwnerInterior Role = "owner_interior"
	RoleOwnerMAECI    Role = "owner_maeci"
)

// OwnerOf answers the owner of the rules that a role speaks for.
func OwnerOf(r Role) (policies.Owner, bool) {
	switch r {
	case RoleOwnerInterior:
		return policies.OwnerInterior, true
	case RoleOwnerMAECI:
		return policies.OwnerMAECI, true
	default:
		return "", false
	}
}

// RuleSet is a stored rule set: a draft until both owners approved it, then in
// force from EffectiveAt on until the next one is. It is kept for ever, so that
// any decision can be replayed with the rules of its day.
type RuleSet struct {
	Hash        string    // policies.Set.Hash
	Uploader    Actor     // who uploaded it
	UploadedAt  time.Time // …and when
	EffectiveAt time.Time // zero: since ever (the first set of a database)
	AppliedAt   time.Time // when open requests were sent to be decided again; zero: not yet
	Approvals   []RuleApproval
}

// RuleApproval is one owner's word on a set.
type RuleApproval struct {
	Owner policies.Owner
	Actor Actor // the person; never the same for both
	JWS   string
	At    time.Time
}

// Approved says that both owners approved the set.
func (r *RuleSet) Approved() bool {
	for _, o := range policies.Owners {
		if !slices.ContainsFunc(r.Approvals, func(a RuleApproval) bool { return a.Owner == o }) {
			return false
		}
	}
	return true
}

func (r *RuleSet) signatures() map[policies.Owner]string {
	out := map[policies.Owner]string{}
	for _, a := range r.Approvals {
		out[a.Owner] = a.JWS
	}
	return out
}

// RuleStore keeps rule sets; every Store does. Writes are durable on return,
// audit entries included.
type RuleStore interface {
	// SaveRuleSet stores a set with its files and the approvals it has; Conflict
	// "rules_known" if a set of that hash is there.
	SaveRuleSet(ctx context.Context, s RuleSet, files []byte, audit ...AuditEntry) error
	// RuleSets answers all sets, in the order in which they were uploaded.
	RuleSets(ctx context.Context) ([]RuleSet, error)
	// RuleFiles answers the files of a set as they were saved; NotFound.
	RuleFiles(ctx context.Context, hash string) ([]byte, error)
	// ApproveRuleSet adds an approval and moves the effective instant: Conflict
	// "rules_approved_already" when this owner approved before,
	// "rules_same_person" when the person approved for the other; NotFound.
	ApproveRuleSet(ctx context.Context, hash string, a RuleApproval, effective time.Time, audit ...AuditEntry) error
	// ApplyRuleSet sends every request that was decided and is not signed to be
	// decided again and notes that it did, in one commit; it answers how many.
	// A set that was applied before changes nothing.
	ApplyRuleSet(ctx context.Context, hash string, now time.Time, audit ...AuditEntry) (int, error)
}

// rulebook answers which rules hold at an instant. It is safe for concurrent
// use; what it answers never changes.
type rulebook struct {
	mu   sync.RWMutex
	eras []ruleEra // ascending; never empty
	sets map[string]*policies.Set
}

type ruleEra struct {
	from time.Time
	set  *policies.Set
}

func newRulebook(first *policies.Set) *rulebook {
	return &rulebook{eras: []ruleEra{{set: first}}, sets: map[string]*policies.Set{first.Hash(): first}}
}

// at answers the set in force at an instant and since when it is.
func (b *rulebook) at(t time.Time) (*policies.Set, time.Time) {
	b.mu.RLock()
	defer b.mu.RUnlock()
	for i := len(b.eras) - 1; i > 0; i-- {
		if !b.eras[i].from.After(t) {
			return b.eras[i].set, b.eras[i].from
		}
	}
	return b.eras[0].set, b.eras[0].from
}

// now answers the set in force at an instant.
func (b *rulebook) now(t time.Time) *policies.Set {
	s, _ := b.at(t)
	return s
}

// rulesEvery is how often a replica looks for rules that others approved or whose
// date has come; the one where they are approved looks at once.
const rulesEvery = 15 * time.Second

// RulesInForce answers the rule set in force now.
func (g *Gateway) RulesInForce() *policies.Set { return g.rules.now(g.clock.Now()) }

// The size of an upload: the shipped set is a tenth of it.
const (
	MaxRuleFiles = 50
	MaxRuleBytes = 2 << 20
)

// packRules makes one file of the rule files in the root of fsys: a zip archive
// that fs.FS reads back.
func packRules(fsys fs.FS) ([]byte, error) {
	names, err := fs.Glob(fsys, "*.yaml")
	if err != nil {
		return nil, fmt.Errorf("list rule files: %w", err)
	}
	slices.Sort(names)
	var out bytes.Buffer
	w := zip.NewWriter(&out)
	for _, name := range names {
		content, err := fs.ReadFile(fsys, name)
		if err != nil {
			return nil, fmt.Errorf("read rule file: %w", err)
		}
		f, err := w.Create(name)
		if err == nil {
			_, err = f.Write(content)
		}
		if err != nil {
			return nil, fmt.Errorf("pack rule files: %w", err)
		}
	}
	err = w.Close()
	if err != nil {
		return nil, fmt.Errorf("pack rule files: %w", err)
	}
	return out.Bytes(), nil
}

// loadRules reads packed rule files.
func loadRules(packed []byte) (*policies.Set, error) {
	r, err := zip.NewReader(bytes.NewReader(packed), int64(len(packed)))
	if err != nil {
		return nil, fmt.Errorf("unpack rule files: %w", err)
	}
	return policies.Load(r)
}

// StoredRules answers a rule set that was ever stored, by its hash, for
// `airegw explain REQUEST`: the rules of that day. NotFound for an unknown one.
func StoredRules(ctx context.Context, store RuleStore, hash string) (*policies.Set, error) {
	packed, err := store.RuleFiles(ctx, hash)
	if err != nil {
		return nil, wrap("read rule set", err)
	}
	set, err := loadRules(packed)
	if err != nil {
		return nil, wrap("load rule set", err)
	}
	if set.Hash() != hash {
		return nil, wrap("load rule set", fmt.Errorf("%s is kept as %s", set.Hash(), hash))
	}
	return set, nil
}

// StoredRulesAt answers the approved set that was in force at an instant, for
// `airegw explain REQUEST`: what today's rules would answer. It verifies no
// signature, since it puts nothing into force. NotFound when the store holds
// none, as before a gateway first started on it.
func StoredRulesAt(ctx context.Context, store RuleStore, at time.Time) (*policies.Set, error) {
	sets, err := store.RuleSets(ctx)
	if err != nil {
		return nil, wrap("read rule sets", err)
	}
	var found *RuleSet
	for i, r := range approvedInOrder(sets) {
		if i == 0 || !r.EffectiveAt.After(at) {
			found = &r
		}
	}
	if found == nil {
		return nil, NewError(NotFound, "not_found")
	}
	return StoredRules(ctx, store, found.Hash)
}

// approvedInOrder answers the sets that both owners approved, in the order in
// which they take effect.
func approvedInOrder(sets []RuleSet) []RuleSet {
	var out []RuleSet
	for i := range sets {
		if sets[i].Approved() {
			out = append(out, sets[i])
		}
	}
	slices.SortStableFunc(out, func(a, b RuleSet) int { return a.EffectiveAt.Compare(b.EffectiveAt) })
	return out
}

// UseRules brings the configured rule set, whose approvals the caller verified,
// into the store and the sets that were approved there into force. The first set
// of a database holds since ever; one that comes later, with another program or
// configuration, takes effect now, unless it was stored before. A set in force
// or to come whose approvals do not hold is an *policies.ApprovalError.
func (g *Gateway) UseRules(ctx context.Context, files fs.FS, approvals map[policies.Owner]string) error {
	set, err := policies.Load(files)
	if err != nil {
		return fmt.Errorf("load rules: %w", err)
	}
	known, err := g.store.RuleSets(ctx)
	if err != nil {
		return wrap("read rule sets", err)
	}
	now := g.clock.Now()
	configured := func(o policies.Owner) RuleApproval {
		return RuleApproval{Owner: o, Actor: Actor{Kind: ActorWorker, ID: "configuration-" + string(o)}, JWS: approvals[o], At: now}
	}
	actor := systemScope("configuration").actor
	i := slices.IndexFunc(known, func(r RuleSet) bool { return r.Hash == set.Hash() })
	if i < 0 {
		packed, err := packRules(files)
		if err != nil {
			return wrap("store rules", err)
		}
		stored := RuleSet{Hash: set.Hash(), Uploader: actor, UploadedAt: now}
		if len(known) > 0 {
			stored.EffectiveAt = now
		} else {
			stored.AppliedAt = now // nothing was decided before
		}
		for _, o := range policies.Owners {
			stored.Approvals = append(stored.Approvals, configured(o))
		}
		err = g.store.SaveRuleSet(ctx, stored, packed, AuditEntry{At: now, Actor: actor, Act: "rules_configured", Subject: set.Hash()})
		if CodeOf(err) == "rules_known" {
			err = nil // a replica that started at the same moment was quicker
		}
		if err != nil {
			return wrap("store rules", err)
		}
	} else {
		// Uploaded as a draft before, and now approved by the configuration.
		for _, o := range policies.Owners {
			if slices.ContainsFunc(known[i].Approvals, func(a RuleApproval) bool { return a.Owner == o }) {
				continue
			}
			err = g.store.ApproveRuleSet(ctx, set.Hash(), configured(o), latest(now, known[i].EffectiveAt),
				AuditEntry{At: now, Actor: actor, Act: "rules_approved", Subject: set.Hash()})
			if CodeOf(err) == "rules_approved_already" {
				err = nil
			}
			if err != nil {
				return wrap("store approval", err)
			}
		}
	}
	return g.reloadRules(ctx)
}

func latest(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// reloadRules reads which sets are approved and makes the rulebook of them.
func (g *Gateway) reloadRules(ctx context.Context) error {
	stored, err := g.store.RuleSets(ctx)
	if err != nil {
		return wrap("read rule sets", err)
	}
	now := g.clock.Now()
	var eras []ruleEra
	approved := approvedInOrder(stored)
	if len(approved) == 0 {
		return nil
	}
	for i := range approved {
		r := &approved[i]
		if i+1 < len(approved) && !approved[i+1].EffectiveAt.After(now) {
			continue // replaced: kept for explain, decides no more
		}
		set, err := g.ruleSet(ctx, r.Hash)
		if err != nil {
			return err
		}
		if g.owners != nil {
			err = set.VerifyApprovals(r.signatures(), g.owners.Keys)
			if err != nil {
				return fmt.Errorf("rule set %s: %w", r.Hash, err)
			}
		}
		eras = append(eras, ruleEra{r.EffectiveAt, set})
	}
	g.rules.mu.Lock()
	defer g.rules.mu.Unlock()
	g.rules.eras = eras
	return nil
}

// ruleSet answers a stored set, read once.
func (g *Gateway) ruleSet(ctx context.Context, hash string) (*policies.Set, error) {
	g.rules.mu.RLock()
	set, ok := g.rules.sets[hash]
	g.rules.mu.RUnlock()
	if ok {
		return set, nil
	}
	set, err := StoredRules(ctx, g.store, hash)
	if err != nil {
		return nil, err
	}
	g.rules.mu.Lock()
	defer g.rules.mu.Unlock()
	g.rules.sets[hash] = set
	return set, nil
}

// RulesOnce brings newly approved rules into force and, when a set has taken
// effect, sends the requests before signature to be decided again. again is
// always false.
func (g *Gateway) RulesOnce(ctx context.Context) (again bool, err error) {
	err = g.reloadRules(ctx)
	if err != nil {
		return false, err
	}
	now := g.clock.Now()
	inForce := g.rules.now(now).Hash()
	stored, err := g.store.RuleSets(ctx)
	if err != nil {
		return false, wrap("read rule sets", err)
	}
	i := slices.IndexFunc(stored, func(r RuleSet) bool { return r.Hash == inForce })
	if i < 0 || !stored[i].AppliedAt.IsZero() {
		return false, nil
	}
	n, err := g.store.ApplyRuleSet(ctx, inForce, now, AuditEntry{At: now, Actor: systemScope("rules").actor, Act: "rules_applied", Subject: inForce})
	if err != nil {
		return false, wrap("apply rules", err)
	}
	g.log.Info("rules took effect", "rule_set", inForce, "requests", n)
	poke(g.wakeWork)
	return false, nil
}

// WatchRules keeps the rules of a replica that serves and does not work up to
// what others approved, until ctx ends. Run does it by itself.
func (g *Gateway) WatchRules(ctx context.Context) {
	for {
		err := g.reloadRules(context.WithoutCancel(ctx))
		if err != nil {
			g.log.Error("rules cannot be read again", "kind", KindOf(err).String(), "err", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-g.wakeRules:
		case <-g.clock.After(rulesEvery):
		}
	}
}

// RulesDesk is where the two owners change the rules.
type RulesDesk struct {
	g     *Gateway
	actor Actor
	owner policies.Owner
}

// RulesDesk opens the desk for a person whose role is one of the owners';
// Forbidden "owners_only" for anybody else.
func (g *Gateway) RulesDesk(scope Scope) (RulesDesk, error) {
	owner, ok := OwnerOf(scope.actor.Role)
	if !ok || scope.actor.Kind != ActorOperator {
		return RulesDesk{}, NewError(Forbidden, "owners_only")
	}
	return RulesDesk{g, scope.actor, owner}, nil
}

// Owner answers the ministry the person speaks for.
func (d RulesDesk) Owner() policies.Owner { return d.owner }

// ServerSigns says that the server holds the owner's key, as in a simulation.
func (d RulesDesk) ServerSigns() bool {
	return d.g.owners != nil && !d.g.owners.Signers[d.owner].IsZero()
}

// List answers every set, the newest first.
func (d RulesDesk) List(ctx context.Context) ([]RuleSet, error) {
	sets, err := d.g.store.RuleSets(ctx)
	slices.Reverse(sets)
	return sets, wrap("read rule sets", err)
}

// Upload stores a draft. The files' bytes by name, *.yaml; effective is when it
// shall hold, at the earliest once both owners approved it. A set that does not
// load is Invalid "rules_do_not_load", one Problem per defect: Field is
// "file:line", Code one of policies' load codes, Args "detail".
func (d RulesDesk) Upload(ctx context.Context, files map[string][]byte, effective time.Time) (hash string, err error) {
	var packed bytes.Buffer
	w := zip.NewWriter(&packed)
	size := 0
	for name, content := range files {
		size += len(content)
		if path.Base(name) != name || path.Ext(name) != ".yaml" {
			return "", invalid("/files", "rules_file_name")
		}
	}
	if len(files) == 0 || len(files) > MaxRuleFiles || size > MaxRuleBytes {
		return "", invalid("/files", "rules_upload_size")
	}
	now := d.g.clock.Now()
	effective = latest(effective, now)
	for name, content := range files {
		f, err := w.Create(name)
		if err == nil {
			_, err = f.Write(content)
		}
		if err != nil {
			return "", wrap("pack rule files", err)
		}
	}
	err = w.Close()
	if err != nil {
		return "", wrap("pack rule files", err)
	}
	set, err := loadRules(packed.Bytes())
	if err != nil {
		return "", loadError(err)
	}
	err = d.g.store.SaveRuleSet(ctx, RuleSet{Hash: set.Hash(), Uploader: d.actor, UploadedAt: now, EffectiveAt: effective}, packed.Bytes(),
		AuditEntry{At: now, Actor: d.actor, Act: "rules_uploaded", Subject: set.Hash()})
	if err != nil {
		return "", wrap("store rules", err)
	}
	return set.Hash(), nil
}

// loadError turns the defects of rule files into problems for people.
func loadError(err error) error {
	var defects policies.LoadErrors
	if !errors.As(err, &defects) {
		return wrap("load rules", err)
	}
	out := &Error{Kind: Invalid, Code: "rules_do_not_load"}
	for _, e := range defects {
		out.Problems = append(out.Problems, Problem{
			Field: fmt.Sprintf("%s:%d", e.File, e.Line), Code: e.Code, Args: map[string]string{"detail": e.Detail},
		})
	}
	return out
}

// RuleDraft is a set weighed against the one in force.
type RuleDraft struct {
	RuleSet
	InForce bool
	Rules   int
	// Against is the hash of the set it is compared with.
	Against string
	// Answers are the answers people would get differently, Changes the rules.
	Answers []policies.AnswerChange
	Changes []policies.Change
	Touched Touched
}

// Touched counts the open requests before signature that a set would move.
type Touched struct {
	Open      int  // looked at
	Delivery  int  // whose chosen delivery would be allowed no more: asked again
	Answer    int  // whose chosen delivery would be answered otherwise, the above among them
	Truncated bool // there are more open requests than were looked at
}

// maxTouched bounds how many requests one look at a draft weighs.
const maxTouched = 5000

// Draft answers a set and what it would change, from its date on. NotFound for
// an unknown one.
func (d RulesDesk) Draft(ctx context.Context, hash string) (RuleDraft, error) {
	sets, err := d.g.store.RuleSets(ctx)
	if err != nil {
		return RuleDraft{}, wrap("read rule sets", err)
	}
	i := slices.IndexFunc(sets, func(r RuleSet) bool { return r.Hash == hash })
	if i < 0 {
		return RuleDraft{}, NewError(NotFound, "not_found")
	}
	set, err := d.g.ruleSet(ctx, hash)
	if err != nil {
		return RuleDraft{}, err
	}
	now := d.g.clock.Now()
	inForce := d.g.rules.now(now)
	draft := RuleDraft{RuleSet: sets[i], Against: inForce.Hash(), InForce: inForce.Hash() == hash, Rules: len(set.Rules())}
	if draft.InForce {
		return draft, nil
	}
	since := latest(draft.EffectiveAt, now)
	draft.Answers, draft.Changes = inForce.DiffAnswers(set, since), inForce.Diff(set, since)
	draft.Touched, err = d.g.touched(ctx, set, since)
	return draft, err
}

// touched weighs the open requests before signature by other rules.
func (g *Gateway) touched(ctx context.Context, next *policies.Set, since time.Time) (Touched, error) {
	var out Touched
	scope := systemScope("rules")
	for after := ""; ; {
		rows, err := g.store.Find(ctx, scope, Criteria{States: unsignedStates, Limit: 500, After: after})
		if err != nil {
			return out, wrap("find open requests", err)
		}
		for _, row := range rows {
			after = row.ID
			r, err := g.load(ctx, scope, row.ID)
			if err != nil {
				return out, err
			}
			if r.Decision == nil {
				continue
			}
			out.Open++
			decision := next.Decide(factsOf(r, since))
			option := decision.Options.For(r.Delivery.Option)
			was := r.Decision.Decision.Options.For(r.Delivery.Option)
			if option.Verdict != was.Verdict {
				out.Answer++
				if option.Verdict == policies.VerdictRefuse {
					out.Delivery++
				}
			}
		}
		if len(rows) < 500 {
			return out, nil
		}
		if out.Open >= maxTouched {
			out.Truncated = true
			return out, nil
		}
	}
}

// unsignedStates are the states in which a choice can still be made again.
var unsignedStates = []State{StatePrechecked, StateMisaligned, StateInEnquiry, StateSuspended, StateFormsReady}

// UnsignedStates answers the states of requests that new rules decide again.
func UnsignedStates() []State { return slices.Clone(unsignedStates) }

// Approve records the person's approval for the own ministry. jws is a detached
// signature over policies.Set.ApprovalPayload; in a simulation it is empty and
// the server signs. With both approvals the set takes effect at its date, at the
// earliest now. Conflict "rules_same_person" for a person who approved for the
// other owner, "rules_approved_already", "rules_in_force"; Invalid
// "rules_signature" when the signature does not hold; Forbidden "rules_no_key"
// when no key of the owner is configured.
func (d RulesDesk) Approve(ctx context.Context, hash, jws string) error {
	g := d.g
	set, err := g.ruleSet(ctx, hash)
	if err != nil {
		return err
	}
	now := g.clock.Now()
	if g.rules.now(now).Hash() == hash {
		return NewError(Conflict, "rules_in_force")
	}
	if g.owners == nil || g.owners.Keys[d.owner].Len() == 0 {
		return NewError(Forbidden, "rules_no_key")
	}
	if d.ServerSigns() {
		jws, err = set.Approve(d.owner, g.owners.Signers[d.owner])
		if err != nil {
			return wrap("sign rules", err)
		}
	}
	err = set.VerifyApproval(d.owner, jws, g.owners.Keys[d.owner])
	if err != nil {
		return &Error{Kind: Invalid, Code: "rules_signature", Problems: []Problem{{Field: "/jws", Code: "rules_signature"}}, Err: err}
	}
	sets, err := g.store.RuleSets(ctx)
	if err != nil {
		return wrap("read rule sets", err)
	}
	i := slices.IndexFunc(sets, func(r RuleSet) bool { return r.Hash == hash })
	if i < 0 {
		return NewError(NotFound, "not_found")
	}
	effective := latest(sets[i].EffectiveAt, now)
	err = g.store.ApproveRuleSet(ctx, hash, RuleApproval{Owner: d.owner, Actor: d.actor, JWS: jws, At: now}, effective,
		AuditEntry{At: now, Actor: d.actor, Act: "rules_approved", Subject: hash})
	if err != nil {
		return wrap("store approval", err)
	}
	err = g.reloadRules(ctx)
	poke(g.wakeRules)
	return err
}

// Why is why a delivery is as it is for one request.
type Why struct {
	Request *Request
	Option  policies.DeliveryOption
	// Record is the decision of record, Today what the rules in force say with
	// everything known by now.
	Record, Today Verdict
}

// Verdict is one answer with the rule it rests on.
type Verdict struct {
	policies.Option
	At      time.Time
	RuleSet string         // its hash
	Text    *policies.Rule // the rule as written; nil when several make the answer or it is not kept
}

// Why answers why a delivery is allowed or not for a request of the scope.
// Conflict "not_decided_yet" before the first decision; NotFound for another's
// request and for a delivery that does not exist. The look is audited.
func (d Desk) Why(ctx context.Context, number string, option policies.DeliveryOption) (Why, error) {
	if !slices.Contains(policies.DeliveryOptions[:], option) {
		return Why{}, NewError(NotFound, "not_found")
	}
	r, err := d.Open(ctx, number)
	if err != nil {
		return Why{}, err
	}
	if r.Decision == nil {
		return Why{}, NewError(Conflict, "not_decided_yet")
	}
	verdict := func(decision policies.Decision, at time.Time) (Verdict, error) {
		v := Verdict{Option: decision.Options.For(option), At: at, RuleSet: decision.RuleSet}
		set, err := d.g.ruleSet(ctx, v.RuleSet)
		switch {
		case err == nil:
			v.Text = set.RuleByID(v.Rule)
		case KindOf(err) != NotFound:
			return v, err
		}
		return v, nil
	}
	out := Why{Request: r, Option: option}
	out.Record, err = verdict(r.Decision.Decision, r.Decision.At)
	if err == nil {
		out.Today, err = verdict(d.Decision(r), d.g.clock.Now())
	}
	return out, err
}

// askableStates are the states in which a delivery that is allowed no more is
// the next thing to settle.
var askableStates = []State{StatePrechecked, StateInEnquiry, StateSuspended, StateFormsReady}

// markAskedAgain is the code of the mark on a request whose chosen delivery new
// rules allow no more.
const markAskedAgain = "delivery_asked_again"

// decideAgain finishes the step decide of a request that other rules had let
// in: its place and office stay. A delivery that is allowed no more is asked
// again, a request that would be refused as a whole waits for a referent;
// nothing ends and nothing is chosen in silence (issue 5).
func (g *Gateway) decideAgain(ctx context.Context, r *Request, change Change, events []Event, decision policies.Decision) error {
	change.Work = &Work{}
	now, actor := events[0].At, events[0].Actor
	if outcome, refused := refusalOf(decision); refused {
		change.Mark = &Mark{Kind: MarkParked, Code: "rules_changed", Detail: outcome.Code}
		events = append(events, Event{Type: EventParked, At: now, Actor: actor, Data: payload(reasonData{Code: "rules_changed", Detail: outcome.Code})})
	} else if decision.Options.For(r.Delivery.Option).Verdict == policies.VerdictRefuse {
		change.Mark = &Mark{Kind: MarkWaiting, Code: markAskedAgain}
	}
	return g.commit(ctx, r, change, events...)
}
