package web_test

import (
	"context"
	"crypto/rand"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"airegw/gateway"
	"airegw/gateway/web"
	"airegw/testharness/sim"
)

// row says what one route answers to each kind of caller of the isolation
// matrix. A route without a row fails the test, so that nobody adds a route
// without saying who sees what.
type row struct {
	body  string            // JSON of an API call; form of a page
	form  url.Values        //
	head  map[string]string //
	own   int               // the office (or citizen) whose request it is; 0: what it gets is the desk's own test's business
	other int               // another office: must equal a missing number, byte for byte
	none  int               // nobody
	cut   int               // logged out, or a revoked client
}

const (
	ok, created, moved, see = http.StatusOK, http.StatusCreated, http.StatusConflict, http.StatusSeeOther
	no, hidden, bad, forbid = http.StatusUnauthorized, http.StatusNotFound, http.StatusBadRequest, http.StatusForbidden
)

// matrix has a row for each route. {n} is a request of the own office.
func matrix() map[string]row {
	one, desk, mine := "/api/v1/requests/:number", "/operator/requests/:number", "/citizen/requests/:number"
	m := map[string]row{
		"GET /status":                {own: ok, other: ok, none: ok, cut: ok},
		"GET /api/v1/status":         {own: ok, other: ok, none: ok, cut: ok},
		"GET /api/v1/openapi.yaml":   {own: ok, other: ok, none: ok, cut: ok},
		"GET /assets/:version/*path": {own: hidden, other: hidden, none: hidden, cut: hidden},
		// The federation's routes exist in a member only.
		"GET /.well-known/openid-federation": {own: hidden, other: hidden, none: hidden, cut: hidden},
		"GET /resolve":                       {own: hidden, other: hidden, none: hidden, cut: hidden},
		"GET /fetch":                         {own: hidden, other: hidden, none: hidden, cut: hidden},
		"GET /list":                          {own: hidden, other: hidden, none: hidden, cut: hidden},
		"POST /core/v1/events":               {own: hidden, other: hidden, none: hidden, cut: hidden}, // not on this listener
		"POST /api/v1/requests":              {body: `{}`, own: bad, other: bad, none: no, cut: no},
		"GET /api/v1/requests":               {own: ok, other: ok, none: no, cut: no},
		"GET " + one:                         {own: ok, other: hidden, none: no, cut: no},
		"GET " + one + "/checklist":          {own: ok, other: hidden, none: no, cut: no},
		"POST " + one + "/tracker":           {own: ok, other: hidden, none: no, cut: no},
		"GET /api/v1/track/:number":          {head: map[string]string{"Tracker-Code": "0000000000"}, own: hidden, other: hidden, none: hidden, cut: hidden},
		"GET /api/v1/registry/comuni":        {own: bad, other: bad, none: bad, cut: bad},
		"GET /api/v1/registry/posts":         {own: ok, other: ok, none: ok, cut: ok},
		"GET /":                              {own: ok, other: ok, none: ok, cut: ok},
		"GET /track":                         {own: ok, other: ok, none: ok, cut: ok},
		"POST /track":                        {form: url.Values{"number": {"{n}"}, "code": {"0000000000"}}, own: hidden, other: hidden, none: hidden, cut: hidden},
		"GET /lookup/offices":                {own: ok, other: ok, none: ok, cut: ok},
		"POST /logout":                       {own: see, other: see, none: see, cut: see},
		"GET /login":                         {own: ok, other: ok, none: ok, cut: ok},
		"POST /login":                        {own: bad, other: bad, none: bad, cut: bad},
		"GET /login/help":                    {own: ok, other: ok, none: ok, cut: ok},
		"GET /login/cie":                     {own: hidden, other: hidden, none: hidden, cut: hidden}, // no login is configured in this world
		"GET /login/cie/callback":            {own: hidden, other: hidden, none: hidden, cut: hidden},
		"GET /login/operator":                {own: hidden, other: hidden, none: hidden, cut: hidden},
		"GET /login/operator/callback":       {own: hidden, other: hidden, none: hidden, cut: hidden},
		"GET /sessions":                      {own: ok, other: ok, none: no, cut: no},
		"POST /sessions":                     {own: see, other: see, none: no, cut: no},
		"GET /citizen/data":                  {own: ok, other: ok, none: no, cut: no},
		"POST /citizen/data":                 {form: url.Values{"part": {"address"}, "said": {"Calle Sin Nombre 1"}}, own: see, other: hidden, none: no, cut: no},
		"GET /citizen/report":                {own: ok, other: ok, none: no, cut: no},
		"POST /citizen/report":               {form: url.Values{"/kind": {"theft"}}, own: bad, other: bad, none: no, cut: no},
		"GET /operator/card":                 {own: hidden, other: hidden, none: hidden, cut: hidden}, // not on this listener
		"GET /operator/cards":                {own: forbid, other: forbid, none: no, cut: no},         // a referent's
		"GET /operator/card-failed":          {own: hidden, other: hidden, none: no, cut: no},         // without a known reason
		"POST /operator/cards":               {own: forbid, other: forbid, none: no, cut: no},
		"GET /operator":                      {own: ok, other: ok, none: no, cut: no},
		"POST /operator":                     {own: ok, other: ok, none: no, cut: no},
		"GET /operator/requests/new":         {own: ok, other: ok, none: no, cut: no},
		"POST /operator/requests":            {own: bad, other: bad, none: no, cut: no},
		"GET " + desk:                        {own: ok, other: hidden, none: no, cut: no},
		"POST " + desk + "/print":            {own: moved, other: hidden, none: no, cut: no},
		"POST " + desk + "/tracker":          {own: see, other: hidden, none: no, cut: no},
		"GET /citizen":                       {own: ok, other: ok, none: no, cut: no},
		"GET /citizen/data.json":             {own: ok, other: ok, none: no, cut: no},
		"POST /api/v1/card-notices":          {body: `x`, own: http.StatusUnsupportedMediaType, other: http.StatusUnsupportedMediaType, none: http.StatusUnsupportedMediaType, cut: http.StatusUnsupportedMediaType},
		"GET /citizen/requests/new":          {own: ok, other: ok, none: no, cut: no},
		"POST /citizen/requests":             {own: bad, other: bad, none: no, cut: no},
		"GET " + mine:                        {own: ok, other: hidden, none: no, cut: no},
		"POST " + mine + "/delivery":         {form: url.Values{"/option": {"FOREIGN_RESIDENCE"}}, own: see, other: hidden, none: no, cut: no},
		"POST " + mine + "/assent":           {form: url.Values{"parent": {"{cf}"}, "given": {"yes"}}, own: bad, other: forbid, none: no, cut: no},
		"POST " + mine + "/tracker":          {own: see, other: hidden, none: no, cut: no},
		"GET " + desk + "/why/:option":       {own: ok, other: hidden, none: no, cut: no},
		"GET " + mine + "/why/:option":       {own: ok, other: hidden, none: no, cut: no},
		"GET " + desk + "/label":             {own: ok, other: hidden, none: no, cut: no},
		"GET " + mine + "/label":             {own: ok, other: hidden, none: no, cut: no},
		"GET " + one + "/label":              {own: ok, other: hidden, none: no, cut: no},
		"POST /lookup/label":                 {form: url.Values{"/address/street": {"Via Roma"}}, own: ok, other: ok, none: no, cut: no},
		"GET /operator/rates":                {own: forbid, other: forbid, none: no, cut: no},
		"POST /operator/rates":               {form: url.Values{"per_eur": {"x"}}, own: forbid, other: forbid, none: no, cut: no},
		"GET /api/v1/rates":                  {own: forbid, other: forbid, none: no, cut: no},
		"POST /api/v1/rates":                 {body: `{"year":1999,"quarter":1,"per_eur":"1","decimals":2}`, own: forbid, other: forbid, none: no, cut: no},
		"GET /operator/reconciliation":       {own: forbid, other: forbid, none: no, cut: no}, // a referent's
		"GET /api/v1/reconciliation":         {own: ok, other: ok, none: no, cut: no},         // each its own office's: TestAReferentSees…
		"GET /rules":                         {own: forbid, other: forbid, none: no, cut: no},
		"POST /rules":                        {own: forbid, other: forbid, none: no, cut: no},
		"GET /rules/:hash":                   {own: forbid, other: forbid, none: no, cut: no},
		"POST /rules/:hash/approve":          {own: forbid, other: forbid, none: no, cut: no},
		"POST " + mine + "/cancellation":     {form: url.Values{"code": {"withdrawn"}}, own: see, other: hidden, none: no, cut: no},
	}
	// What an office has to mend in the register is a task of that office alone.
	m["GET /operator/corrections"] = row{own: ok, other: ok, none: no, cut: no}
	m["GET /operator/corrections/:id"] = row{own: hidden, other: hidden, none: no, cut: no}
	m["POST /operator/corrections/:id/answer"] = row{form: url.Values{"answer": {"corrected"}}, own: hidden, other: hidden, none: no, cut: no}
	m["POST /operator/corrections/:id/alignment"] = row{own: hidden, other: hidden, none: no, cut: no}
	m["GET /api/v1/corrections"] = row{own: ok, other: ok, none: no, cut: no}
	m["GET /api/v1/corrections/:id"] = row{own: hidden, other: hidden, none: no, cut: no}
	m["POST /api/v1/corrections/:id/answer"] = row{body: `{"answer":"corrected"}`, own: hidden, other: hidden, none: no, cut: no}
	m["POST /api/v1/corrections/:id/alignment"] = row{own: hidden, other: hidden, none: no, cut: no}
	m["GET "+one+"/corrections"] = row{own: ok, other: hidden, none: no, cut: no}
	// A notice is for the office that was told: {id} is one to the post, and
	// neither the office of the request nor a third one sees it.
	m["GET /operator/notices"] = row{own: ok, other: ok, none: no, cut: no}
	m["GET /operator/notices/:id"] = row{own: hidden, other: hidden, none: no, cut: no}
	m["POST /operator/notices/:id/answer"] = row{form: url.Values{"answer": {"none"}}, own: hidden, other: hidden, none: no, cut: no}
	m["POST "+desk+"/overrule"] = row{form: url.Values{"why": {"x"}}, own: forbid, other: forbid, none: no, cut: no} // a referent's
	m["GET /api/v1/notices"] = row{own: ok, other: ok, none: no, cut: no}
	m["GET /api/v1/notices/:id"] = row{own: hidden, other: hidden, none: no, cut: no}
	m["POST /api/v1/notices/:id/answer"] = row{body: `{"answer":"none"}`, own: hidden, other: hidden, none: no, cut: no}
	m["GET "+one+"/notices"] = row{own: ok, other: hidden, none: no, cut: no}
	m["POST "+one+"/counter/overrule"] = row{body: `{"why":"x"}`, own: forbid, other: forbid, none: no, cut: no}
	// Acts: what the own office gets depends on the request's state, here
	// prechecked; what matters is that nobody else gets anything but "not found".
	for act, a := range map[string]struct {
		body string
		form url.Values
		own  int
	}{
		"delivery":     {`{"option":"FOREIGN_RESIDENCE"}`, url.Values{"/option": {"FOREIGN_RESIDENCE"}}, ok},
		"cancellation": {`{"code":"withdrawn"}`, url.Values{"code": {"withdrawn"}}, ok},
		"assent":       {`{"parent":"{cf}","given":true,"how":"counter"}`, url.Values{"parent": {"{cf}"}, "given": {"yes"}, "how": {"counter"}}, bad},
		"presence":     {``, nil, ok},
		"documents":    {`{"identity":"passport"}`, url.Values{"identity": {"passport"}}, ok},
		"declaration":  {`{"no_obstacles":true,"letters":"bcdefg"}`, url.Values{"no_obstacles": {"yes"}}, ok},
		"enquiry":      {``, nil, moved},
		"capture": {
			`{"station":"PDL-C745-01","photo":"photo-1","signature":"signature-1","exemption":"permanent"}`,
			url.Values{"station": {"{station}"}, "photo": {"photo-1"}, "signature": {"signature-1"}, "exemption": {"permanent"}},
			ok,
		},
		"fee":      {`{"cents":2195,"means":"card"}`, url.Values{"euro": {"21,95"}, "means": {"card"}}, ok},
		"suspend":  {`{"code":"photo_unfit"}`, url.Values{"code": {"photo_unfit"}}, moved},
		"resume":   {``, nil, 0},
		"refuse":   {`{"code":"identity_not_proven"}`, url.Values{"code": {"identity_not_proven"}}, ok},
		"prepare":  {``, nil, moved},
		"confirm":  {``, nil, moved},
		"void":     {`{"code":"data_wrong"}`, url.Values{"code": {"data_wrong"}}, moved},
		"sign":     {``, nil, moved},
		"handover": {`{"to":"holder"}`, url.Values{"to": {"holder"}}, moved},
		"reship":   {`{"carrier":"Poste","tracking":"RR123456789IT"}`, url.Values{"carrier": {"Poste"}, "tracking": {"RR123456789IT"}}, moved},
		"movement": {`{"movement":"at_office"}`, url.Values{"movement": {"at_office"}}, moved},
		"duplicate": {
			`{"record":"1/2026","witness":"op-other"}`, url.Values{"record": {"1/2026"}, "witness": {"op-other"}}, moved,
		},
		"destroy": {`{"record":"1/2026","witness":"op-other"}`, url.Values{"record": {"1/2026"}, "witness": {"op-other"}}, moved},
		"recheck": {``, nil, ok},
		"unpark":  {``, nil, forbid},
		"reopen":  {``, nil, moved},
		"print":   {``, nil, moved},
	} {
		counter := "/counter"
		if act == "delivery" || act == "cancellation" {
			counter = ""
		}
		other := hidden
		if act == "unpark" {
			other = forbid // only a referent may, whoever asks for which request: says nothing about it
		}
		m["POST "+one+counter+"/"+act] = row{body: a.body, own: a.own, other: other, none: no, cut: no}
		if act == "assent" {
			m["POST "+one+"/assent"] = m["POST "+one+"/counter/assent"]
		}
		if act == "print" {
			continue
		}
		own := a.own
		if own == ok {
			own = see
		}
		if act == "capture" {
			other = bad // the station is not theirs, which is looked at before the request
		}
		m["POST "+desk+"/"+act] = row{form: a.form, own: own, other: other, none: no, cut: no}
	}
	return m
}

