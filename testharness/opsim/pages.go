package opsim

import (
	"bytes"
	"embed"
	"fmt"
	"html/template"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

//go:embed pages/*.html pages/style.css pages/logo.svg
var pageFiles embed.FS

var pageTemplates = template.Must(template.ParseFS(pageFiles, "pages/*.html"))

// ssoSession is a browser that has logged in here: only prompt=consent uses it.
type ssoSession struct {
	person  string
	level   Level
	mode    Mode
	expires time.Time
}

// Cookie names carry the party: all loopback ports share one cookie jar.
const (
	ssoCookie      = "cieid_sso"
	ssoLifetime    = 30 * time.Minute
	maxLoginTries  = 3
	loginPrefix    = "/login/"
	consentPrefix  = "/consent/"
	operatorPrefix = "/operator/"
)

// view is what every page shows.
type view struct {
	Lang   string
	T      map[string]string
	Other  string // address of the same page in the other language
	Title  string
	Client string
	Error  string
	Action string

	Level  string
	Levels []choice
	Modes  []choice
	People []choice
	Person string
	Mode   string
	Claims []string
	Offer  bool // of a refresh token
	Code   string
	Detail string
}

// choice is one option of a page.
type choice struct {
	Value, Label, Note string
	Chosen, Disabled   bool
}

// pages are the addresses a browser visits.
func (s *Server) pages() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc(authorizePath, s.serveAuthorize)
	mux.HandleFunc("GET "+loginPrefix+"{id}", s.showLogin)
	mux.HandleFunc("POST "+loginPrefix+"{id}", s.takeLogin)
	mux.HandleFunc("GET "+consentPrefix+"{id}", s.showConsent)
	mux.HandleFunc("POST "+consentPrefix+"{id}", s.takeConsent)
	assets(mux)
	return mux
}

func assets(mux *http.ServeMux) {
	for path, contentType := range map[string]string{"style.css": "text/css; charset=utf-8", "logo.svg": "image/svg+xml"} {
		mux.HandleFunc("GET /"+path, func(w http.ResponseWriter, _ *http.Request) {
			text, err := pageFiles.ReadFile("pages/" + path)
			if err != nil {
				http.Error(w, path, http.StatusInternalServerError)
				return
			}
			w.Header().Set("Content-Type", contentType)
			w.Header().Set("X-Content-Type-Options", "nosniff")
			w.Header().Set("Cache-Control", "max-age=300")
			_, _ = w.Write(text)
		})
	}
}

// language is what the address asks for, else the request, else the browser,
// else Italian.
func language(r *http.Request, locales []string) string {
	asked := append([]string{r.FormValue("lang")}, locales...)
	for part := range strings.SplitSeq(r.Header.Get("Accept-Language"), ",") {
		tag, _, _ := strings.Cut(strings.TrimSpace(part), ";")
		asked = append(asked, tag)
	}
	for _, tag := range asked {
		primary, _, _ := strings.Cut(strings.ToLower(tag), "-")
		if primary == "it" || primary == "en" {
			return primary
		}
	}
	return "it"
}

func newView(r *http.Request, locales []string, title string) view {
	lang := language(r, locales)
	other := "en"
	if lang == "en" {
		other = "it"
	}
	t := pageTexts[lang]
	return view{
		Lang: lang, T: t, Title: t[title],
		Other:  r.URL.Path + "?lang=" + other,
		Action: r.URL.Path + "?lang=" + lang,
	}
}

// render writes a page. The redirect after a form ends at target: browsers hold
// it against form-action too.
func render(w http.ResponseWriter, status int, name string, v view, target string) {
	var b bytes.Buffer
	err := pageTemplates.ExecuteTemplate(&b, name, v)
	if err != nil {
		http.Error(w, "page: "+err.Error(), http.StatusInternalServerError)
		return
	}
	formAction := "'self'"
	if u, err := url.Parse(target); err == nil && u.Host != "" {
		formAction += " " + u.Scheme + "://" + u.Host
	}
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Security-Policy", "default-src 'none'; style-src 'self'; img-src 'self'; base-uri 'none'; frame-ancestors 'none'; form-action "+formAction)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_, _ = w.Write(b.Bytes())
}

// refusePage tells the user that the service's request is bad; nobody is
// redirected.
func (s *Server) refusePage(w http.ResponseWriter, r *http.Request, why *refusal) {
	id := r.FormValue("client_id")
	s.refuse(Refusal{Operation: OpAuthorize, Client: id, Status: http.StatusBadRequest, Wire: why.code, Check: why.check, Detail: why.detail})
	v := newView(r, nil, "refused")
	v.Other = "" // a request is not sent twice
	v.Code, v.Detail = why.code, why.detail
	render(w, http.StatusBadRequest, "error.html", v, "")
}

