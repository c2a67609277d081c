package app

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"airegw/anpr"
	"airegw/gateway"
	"airegw/gateway/sad"
	"airegw/gateway/store"
)

// checkSAD wants the seven settings of every comune that has the dialogue on
// (A51): each fault by its path, as sad.058091.path.
func (c *Config) checkSAD(bad func(path, text string)) {
	for _, comune := range slices.Sorted(maps.Keys(c.SAD)) {
		if _, ok := anpr.ComuneByISTAT(comune); !ok {
			bad("sad."+comune, "no comune has this ISTAT code")
		}
		for _, name := range c.SAD[comune].Faults(c.Environment == store.Simulation) {
			bad("sad."+comune+"."+name, sadTexts[name])
		}
	}
}

var sadTexts = map[string]string{
	"connection": "http (advised) or ftp",
	"address":    "http: the IP address of the server, inside the comune's network (it speaks in the clear; a simulation: on loopback); ftp: none",
	"port":       "http: 1 to 65535; ftp: none",
	"path":       "http: the path of the service, from the slash; ftp: none",
	"upload":     "ftp: the folder of the requests; http: none",
	"download":   "ftp: the folder of the answers, another one; http: none",
	"constants":  "S/N (advised), T/F, SI/NO, TRUE/FALSE, VERO/FALSO or 1/0",
}

// registries are the comuni's own, by ISTAT code.
type registries map[string]*sad.Registry

// newRegistries makes those of the configuration; nil without any.
func (a *App) newRegistries(c Config, o Options) (gateway.ComuneRegistries, error) {
	if len(c.SAD) == 0 {
		return nil, nil
	}
	out := registries{}
	for comune, s := range c.SAD {
		s.Upload, s.Download = c.file(s.Upload), c.file(s.Download)
		client, err := newOutbound(c, Peer{}, "sad-"+comune, 2, o, a.log)
		if err != nil {
			return nil, err
		}
		out[comune], err = sad.New(s, c.Environment == store.Simulation, client)
		if err != nil {
			return nil, &FieldError{"sad." + comune, err.Error()}
		}
	}
	return out, nil
}

// Speaks implements gateway.ComuneRegistries.
func (r registries) Speaks(comune string) bool { return r[comune] != nil }

// Ask implements gateway.ComuneRegistries.
func (r registries) Ask(ctx context.Context, comune, id string, person gateway.Applicant) (gateway.DialogueAnswer, error) {
	one := r[comune]
	if one == nil {
		return gateway.DialogueAnswer{}, &gateway.DialogueError{Code: string(sad.CodeSettings), Final: true}
	}
	answer, err := one.Ask(ctx, sad.Question{
		ID: id, Comune: comune, FiscalCode: person.FiscalCode, Surname: person.Surname, GivenName: person.GivenName,
	})
	var says *sad.Error
	if errors.As(err, &says) {
		// A registry that answers nonsense answers it again; only what we cannot
		// even ask is final.
		return gateway.DialogueAnswer{}, &gateway.DialogueError{Code: string(says.Code), Final: says.Code == sad.CodeQuestion, Err: err}
	}
	if err != nil {
		return gateway.DialogueAnswer{}, fmt.Errorf("registry of the comune: %w", err)
	}
	return gateway.DialogueAnswer{
		Found: answer.Found, Surname: answer.Surname, GivenName: answer.GivenName, BirthDate: answer.BirthDate, Travel: answer.Travel,
	}, nil
}

// Done implements gateway.ComuneRegistries.
func (r registries) Done(comune, id string) error {
	if one := r[comune]; one != nil {
		return one.Done(id)
	}
	return nil
}