// TestNobodySeesAnotherOfficesRequests generates the isolation matrix from the
// table of routes: own office, another office, nobody, a revoked caller. What
// another office gets for a request that exists and for one that does not must
// be the same bytes.
func TestNobodySeesAnotherOfficesRequests(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	rows := matrix()
	seen := map[string]bool{}
	n := 0
	for _, r := range web.Routes(true) {
		name := r.Method + " " + r.Path
		seen[name] = true
		want, known := rows[name]
		if !known {
			t.Errorf("%s has no row in the isolation matrix", name)
			continue
		}
		// Each route gets a request of its own, so that acts do not meet.
		p := person("ok", n%40)
		n++
		number, _ := w.submitted(p.CF, "FOREIGN_RESIDENCE")
		w.work()
		c := cell{w, r, want, number, p.CF}
		switch {
		case r.Surface == web.SurfaceAPI && r.Callers&web.Office != 0:
			c.check("own office", w.machine(clientID, w.client), want.own)
			c.check("other office", w.machine(otherClientID, w.other), want.other)
			c.same(w.machine(otherClientID, w.other))
			c.check("none", w.browser("en"), want.none)
			c.check("revoked", w.revoked(), want.cut)
		case strings.HasPrefix(r.Path, "/citizen"):
			stranger := person("over-70", 0)
			c.check("own citizen", w.as("citizen", "citizen-"+p.IDANPR), want.own)
			c.check("other citizen", w.as("citizen", "citizen-"+stranger.IDANPR), want.other)
			c.same(w.as("citizen", "citizen-"+stranger.IDANPR))
			c.check("an operator", w.as("operator", "op-1"), forbid)
			c.check("none", w.browser("en"), want.none)
			c.check("logged out", w.loggedOut("citizen", "citizen-"+p.IDANPR), want.cut)
		default:
			c.check("own office", w.as("operator", "op-1"), want.own)
			c.check("other office", w.as("operator", "op-3"), want.other)
			c.same(w.as("operator", "op-3"))
			if r.Callers == web.Desk {
				c.check("a citizen", w.as("citizen", "citizen-"+p.IDANPR), forbid)
			}
			c.check("none", w.browser("en"), want.none)
			c.check("logged out", w.loggedOut("operator", "op-1"), want.cut)
		}
		// One person may have one open request: make room for the next route.
		w.machine(clientID, w.client).json("/api/v1/requests/"+number+"/cancellation", `{"code":"withdrawn"}`)
	}
	for name := range rows {
		if !seen[name] {
			t.Errorf("the matrix has a row for %s, which is no route", name)
		}
	}
}