// gonePage is shown for an interaction that is over or never was.
func (s *Server) gonePage(w http.ResponseWriter, r *http.Request) {
	v := newView(r, nil, "gone")
	v.Code, v.Detail = "expired", v.T["gone_detail"]
	render(w, http.StatusNotFound, "error.html", v, "")
}

// beginInteraction sends the browser to the login page, or straight to consent
// where it is known here and the client does not force a login.
func (s *Server) beginInteraction(w http.ResponseWriter, r *http.Request, a *authRequest) {
	now := s.wire.Now()
	i := &interaction{id: uuid4(), req: a, expires: now.Add(interactionTimeout)}
	next := loginPrefix
	if cookie, err := r.Cookie(ssoCookie); err == nil && !a.force {
		s.mu.Lock()
		known := s.sso[cookie.Value]
		s.mu.Unlock()
		if known != nil && now.Before(known.expires) && known.level >= a.least() {
			i.person, i.level, i.mode = known.person, known.level, known.mode
			next = consentPrefix
		}
	}
	s.mu.Lock()
	s.interactions[i.id] = i
	s.mu.Unlock()
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("Location", s.at.Provider+next+i.id+"?lang="+language(r, a.locales))
	w.WriteHeader(http.StatusSeeOther)
}

// interaction finds one that is still open; it shows the page itself when there
// is none. The copy is for reading.
func (s *Server) interaction(w http.ResponseWriter, r *http.Request) (interaction, bool) {
	s.mu.Lock()
	i := s.interactions[r.PathValue("id")]
	var found interaction
	ok := i != nil && !i.done && s.wire.Now().Before(i.expires)
	if ok {
		found = *i
	}
	s.mu.Unlock()
	if !ok {
		s.gonePage(w, r)
	}
	return found, ok
}

// finish ends an interaction; false when another click was faster.
func (s *Server) finish(id string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := s.interactions[id]
	if i == nil || i.done {
		return false
	}
	i.done = true
	return true
}

func (s *Server) loginView(r *http.Request, i interaction) view {
	v := newView(r, i.req.locales, "login")
	v.Client = i.req.client.text("client_name")
	v.Level = i.req.least().String()
	first := i.req.levels[0]
	for _, l := range []Level{1, 2, 3} {
		v.Levels = append(v.Levels, choice{Value: l.String(), Label: v.T["level_"+l.String()], Chosen: l == first})
	}
	for n, m := range modes() {
		v.Modes = append(v.Modes, choice{Value: string(m), Label: v.T["mode_"+string(m)], Chosen: n == 0})
	}
	people := s.Citizens()
	slices.SortStableFunc(people, func(a, b Citizen) int {
		return strings.Compare(a.Surname+" "+a.Name, b.Surname+" "+b.Name)
	})
	for _, c := range people {
		note := c.Note
		if c.Credentials != CredentialsActive {
			note += " · " + v.T["credentials_"+string(c.Credentials)]
		} else {
			note += " · " + v.T["up_to"] + " " + c.MaxLevel.String()
		}
		if c.Minor {
			note += " · " + v.T["minor"]
		}
		label := strings.TrimSpace(c.Surname+" "+c.Name) + " (" + c.CF + ")"
		v.People = append(v.People, choice{Value: c.CF, Label: label, Note: note})
	}
	return v
}

func (s *Server) showLogin(w http.ResponseWriter, r *http.Request) {
	i, ok := s.interaction(w, r)
	if !ok {
		return
	}
	render(w, http.StatusOK, "login.html", s.loginView(r, i), i.req.redirectURI)
}

// takeLogin is the "card": the person, the way and the level.
func (s *Server) takeLogin(w http.ResponseWriter, r *http.Request) {
	i, ok := s.interaction(w, r)
	if !ok {
		return
	}
	r.Body = http.MaxBytesReader(w, r.Body, 1<<14)
	if r.FormValue("cancel") != "" {
		if s.finish(i.id) {
			s.deny(w, i.req, "", "access_denied", "the user cancelled")
			return
		}
		s.gonePage(w, r)
		return
	}
	level, err := ParseLevel(r.FormValue("level"))
	mode := Mode(r.FormValue("mode"))
	c, known := s.citizen(r.FormValue("person"))
	problem := ""
	switch {
	case !known:
		problem = "choose_person"
	case err != nil || !slices.Contains(modes(), mode):
		problem = "choose_all"
	case c.reaches(level) != nil:
		problem = "cannot"
	case level < i.req.least():
		problem = "too_low"
	}
	if problem != "" {
		s.failLogin(w, r, i, c, level, problem)
		return
	}
	s.mu.Lock()
	live := s.interactions[i.id]
	if live != nil {
		live.person, live.level, live.mode = c.CF, level, mode
	}
	id := uuid4()
	s.sso[id] = &ssoSession{person: c.CF, level: level, mode: mode, expires: s.wire.Now().Add(ssoLifetime)}
	s.mu.Unlock()
	http.SetCookie(w, &http.Cookie{
		Name: ssoCookie, Value: id, Path: "/", HttpOnly: true, SameSite: http.SameSiteLaxMode,
		Secure: strings.HasPrefix(s.at.Provider, "https://"), MaxAge: int(ssoLifetime / time.Second),
	})
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("Location", consentPrefix+i.id+"?lang="+language(r, i.req.locales))
	w.WriteHeader(http.StatusSeeOther)
}

