package app

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"time"

	"airegw/anpr"
	"airegw/anpr/wssec"
	"airegw/gateway"
	"airegw/gateway/store"
)

// ConsularConfig is the consular door of the register (door C, SOAP), by which
// posts have it put right (C002, C003). Two certificates are needed: the site's
// and the station's.
type ConsularConfig struct {
	URL         string `yaml:"url"`         // needed
	Sender      string `yaml:"sender"`      // codMittente, as given with the certificates; needed
	Recipient   string `yaml:"recipient"`   // codDestinatario; default ANPR00
	Environment string `yaml:"environment"` // tipoInvio: PROD (default), PRE_SUB, TEST, FREE
	Site        string `yaml:"site"`        // IdSede; default the sender
	Station     string `yaml:"station"`     // IdPostazione, at most 20 characters; needed
	Application string `yaml:"application"` // IdApplicazione; default airegw
	User        string `yaml:"user"`        // idUtente of what no operator asks, at most 16 characters; needed
	Issuer      string `yaml:"issuer"`      // of the assertion; default airegw
	// Suite names the algorithms: rsa-sha256 (default), or basic128rsa15 for a
	// service that speaks nothing newer (RSA-SHA1).
	Suite           string `yaml:"suite"`
	SiteCert        string `yaml:"site_cert_file"` // PEM; needed, as the next three
	SiteKey         string `yaml:"site_key_file"`
	StationCert     string `yaml:"station_cert_file"`
	StationKey      string `yaml:"station_key_file"`
	RegisterCert    string `yaml:"register_cert_file"` // who signs the answers, PEM, one or more; needed unless:
	UnsignedAnswers bool   `yaml:"unsigned_answers"`   // answers are not signed, TLS alone vouches for them
	// Follow is how often a request for alignment is followed, default 6h; Overdue
	// after how long the desk is told that it is still open, default 720h.
	Follow  time.Duration `yaml:"follow_every"`
	Overdue time.Duration `yaml:"overdue_after"`
	// Checks asks this door, and not PDND's, where the comune of AIRE registration
	// is known already: rechecks then spend nothing of the services' daily quota.
	Checks bool `yaml:"checks"`
	// Posts are those whose requests are checked at this door from the first on,
	// by key (uy-montevideo) or the register's code; "*" alone: every post.
	Posts []string `yaml:"posts,omitempty"`
	Peer  `yaml:",inline"`
}

func (c *Config) checkConsular(needed, bad func(path, text string)) {
	if c.Consular == nil {
		return
	}
	s := c.Consular
	c.checkURL("consular.url", s.URL, bad)
	for path, v := range map[string]string{
		"sender": s.Sender, "station": s.Station, "user": s.User, "site_cert_file": s.SiteCert, "site_key_file": s.SiteKey,
		"station_cert_file": s.StationCert, "station_key_file": s.StationKey,
	} {
		needed("consular."+path, v)
	}
	if s.RegisterCert == "" && !s.UnsignedAnswers {
		bad("consular.register_cert_file", "is needed, or consular.unsigned_answers")
	}
	if s.RegisterCert != "" && s.UnsignedAnswers {
		bad("consular.unsigned_answers", "contradicts consular.register_cert_file")
	}
	for i, name := range s.Posts {
		switch o, ok := gateway.ParseOffice(name); {
		case name == anpr.AnyPost && len(s.Posts) == 1:
		case !ok || o.Kind != gateway.OfficePost:
			bad(fmt.Sprintf("consular.posts.%d", i), "no consular post is known as "+strconv.Quote(name))
		}
	}
	if s.Follow < 0 || s.Follow > 0 && s.Follow < time.Minute {
		bad("consular.follow_every", "at least 1m")
	}
	if s.Overdue < 0 || s.Overdue > 0 && s.Overdue < time.Hour {
		bad("consular.overdue_after", "at least 1h")
	}
	if !s.suite().Known() {
		bad("consular.suite", "rsa-sha256 or basic128rsa15")
	}
}