type cell struct {
	w      *world
	route  web.Route
	row    row
	number string
	cf     string
}

func (c cell) send(b *browser, number string) reply {
	c.w.t.Helper()
	fill := strings.NewReplacer("{n}", number, "{cf}", c.cf, "{station}", "PDL-C745-01")
	path := strings.NewReplacer("/notices/:id", "/notices/"+toPost(c.cf, number), ":number", number, ":version", "000000000000", "*path", "app.css", ":option", "CONSULATE", ":hash", strings.Repeat("0", 64)).Replace(c.route.Path)
	if c.route.Method == http.MethodGet {
		return b.do("GET", path, "", "", c.row.head)
	}
	if c.route.Surface == web.SurfaceAPI || c.route.Surface == web.SurfaceCore {
		return b.json(path, fill.Replace(c.row.body))
	}
	f := url.Values{}
	for k, v := range c.row.form {
		f.Set(k, fill.Replace(v[0]))
	}
	return b.post(path, f)
}

// toPost answers the notice of a request to its applicant's post.
func toPost(cf, number string) string {
	p, known := sim.PersonByCF(cf)
	if !known || p.Post == nil {
		return number + ".nobody"
	}
	post, _ := gateway.ParseOffice(p.Post.Code)
	return number + "." + post.Code
}