// failLogin shows the page again, and after three tries ends in access_denied.
func (s *Server) failLogin(w http.ResponseWriter, r *http.Request, i interaction, c Citizen, level Level, problem string) {
	s.mu.Lock()
	tries := 0
	if live := s.interactions[i.id]; live != nil {
		live.tries++
		tries = live.tries
	}
	s.mu.Unlock()
	s.note(Event{Kind: "login", Client: i.req.client.id, Person: c.CF, Level: level, Outcome: "try_failed", Detail: problem})
	if tries >= maxLoginTries && s.finish(i.id) {
		s.deny(w, i.req, c.CF, "access_denied", "three tries failed")
		return
	}
	v := s.loginView(r, i)
	v.Error = v.T[problem]
	// What was chosen stays chosen.
	for field, list := range map[string][]choice{"person": v.People, "level": v.Levels, "mode": v.Modes} {
		chosen := slices.IndexFunc(list, func(c choice) bool { return c.Value == r.FormValue(field) })
		for n := range list {
			list[n].Chosen = n == chosen || (chosen < 0 && list[n].Chosen)
		}
	}
	render(w, http.StatusUnprocessableEntity, "login.html", v, i.req.redirectURI)
}

func (s *Server) showConsent(w http.ResponseWriter, r *http.Request) {
	i, ok := s.interaction(w, r)
	if !ok {
		return
	}
	c, known := s.citizen(i.person)
	if !known {
		w.Header().Set("Location", loginPrefix+i.id+"?lang="+language(r, i.req.locales))
		w.WriteHeader(http.StatusSeeOther)
		return
	}
	v := newView(r, i.req.locales, "consent")
	v.Client, v.Offer = i.req.client.text("client_name"), i.req.offline()
	v.Person, v.Level, v.Mode = capitalised(c.Name+" "+c.Surname), v.T["level_"+i.level.String()], v.T["mode_"+string(i.mode)]
	all := c.attributes()
	seen := map[string]bool{}
	for _, name := range slices.Concat(scopesAnd(i.req.scopes, i.req.userInfo), i.req.idToken) {
		if seen[name] {
			continue
		}
		seen[name] = true
		line := v.T["claim_"+strings.TrimPrefix(name, eid)]
		switch value := all[name].(type) {
		case nil:
			line += ": " + v.T["no_value"]
		case string:
			line += ": " + value
		}
		v.Claims = append(v.Claims, line)
	}
	render(w, http.StatusOK, "consent.html", v, i.req.redirectURI)
}

func (s *Server) takeConsent(w http.ResponseWriter, r *http.Request) {
	i, ok := s.interaction(w, r)
	if !ok {
		return
	}
	r.Body = http.MaxBytesReader(w, r.Body, 1<<14)
	c, known := s.citizen(i.person)
	answer := r.FormValue("answer")
	if !known || (answer != "consent" && answer != "refuse") {
		w.Header().Set("Location", r.URL.Path+"?lang="+language(r, i.req.locales))
		w.WriteHeader(http.StatusSeeOther)
		return
	}
	if !s.finish(i.id) {
		s.gonePage(w, r)
		return
	}
	if answer == "refuse" {
		s.deny(w, i.req, c.CF, "access_denied", "the user refused")
		return
	}
	offline := i.req.offline() && r.FormValue("no_refresh") == ""
	s.consent(w, i.req, c, i.level, i.mode, false, offline)
}