// follow and overdue are zero, the defaults, without the door.
func (s *ConsularConfig) follow() time.Duration {
	if s == nil {
		return 0
	}
	return s.Follow
}

func (s *ConsularConfig) overdue() time.Duration {
	if s == nil {
		return 0
	}
	return s.Overdue
}

func (s *ConsularConfig) suite() wssec.Suite {
	return wssec.Suite(firstText(s.Suite, string(wssec.SuiteSHA256)))
}

// first says of which posts requests are checked at this door from the first on.
func (s *ConsularConfig) first() func(post string) bool {
	keys := map[string]bool{}
	for _, name := range s.Posts {
		if o, ok := gateway.ParseOffice(name); ok {
			keys[o.Code] = true
		}
	}
	every := slices.Contains(s.Posts, anpr.AnyPost)
	return func(post string) bool { return every || keys[post] }
}

// newConsular makes the client of door C, nil without one.
func (a *App) newConsular(c Config, o Options) (*anpr.Consular, error) {
	if c.Consular == nil {
		return nil, nil
	}
	s := c.Consular
	identity := func(name, cert, key string) (wssec.Identity, error) {
		certPEM, err := os.ReadFile(c.file(cert))
		if err != nil {
			return wssec.Identity{}, &FieldError{"consular." + name + "_cert_file", err.Error()}
		}
		keyPEM, err := os.ReadFile(c.file(key))
		if err != nil {
			return wssec.Identity{}, &FieldError{"consular." + name + "_key_file", err.Error()}
		}
		id, err := wssec.ParseIdentity(certPEM, keyPEM)
		if err != nil {
			return wssec.Identity{}, &FieldError{"consular." + name + "_cert_file", err.Error()}
		}
		if left := id.Expires().Sub(o.Clock.Now()); left < 30*24*time.Hour {
			// The expiry of either is a common outage.
			a.log.Warn("a certificate of the consular door expires", "which", name, "at", id.Expires())
		}
		return id, nil
	}
	site, err := identity("site", s.SiteCert, s.SiteKey)
	if err != nil {
		return nil, err
	}
	station, err := identity("station", s.StationCert, s.StationKey)
	if err != nil {
		return nil, err
	}
	answers := wssec.Checker{Suites: []wssec.Suite{s.suite()}, Skew: 5 * time.Second, MaxBytes: 2 << 20}
	if s.RegisterCert != "" {
		text, err := os.ReadFile(c.file(s.RegisterCert))
		if err != nil {
			return nil, &FieldError{"consular.register_cert_file", err.Error()}
		}
		certs, err := wssec.ParseCertificates(text)
		if err != nil {
			return nil, &FieldError{"consular.register_cert_file", err.Error()}
		}
		answers.Trust = wssec.TrustOnly(certs...)
	}
	out, err := newOutbound(c, s.Peer, "consular", 2, o, a.log)
	if err != nil {
		return nil, err
	}
	client, err := anpr.NewConsular(anpr.ConsularConfig{
		URL: s.URL, Sender: s.Sender, Recipient: s.Recipient, Environment: firstText(s.Environment, "PROD"), Site: firstText(s.Site, s.Sender), Station: s.Station,
		Application: firstText(s.Application, "airegw"), User: s.User, Answers: answers, UnsignedAnswers: s.UnsignedAnswers,
		Signer: wssec.Signer{Suite: s.suite(), Site: site, Station: station, Issuer: firstText(s.Issuer, "airegw")},
		Out:    out, OperationIDs: growingIDs{a.Store, o.Clock, consularSeries}, PostServes: postServes, Clock: o.Clock.Now, Rand: o.Random, Logger: a.log,
	})
	if err != nil {
		return nil, &FieldError{"consular", err.Error()}
	}
	return client, nil
}