func (c cell) check(who string, b *browser, want int) {
	c.w.t.Helper()
	got := c.send(b, c.number)
	if got.status != want && want != 0 {
		c.w.t.Errorf("%s %s as %s: %d, want %d\n%.400s", c.route.Method, c.route.Path, who, got.status, want, got.body)
	}
	if got.status >= 400 && !strings.HasPrefix(who, "own") && strings.Contains(got.body, c.cf) {
		c.w.t.Errorf("%s %s as %s: the refusal names the person", c.route.Method, c.route.Path, who)
	}
}

// same compares what a stranger gets for a request that exists with what they
// get for one that does not.
func (c cell) same(b *browser) {
	c.w.t.Helper()
	if !strings.Contains(c.route.Path, ":number") {
		return
	}
	there, missing := c.send(b, c.number), c.send(b, "R26-000000000")
	if there.status != missing.status || there.body != missing.body {
		c.w.t.Errorf("%s %s: a stranger can tell a request from none: %d %q against %d %q",
			c.route.Method, c.route.Path, there.status, there.body, missing.status, missing.body)
	}
	for k := range there.header {
		if k != "Request-Id" && k != "Date" && k != "Set-Cookie" && !strings.HasPrefix(k, "X-Ratelimit") && there.header.Get(k) != missing.header.Get(k) {
			c.w.t.Errorf("%s %s: header %s tells a request from none", c.route.Method, c.route.Path, k)
		}
	}
}

// revoked answers a caller whose client was revoked after its bearer had been
// accepted and remembered.
func (w *world) revoked() *browser {
	w.t.Helper()
	id := "revoked-" + rand.Text()
	key := w.newClient(id)
	b := w.machine(id, key)
	if got := b.get("/api/v1/requests"); got.status != ok {
		w.t.Fatalf("before revocation: %d %s", got.status, got.body)
	}
	if err := w.store.RevokeClient(context.Background(), id); err != nil {
		w.t.Fatal(err)
	}
	return b
}

// loggedOut answers a browser that still sends the cookie of an ended session.
func (w *world) loggedOut(kind, id string) *browser {
	w.t.Helper()
	b := w.as(kind, id)
	u, err := url.Parse(w.url)
	if err != nil {
		w.t.Fatal(err)
	}
	kept := b.http.Jar.Cookies(u)
	if got := b.post("/logout", nil); got.status != see {
		w.t.Fatalf("logout: %d", got.status)
	}
	b.http.Jar.SetCookies(u, kept)
	return b
}