// pageTexts are the texts of the simulator's pages: a simulator may not use the
// gateway's catalogue.
var pageTexts = map[string]map[string]string{
	"it": {
		"simulation": "Simulazione: persone e dati inventati. Non è il vero server CieID.", "other": "English",
		"brand": "Entra con CIE", "login": "Entra con CIE", "login_for": "Richiesta di accesso da",
		"asked": "Livello minimo richiesto", "person": "Persona", "mode": "Come usi la CIE", "level": "Livello di accesso",
		"mode_desktop_reader": "Computer con lettore di smart card", "mode_phone": "Telefono", "mode_desktop_phone": "Computer e telefono",
		"level_L1": "Livello 1: utente e password", "level_L2": "Livello 2: anche codice o conferma nell’app CieID", "level_L3": "Livello 3: carta e PIN",
		"continue": "Prosegui", "cancel": "Annulla", "choose": "Scegli…", "up_to": "fino a", "minor": "minorenne",
		"credentials_suspended": "credenziali sospese", "credentials_revoked": "credenziali revocate", "credentials_none": "nessuna credenziale",
		"choose_person": "Scegli una persona.", "choose_all": "Scegli come usi la CIE e il livello.",
		"cannot":  "Con queste credenziali non si può accedere a questo livello.",
		"too_low": "Il servizio chiede un livello più alto.",
		"consent": "Autorizza l’invio dei dati", "the_service": "Il servizio", "receives": "riceverà questi dati:", "you_are": "Hai effettuato l’accesso come",
		"nothing": "Nessun dato, solo un codice che ti identifica per questo servizio.", "no_value": "non disponibile",
		"allow": "Autorizza", "refuse": "Nega", "refresh": "Non permettere al servizio di rileggere i dati in seguito",
		"refused": "Richiesta non valida", "refused_detail": "Il servizio ha inviato una richiesta che il server non accetta. Torna al servizio e riprova; se l’errore si ripete avvisa il servizio.",
		"gone": "Sessione conclusa", "gone_detail": "Questa richiesta di accesso è scaduta o già conclusa. Torna al servizio e ricomincia.",
		"code":             "Codice",
		"claim_given_name": "Nome", "claim_family_name": "Cognome", "claim_birthdate": "Data di nascita", "claim_place_of_birth": "Luogo di nascita",
		"claim_gender": "Sesso", "claim_fiscal_number": "Codice fiscale", "claim_document_details": "Documento d’identità",
		"claim_phone_number": "Telefono", "claim_phone_number_verified": "Telefono verificato", "claim_landline_number": "Telefono fisso",
		"claim_email": "Posta elettronica", "claim_email_verified": "Posta elettronica verificata", "claim_e_delivery_service": "Domicilio digitale", "claim_address": "Indirizzo",
		"operator_login": "Accesso operatori", "operator_intro": "Fornitore di identità dell’amministrazione", "operator": "Operatore", "choose_operator": "Scegli un operatore.",
	},
	"en": {
		"simulation": "Simulation: invented people and data. This is not the real CieID server.", "other": "Italiano",
		"brand": "Entra con CIE", "login": "Log in with CIE", "login_for": "Login requested by",
		"asked": "Lowest level asked", "person": "Person", "mode": "How you use the card", "level": "Level",
		"mode_desktop_reader": "Computer with a card reader", "mode_phone": "Phone", "mode_desktop_phone": "Computer and phone",
		"level_L1": "Level 1: user name and password", "level_L2": "Level 2: also a code, or confirmation in the CieID app", "level_L3": "Level 3: card and PIN",
		"continue": "Continue", "cancel": "Cancel", "choose": "Choose…", "up_to": "up to", "minor": "minor",
		"credentials_suspended": "credentials suspended", "credentials_revoked": "credentials revoked", "credentials_none": "no credentials",
		"choose_person": "Choose a person.", "choose_all": "Choose how you use the card, and the level.",
		"cannot":  "These credentials do not reach this level.",
		"too_low": "The service asks for a higher level.",
		"consent": "Allow your data to be sent", "the_service": "The service", "receives": "will receive these data:", "you_are": "You logged in as",
		"nothing": "No data, only a code that identifies you to this service.", "no_value": "not available",
		"allow": "Allow", "refuse": "Refuse", "refresh": "Do not let the service read the data again later",
		"refused": "Invalid request", "refused_detail": "The service sent a request that the server does not accept. Go back to the service and try again; if the error comes again, tell the service.",
		"gone": "Session over", "gone_detail": "This login request has expired or is already over. Go back to the service and start again.",
		"code":             "Code",
		"claim_given_name": "Given name", "claim_family_name": "Family name", "claim_birthdate": "Date of birth", "claim_place_of_birth": "Place of birth",
		"claim_gender": "Sex", "claim_fiscal_number": "Fiscal code", "claim_document_details": "Identity document",
		"claim_phone_number": "Telephone", "claim_phone_number_verified": "Telephone verified", "claim_landline_number": "Landline",
		"claim_email": "E-mail", "claim_email_verified": "E-mail verified", "claim_e_delivery_service": "Digital domicile", "claim_address": "Address",
		"operator_login": "Operators’ login", "operator_intro": "Identity provider of the administration", "operator": "Operator", "choose_operator": "Choose an operator.",
	},
}

func init() {
	// A page with a hole in it is a mistake of the programmer.
	for key := range pageTexts["it"] {
		if pageTexts["en"][key] == "" {
			panic(fmt.Sprintf("opsim: text %q has no English", key))
		}
	}
}