// growingIDs gives a door of the register its growing ids. They start from the
// clock, so that a restored backup does not use one again: the service would
// answer it with what it answered then.
type growingIDs struct {
	store  *store.Store
	clock  gateway.Clock
	series string
}

// The series of door A and of door C.
const (
	pdndSeries     = "anpr"
	consularSeries = "anpr-consular"
)

func (o growingIDs) floor() (int64, error) {
	// 18 digits: the time to the second and a counter below it.
	return strconv.ParseInt(o.clock.Now().UTC().Format("20060102150405")+"0000", 10, 64)
}

// NextOperationID implements anpr.OperationIDs.
func (o growingIDs) NextOperationID(ctx context.Context) (string, error) {
	return o.of(ctx, "", false)
}

// of answers the id kept for a key, or a new one; fresh puts a new one in its
// place.
func (o growingIDs) of(ctx context.Context, key string, fresh bool) (string, error) {
	floor, err := o.floor()
	if err != nil {
		return "", fmt.Errorf("operation id: %w", err)
	}
	n, err := o.store.OperationFor(ctx, o.series, key, floor, fresh, o.clock.Now())
	if err != nil {
		return "", err
	}
	return strconv.FormatInt(n, 10), nil
}

// alignment carries the hub's corrections to door C.
type alignment struct {
	client *anpr.Consular
	ids    growingIDs
}

// Align implements gateway.Alignment. The id of the operation is stored before
// the first call and the same at every repetition, so that a lost answer opens
// nothing twice; only an id that others overtook is given up.
func (a alignment) Align(ctx context.Context, ask gateway.AlignmentRequest) (gateway.AlignmentAnswer, error) {
	q := anpr.AlignmentQuery{
		Service: anpr.ConsularC002,
		Person: anpr.Query{
			FiscalCode: ask.FiscalCode, Reason: ask.Reason, AIREComune: ask.Comune,
			Surname: ask.Record.Person.Surname, GivenName: ask.Record.Person.GivenName,
			Actor: anpr.Actor{User: ask.Actor.ID, Location: firstText(ask.Actor.Station, ask.Post.Key), LoA: "operator"},
		},
		Post: anpr.PostRef{Code: ask.Post.ANPRCode, Description: ask.Post.RegisterName},
	}
	switch {
	case ask.Operation == gateway.AlignTaxCode:
		q.Service = anpr.ConsularC003
	case ask.Follow != "":
		q.Follow = ask.Follow
	default:
		q.Residence, q.Since = ask.Residence, ask.Since
	}
	for fresh := false; ; fresh = true {
		var err error
		if ask.Follow != "" {
			// Every look is a question of its own: a repeated id gets the first answer.
			q.OperationID, err = a.ids.NextOperationID(ctx)
		} else {
			q.OperationID, err = a.ids.of(ctx, ask.Key, fresh)
		}
		if err != nil {
			return gateway.AlignmentAnswer{}, err
		}
		answer, err := a.client.Align(ctx, q)
		switch {
		case err == nil && answer.Pending:
			return gateway.AlignmentAnswer{Pending: true}, nil
		case err == nil:
			return gateway.AlignmentAnswer{Reference: answer.Reference, Closed: answer.Done}, nil
		}
		var waits *anpr.RegisterError
		var refused *anpr.RefusedError
		switch {
		case errors.As(err, &refused):
			return gateway.AlignmentAnswer{}, &gateway.AlignmentRefusal{Code: string(refused.Code), Err: err}
		case errors.As(err, &waits) && waits.Kind == anpr.KindQuery:
			// What is missing does not come by waiting.
			return gateway.AlignmentAnswer{}, &gateway.AlignmentRefusal{Code: waits.Detail, Err: err}
		case errors.As(err, &waits) && waits.Code == anpr.CodeOperationPassed && !fresh:
			continue
		}
		return gateway.AlignmentAnswer{}, err
	}
}
