package main

import (
	"fmt"
	"io"
	"strings"
	"time"

	"airegw/anpr"
	"airegw/consulate"
)

func dashed(text string) string {
	if text == "" {
		return "-"
	}
	return text
}

// postsCmd lists the consular network.
type postsCmd struct {
	JSON  bool     `name:"json" help:"One JSON object per line, with the source of every value."`
	Open  bool     `help:"Leave out what is closed today, and missions whose consular section moved."`
	Query []string `arg:"" optional:"" help:"Seat by any of its names, state by its ISO code, ANPR code, or key."`
}

// Help is printed by --help.
func (postsCmd) Help() string {
	return `Without a query every post is listed. A seat may be typed without accents and in Italian or
the local language. "captures" says whether the post takes requests for a CIE: known, assumed
or no; honorary posts never do. Exit code 1 when nothing matches.`
}

// postLine is a post in the JSON list.
type postLine struct {
	Key          string       `json:"key"`
	ISO2         string       `json:"iso2"`
	Kind         string       `json:"kind"`
	Code         string       `json:"code"`
	Seat         string       `json:"seat"`
	RegisterName string       `json:"register_name"`
	Aliases      []string     `json:"aliases"`
	TimeZone     string       `json:"time_zone"`
	Currency     string       `json:"currency"`
	Captures     capturesLine `json:"captures"`
	Opened       string       `json:"opened,omitempty"`
	Closed       string       `json:"closed,omitempty"`
	Moved        string       `json:"moved,omitempty"`
	Successor    string       `json:"successor,omitempty"`
	Sources      sourcesLine  `json:"sources"`
}

type capturesLine struct {
	Status string `json:"status"`
	Since  string `json:"since"`
	Source string `json:"source"`
}

type sourcesLine struct {
	Post  string `json:"post"`
	Place string `json:"place"`
	Life  string `json:"life,omitempty"`
}

// Run is called by kong.
func (c postsCmd) Run(std streams) error {
	query := strings.Join(c.Query, " ")
	found := consulate.FindPosts(query)
	if c.Open {
		now := time.Now()
		var open []consulate.Post
		for _, p := range found {
			if p.Open(now) {
				open = append(open, p)
			}
		}
		found = open
	}
	if len(found) == 0 {
		return bad("no post matches %q", query)
	}
	return printLines(std.out, found, func(out io.Writer, p consulate.Post) error {
		if c.JSON {
			return writeJSON(out, postLine{
				Key: p.Key, ISO2: p.ISO2, Kind: string(p.Kind), Code: p.ANPRCode, Seat: p.Seat, RegisterName: p.RegisterName,
				Aliases: append([]string{}, p.Aliases...), TimeZone: p.TimeZone, Currency: p.Currency,
				Captures: capturesLine{string(p.Captures.Status), string(p.Captures.Since), p.Captures.Source},
				Opened:   string(p.Opened), Closed: string(p.Closed), Moved: string(p.Moved), Successor: p.Successor,
				Sources: sourcesLine{p.Sources.Post, p.Sources.Place, p.Sources.Life},
			})
		}
		note := ""
		switch {
		case p.Closed != "":
			note = "  closed " + string(p.Closed) + ", now " + p.Successor
		case p.Moved != "":
			note = "  consular section moved " + string(p.Moved) + " to " + p.Successor
		}
		_, err := fmt.Fprintf(out, "%-2s  %-7s  %-17s  %-24s  %-3s  CIE %-7s  %-10s  %s%s\n",
			p.ISO2, dashed(p.ANPRCode), p.Kind, p.Seat, p.Currency, p.Captures.Status, dashed(string(p.Captures.Since)), p.TimeZone, note)
		return err
	})
}

// postCmd answers which post serves an address.
type postCmd struct {
	JSON     bool   `name:"json" help:"One JSON object."`
	Country  string `placeholder:"ISO2" help:"State of the address, by its ISO code."`
	Region   string `placeholder:"NAME" help:"First-level division: name or ISO 3166-2 code."`
	County   string `placeholder:"NAME" help:"The level below: county, department, province, partido, Regierungsbezirk."`
	City     string `placeholder:"NAME" help:"City."`
	Postcode string `placeholder:"CODE" help:"Postcode."`
	Street   string `placeholder:"TEXT" help:"Street; it never decides."`
	Input    string `arg:"" optional:"" name:"-" help:"\"-\" reads JSON Lines {\"iso2\",\"address\":{\"street\",\"city\",\"postcode\",\"region\",\"county\"}} from standard input."`
}

