package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"

	"airegw/anpr"
)

// comuniCmd looks comuni up in the tables the binary ships.
type comuniCmd struct {
	JSON   bool     `name:"json" help:"One JSON object per line."`
	Former bool     `help:"List the comuni that ceased instead of those of today."`
	Query  []string `arg:"" optional:"" help:"ISTAT code, catastale code or name; \"-\" reads JSON Lines {\"query\"} from standard input."`
}

// Help is printed by --help.
func (comuniCmd) Help() string {
	return `Without a query every comune of today is listed. A name may be typed badly: accents,
apostrophes and case do not count, "S." stands for any saint, the German, Ladin, French
and Slovene official names are known, a province may follow ("Castro LE").
Former comuni come with their last day and the ISTAT codes of the comuni of today
that took over. Exit code 1 when nothing matches.

With "-" each input line {"query":"..."} is answered by one line
{"comuni":[...],"former":[...]}, a bad line by {"error":{"code","field","text"}}.`
}

// comuneBrief is a comune in JSON Lines answers.
type comuneBrief struct {
	ISTAT     string `json:"istat"`
	Catastale string `json:"catastale"`
	Name      string `json:"name"`
	Province  string `json:"province"`
}

// formerBrief is a former comune in JSON Lines answers.
type formerBrief struct {
	comuneBrief
	Ended      string   `json:"ended"`      // last day of existence, YYYY-MM-DD
	Successors []string `json:"successors"` // ISTAT codes of comuni of today
}

// comuneLine is a comune as --json prints it.
type comuneLine struct {
	ISTAT         string   `json:"istat"`
	Catastale     string   `json:"catastale"`
	Name          string   `json:"name"`
	AltName       string   `json:"alt_name"`
	Province      string   `json:"province"`
	Region        string   `json:"region"`
	PreviousISTAT []string `json:"previous_istat,omitempty"`
	Ended         string   `json:"ended,omitempty"`
	Successors    []string `json:"successors,omitempty"`
}

type comuniQuestion struct {
	Query *string `json:"query"`
}

type comuniAnswer struct {
	Comuni []comuneBrief `json:"comuni"`
	Former []formerBrief `json:"former"`
}

// Run is called by kong.
func (c comuniCmd) Run(std streams) error {
	query := strings.Join(c.Query, " ")
	if query == "-" {
		return jsonLines(std, answerComuni)
	}
	var list []anpr.Comune
	switch {
	case len(c.Query) > 0:
		current, former := anpr.FindComuni(query)
		if !c.Former {
			list = current
		}
		list = append(list, former...)
	case c.Former:
		list = anpr.FormerComuni()
	default:
		list = anpr.Comuni()
	}
	if len(list) == 0 {
		return bad("no comune matches %q", query)
	}
	if c.JSON {
		return printLines(std.out, list, func(out io.Writer, comune anpr.Comune) error {
			return writeJSON(out, comuneLine{
				ISTAT: comune.ISTAT, Catastale: comune.Catastale, Name: comune.Name, AltName: comune.AltName, Province: comune.ProvinceCode,
				Region: comune.Region, PreviousISTAT: comune.PreviousISTAT, Ended: lastDay(comune.Ended), Successors: comune.Successors,
			})
		})
	}
	return printLines(std.out, list, func(out io.Writer, comune anpr.Comune) error {
		name := comune.Name
		if comune.AltName != "" {
			name += " / " + comune.AltName
		}
		line := fmt.Sprintf("%s  %s  %s  %-40s  %s", comune.ISTAT, comune.Catastale, comune.ProvinceCode, name, comune.Region)
		if !comune.Current() {
			line = strings.TrimRight(line, " ") + "  ceased " + lastDay(comune.Ended)
			for i, code := range comune.Successors {
				heir, _ := anpr.ComuneByISTAT(code)
				line += []string{", now ", ", "}[min(i, 1)] + code + " " + heir.Name
			}
		}
		_, err := fmt.Fprintln(out, strings.TrimRight(line, " "))
		return err
	})
}

func answerComuni(question comuniQuestion) (comuniAnswer, error) {
	if question.Query == nil {
		return comuniAnswer{}, errMissing("query")
	}
	current, former := anpr.FindComuni(*question.Query)
	answer := comuniAnswer{Comuni: []comuneBrief{}, Former: []formerBrief{}}
	for _, c := range current {
		answer.Comuni = append(answer.Comuni, comuneBrief{c.ISTAT, c.Catastale, c.Name, c.ProvinceCode})
	}
	for _, c := range former {
		answer.Former = append(answer.Former, formerBrief{
			comuneBrief: comuneBrief{c.ISTAT, c.Catastale, c.Name, c.ProvinceCode},
			Ended:       lastDay(c.Ended), Successors: append([]string{}, c.Successors...),
		})
	}
	return answer, nil
}

// errMissing is the answer to a line without a member it needs.
func errMissing(member string) error {
	return &lineError{Code: "required", Field: member, Text: fmt.Sprintf("the member %q is missing", member)}
}

func lastDay(date time.Time) string {
	if date.IsZero() {
		return ""
	}
	return date.Format(time.DateOnly)
}

// printLines writes one line per item through a buffer.
func printLines[T any](out io.Writer, items []T, write func(io.Writer, T) error) error {
	buffered := bufio.NewWriter(out)
	for _, item := range items {
		if err := write(buffered, item); err != nil {
			return err
		}
	}
	return buffered.Flush()
}

// writeJSON writes one value as one line, without escaping what HTML would need.
func writeJSON(out io.Writer, value any) error {
	encoder := json.NewEncoder(out)
	encoder.SetEscapeHTML(false)
	return encoder.Encode(value)
}
