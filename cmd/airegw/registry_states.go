package main

import (
	"fmt"
	"io"
	"strings"

	"airegw/anpr"
)

// statesCmd looks foreign states and territories up.
type statesCmd struct {
	JSON  bool     `name:"json" help:"One JSON object per line."`
	Query []string `arg:"" optional:"" help:"Any code (ISO, ISTAT, Z) or a name in Italian or English; \"-\" reads JSON Lines {\"query\"} from standard input."`
}

// Help is printed by --help.
func (statesCmd) Help() string {
	return `Without a query every foreign state and territory of today is listed, then the special
codes (stateless, not attributable, ...). "istat" is the code that the register uses,
"istat_list" the one of ISTAT's own list where it differs. Former states (kind "former")
are found by a query only. Exit code 1 when nothing matches.`
}

// stateLine is a state in every JSON answer.
type stateLine struct {
	ISO2      string `json:"iso2"`
	ISO3      string `json:"iso3"`
	ISTAT     string `json:"istat"`
	ISTATList string `json:"istat_list,omitempty"`
	Z         string `json:"z"`
	MAE       string `json:"mae"`
	NameIT    string `json:"name_it"`
	NameEN    string `json:"name_en"`
	Kind      string `json:"kind"`
}

type statesAnswer struct {
	States []stateLine `json:"states"`
}

func stateToLine(s anpr.State) stateLine {
	return stateLine{s.ISO2, s.ISO3, s.ISTAT, s.ISTATList, s.Z, s.MAE, s.NameIT, s.NameEN, s.Kind}
}

// Run is called by kong.
func (c statesCmd) Run(std streams) error {
	query := strings.Join(c.Query, " ")
	if query == "-" {
		return jsonLines(std, func(question comuniQuestion) (statesAnswer, error) {
			if question.Query == nil {
				return statesAnswer{}, errMissing("query")
			}
			answer := statesAnswer{States: []stateLine{}}
			for _, s := range anpr.FindStates(*question.Query) {
				answer.States = append(answer.States, stateToLine(s))
			}
			return answer, nil
		})
	}
	list := anpr.States()
	if len(c.Query) > 0 {
		list = anpr.FindStates(query)
	}
	if len(list) == 0 {
		return bad("no state matches %q", query)
	}
	return printLines(std.out, list, func(out io.Writer, s anpr.State) error {
		if c.JSON {
			return writeJSON(out, stateToLine(s))
		}
		dash := func(code string) string {
			if code == "" {
				return "-"
			}
			return code
		}
		_, err := fmt.Fprintf(out, "%-2s  %-3s  ISTAT %-3s  %-4s  MAE %-3s  %-9s  %s / %s\n",
			dash(s.ISO2), dash(s.ISO3), dash(s.ISTAT), dash(s.Z), dash(s.MAE), s.Kind, s.NameIT, s.NameEN)
		return err
	})
}