// Help is printed by --help.
func (postCmd) Help() string {
	return `Where several posts share a state, the region decides if it can; else county, postcode and
city do. An address that no source places is answered with candidates, not with a guess.
The competent post of a person is the one in the register record; this answers before
there is one. Exit code 1 when no post serves the state.

  airegw registry post --country AR --region Mendoza
  airegw registry post - < addresses.jsonl`
}

// postQuestion is a line of `registry post -`.
type postQuestion struct {
	ISO2    *string `json:"iso2"`
	Address *struct {
		Street   string `json:"street"`
		City     string `json:"city"`
		Postcode string `json:"postcode"`
		Region   string `json:"region"`
		County   string `json:"county"`
	} `json:"address"`
}

// postRef names a post in an answer.
type postRef struct {
	Seat string `json:"seat"`
	Kind string `json:"kind"`
	Code string `json:"code"`
}

// postAnswer is the answer to one address.
type postAnswer struct {
	Post       *postRef  `json:"post"`
	Candidates []postRef `json:"candidates"`
	Ambiguous  bool      `json:"ambiguous"`
}

func toPostRef(p consulate.Post) postRef { return postRef{p.Seat, string(p.Kind), p.ANPRCode} }

func toPostAnswer(a consulate.Answer) postAnswer {
	answer := postAnswer{Candidates: []postRef{}, Ambiguous: a.Ambiguous}
	if a.Post != nil {
		ref := toPostRef(*a.Post)
		answer.Post = &ref
	}
	for _, p := range a.Candidates {
		answer.Candidates = append(answer.Candidates, toPostRef(p))
	}
	return answer
}

// Run is called by kong.
func (c postCmd) Run(std streams) error {
	flagged := c.Country+c.Region+c.County+c.City+c.Postcode+c.Street != ""
	switch {
	case c.Input == "-" && flagged:
		return usage("\"-\" reads the addresses from standard input: it takes no address flags")
	case c.Input == "-":
		return jsonLines(std, answerPostQuestion)
	case c.Input != "":
		return usage("unexpected %q: the address is given by flags, or \"-\" reads standard input", c.Input)
	case c.Country == "":
		return usage("--country is needed: the ISO code of the state of the address")
	}
	answer := consulate.Competent(consulate.Address{
		ISO2: c.Country, Street: c.Street, City: c.City, Postcode: c.Postcode, Region: c.Region, County: c.County,
	})
	if answer.Post == nil && len(answer.Candidates) == 0 {
		return bad("no post serves %q (%s)", c.Country, answer.Reason)
	}
	if c.JSON {
		return writeJSON(std.out, toPostAnswer(answer))
	}
	candidates := answer.Candidates
	if answer.Post != nil {
		candidates = []consulate.Post{*answer.Post}
	} else {
		fmt.Fprintln(std.out, "One of these; the address does not say which:")
	}
	for _, p := range candidates {
		fmt.Fprintf(std.out, "%s  %s  %s\n", p.Seat, p.Kind, dashed(p.ANPRCode))
	}
	fmt.Fprintf(std.out, "(%s; division %s; source: %s)\n", answer.Reason, dashed(answer.Division), dashed(answer.Source))
	return nil
}

func answerPostQuestion(question postQuestion) (postAnswer, error) {
	if question.ISO2 == nil {
		return postAnswer{}, errMissing("iso2")
	}
	address := consulate.Address{ISO2: *question.ISO2}
	if a := question.Address; a != nil {
		address.Street, address.City, address.Postcode, address.Region, address.County = a.Street, a.City, a.Postcode, a.Region, a.County
	}
	answer := consulate.Competent(address)
	if answer.Reason == consulate.ReasonUnknownState {
		if _, known := anpr.StateByISO2(strings.ToUpper(strings.TrimSpace(address.ISO2))); !known {
			return postAnswer{}, &lineError{"unknown_state", "iso2", fmt.Sprintf("no state has the ISO code %.20q", address.ISO2)}
		}
	}
	return toPostAnswer(answer), nil
}
