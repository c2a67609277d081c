package consulate

import (
	"bytes"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf8"

	"airegw/anpr"
)

// Kinds of a Change. "Ours" is what ships, "theirs" the official table.
const (
	ChangeAdded       = "added"        // theirs has it, ours has not
	ChangeMissing     = "missing"      // ours has it with an ANPR code, theirs has not
	ChangeRenamed     = "renamed"      // another seat under the code
	ChangeRankChanged = "rank_changed" // another rank under the code
)

// Change is one difference between an official table and what ships.
type Change struct {
	Kind   string `json:"kind"`
	Code   string `json:"code"`             // ANPR code of the post; "" when none is known
	Key    string `json:"key,omitempty"`    // our key of the post, if we have it
	State  string `json:"state,omitempty"`  // ISO2 of the state of residence, for districts
	Ours   string `json:"ours,omitempty"`   // our value
	Theirs string `json:"theirs,omitempty"` // the table's value
}

// Report is what an importer found in a table that passed every check.
type Report struct {
	Rows    int      `json:"rows"`    // data rows
	Same    int      `json:"same"`    // rows that say what ships
	Changes []Change `json:"changes"` // by kind, state and code
	// Unplaced lists the states of residence that have no ISO code of their own
	// (Jerusalem, Clipperton): checked, but not compared.
	Unplaced []string `json:"unplaced,omitempty"`
}

// Codes of a Problem. Each is a message code with the prefix "consulate.import.".
const (
	ProblemHeader     = "header"        // the header line is not that of the table
	ProblemCSV        = "csv"           // the line is not CSV with the right number of cells
	ProblemUTF8       = "utf8"          // the line is not UTF-8
	ProblemCode       = "code"          // the post's code is not seven digits
	ProblemMAE        = "mae"           // the code does not begin with the MAE code of the state
	ProblemRank       = "rank"          // the code's rank digits and the rank's text disagree, or one is unknown
	ProblemState      = "state"         // the state is unknown
	ProblemEmpty      = "empty"         // a cell that must be filled is empty
	ProblemDuplicate  = "duplicate"     // the row repeats another
	ProblemNoRows     = "no_rows"       // there is no data row
	ProblemTooLarge   = "too_large"     // the table is over 4 MiB
	ProblemUnreadable = "unreadable"    // reading failed
	ProblemMany       = "many_problems" // more problems follow than are listed
)

// Problem is one fault of a table.
type Problem struct {
	Code  string `json:"code"`
	Line  int    `json:"line"`            // 1 is the header; 0 the whole table
	Field string `json:"field,omitempty"` // column name
	Value string `json:"value,omitempty"` // what stands there, at most 80 bytes
}

func (p Problem) String() string {
	where := fmt.Sprintf("line %d", p.Line)
	if p.Field != "" {
		where += ", " + p.Field
	}
	return fmt.Sprintf("%s: %s: %q", where, p.Code, p.Value)
}

// ImportError says why a table was refused as a whole.
type ImportError struct {
	Problems []Problem // in line order, at most 100
	Err      error     // the reader's error for ProblemUnreadable, else nil
}

func (e *ImportError) Error() string {
	lines := make([]string, len(e.Problems))
	for i, p := range e.Problems {
		lines[i] = p.String()
	}
	return "the table is refused: " + strings.Join(lines, "; ")
}

func (e *ImportError) Unwrap() error { return e.Err }

const (
	maxTable    = 4 << 20
	maxProblems = 100
	maxValue    = 80
)

// The header rows of the official tables that ImportPosts and ImportDistricts read.
var (
	PostsHeader     = []string{"codice_consolato", "cod_mae_stato", "stato_appartenenza", "sede", "rango", "indirizzo"}
	DistrictsHeader = []string{"cod_istat_stato_residenza", "stato_residenza", "codice_consolato", "rango", "sede", "cod_mae_stato", "stato_appartenenza"}
)

// maeAutonomous is the MAE code of an autonomous district (Jerusalem) instead
// of a state; codes of its post begin with the code of the state of the seat.
const maeAutonomous = "888"

// placesWithoutISO are the ISTAT codes of places to live in that have no ISO code:
// Jerusalem and the Clipperton atoll (spec anpr-pdnd-modi 5.3 item 3).
var placesWithoutISO = []string{"325", "512"}

// rankDigits are the ranks of a post's code with the texts that the tables write
// for them (spec anpr-pdnd-modi 5.3 item 4).
var rankDigits = map[string]struct {
	kind  Kind
	texts []string
}{
	"00": {Embassy, []string{"AMBASCIATA D'ITALIA", "AMBASCIATA"}},
	"02": {Consulate, []string{"UFFICIO ITALIANO P.E.C.C.", "UFFICIO I.P.E.C.C."}},
	"03": {ConsulateGeneral, []string{"CONSOLATO GENERALE D'ITALIA", "CONSOLATO GENERALE"}},
	"04": {Consulate, []string{"CONSOLATO D'ITALIA", "CONSOLATO"}},
	"05": {ViceConsulate, []string{"VICE CONSOLATO D'ITALIA", "VICE CONSOLATO"}},
	"10": {ConsularAgency, []string{"AGENZIA CONSOLARE D'ITALIA", "AGENZIA CONSOLARE"}},
}

// ImportPosts reads the official table of posts (ANPR table 40: consolati.csv)
// and reports how it differs from what ships. It changes nothing. Every row is
// checked: seven digits, MAE code of a known state that the code begins with,
// rank digits that agree with the rank's text, no code twice. One wrong row
// refuses the table: the error is then an *ImportError.
func ImportPosts(r io.Reader) (Report, error) {
	rows, problems := readOfficial(r, PostsHeader)
	if problems != nil && problems.Err != nil {
		return Report{}, problems
	}
	check := checker{problems: problems}
	states := statesByMAE()
	seen := map[string]bool{}
	for _, row := range rows {
		code, mae, rank := row.cell(0), row.cell(1), row.cell(4)
		check.postCode(row, 0, code)
		if states[mae] == nil {
			check.add(ProblemState, row, 1)
		} else if !strings.HasPrefix(code, mae) {
			check.add(ProblemMAE, row, 1)
		}
		check.filled(row, 2, 3, 5)
		if len(code) == 7 && !rankAgrees(code, rank) {
			check.add(ProblemRank, row, 4)
		}
		if seen[code] {
			check.add(ProblemDuplicate, row, 0)
		}
		seen[code] = true
	}
	if err := check.err(rows); err != nil {
		return Report{}, err
	}

	report := Report{Rows: len(rows)}
	for _, row := range rows {
		code, seat := row.cell(0), row.cell(3)
		ours, known := PostByCode(code)
		if !known {
			report.Changes = append(report.Changes, Change{Kind: ChangeAdded, Code: code, Theirs: seat})
			continue
		}
		same := true
		if straight(seat) != ours.RegisterName {
			report.Changes = append(report.Changes, Change{Kind: ChangeRenamed, Code: code, Key: ours.Key, Ours: ours.RegisterName, Theirs: seat})
			same = false
		}
		if kind := rankDigits[code[5:]].kind; kind != ours.Kind {
			report.Changes = append(report.Changes, Change{Kind: ChangeRankChanged, Code: code, Key: ours.Key, Ours: string(ours.Kind), Theirs: string(kind)})
			same = false
		}
		if same {
			report.Same++
		}
	}
	for _, ours := range theNetwork().posts {
		switch {
		case ours.ANPRCode == "" || seen[ours.ANPRCode]:
		default:
			if theirs := sameSeatOtherCode(ours.ANPRCode, seen); theirs != "" {
				// The seat stayed and its rank changed: a new code under the same head.
				report.Changes = append(report.Changes, Change{Kind: ChangeRankChanged, Code: ours.ANPRCode, Key: ours.Key, Ours: string(ours.Kind), Theirs: string(rankDigits[theirs[5:]].kind)})
			}
			report.Changes = append(report.Changes, Change{Kind: ChangeMissing, Code: ours.ANPRCode, Key: ours.Key, Ours: ours.RegisterName})
		}
	}
	report.sort()
	return report, nil
}

// sameSeatOtherCode finds a code of the table for the same state and seat number.
func sameSeatOtherCode(code string, theirs map[string]bool) string {
	var found []string
	for other := range theirs {
		if len(other) == 7 && other != code && other[:5] == code[:5] {
			found = append(found, other)
		}
	}
	slices.Sort(found)
	if len(found) == 0 {
		return ""
	}
	return found[0]
}

// ImportDistricts reads the official table of territorial competence (ANPR table
// 41: consolati_competenza_territoriale.csv) and reports, state by state of
// residence, which posts it adds and which of ours it does not have. It changes
// nothing. Checked in every row: three digits of a known state, seven digits of
// the post, a known MAE code, a rank's text, no pair twice. A rank's text that
// disagrees with the code is a ChangeRankChanged here, not a fault: the official
// table has one (Miami). A code whose head is not the MAE code of the row is
// right: the row's MAE code is the one of the state of residence. One wrong row
// refuses the table: the error is then an *ImportError.
func ImportDistricts(r io.Reader) (Report, error) {
	rows, problems := readOfficial(r, DistrictsHeader)
	if problems != nil && problems.Err != nil {
		return Report{}, problems
	}
	check := checker{problems: problems}
	states := statesByMAE()
	seen := map[[2]string]bool{}
	for _, row := range rows {
		istat, code, rank, mae := row.cell(0), row.cell(2), row.cell(3), row.cell(5)
		if state, ok := anpr.StateByISTAT(istat); !ok || state.Kind == anpr.KindSpecial && state.ISO2 == "" && !slices.Contains(placesWithoutISO, istat) {
			check.add(ProblemState, row, 0)
		}
		check.postCode(row, 2, code)
		if len(code) == 7 && states[code[:3]] == nil {
			check.add(ProblemMAE, row, 2)
		}
		if states[mae] == nil && mae != maeAutonomous {
			check.add(ProblemState, row, 5)
		}
		check.filled(row, 1, 4, 6)
		if !knownRank(rank) {
			check.add(ProblemRank, row, 3)
		}
		if seen[[2]string{istat, code}] {
			check.add(ProblemDuplicate, row, 2)
		}
		seen[[2]string{istat, code}] = true
	}
	if err := check.err(rows); err != nil {
		return Report{}, err
	}

	report := Report{Rows: len(rows)}
	theirs := map[string]map[string]string{} // ISO2 → code → seat
	for _, row := range rows {
		istat, name, code, rank, seat := row.cell(0), row.cell(1), row.cell(2), row.cell(3), row.cell(4)
		state, _ := anpr.StateByISTAT(istat)
		if _, ours := PostsServing(state.ISO2); state.ISO2 == "" || ours == "" {
			if !slices.Contains(report.Unplaced, name) {
				report.Unplaced = append(report.Unplaced, name)
			}
			continue
		}
		if theirs[state.ISO2] == nil {
			theirs[state.ISO2] = map[string]string{}
		}
		theirs[state.ISO2][code] = seat
		same := true
		ours, known := PostByCode(code)
		if known && straight(seat) != ours.RegisterName {
			report.Changes = append(report.Changes, Change{Kind: ChangeRenamed, Code: code, Key: ours.Key, State: state.ISO2, Ours: ours.RegisterName, Theirs: seat})
			same = false
		}
		if !rankAgrees(code, rank) {
			report.Changes = append(report.Changes, Change{Kind: ChangeRankChanged, Code: code, Key: ours.Key, State: state.ISO2, Ours: string(rankDigits[code[5:]].kind), Theirs: rank})
			same = false
		}
		serving, _ := PostsServing(state.ISO2)
		if !slices.ContainsFunc(serving, func(p Post) bool { return p.ANPRCode == code }) {
			report.Changes = append(report.Changes, Change{Kind: ChangeAdded, Code: code, Key: ours.Key, State: state.ISO2, Theirs: seat})
			same = false
		}
		if same {
			report.Same++
		}
	}
	for _, iso2 := range Served() {
		if theirs[iso2] == nil {
			continue // the table does not speak of the state
		}
		serving, _ := PostsServing(iso2)
		for _, ours := range serving {
			if _, ok := theirs[iso2][ours.ANPRCode]; !ok || ours.ANPRCode == "" {
				report.Changes = append(report.Changes, Change{Kind: ChangeMissing, Code: ours.ANPRCode, Key: ours.Key, State: iso2, Ours: ours.RegisterName})
			}
		}
	}
	report.sort()
	return report, nil
}

func (r *Report) sort() {
	slices.SortFunc(r.Changes, func(a, b Change) int {
		return strings.Compare(a.Kind+"\x00"+a.State+"\x00"+a.Code+"\x00"+a.Key, b.Kind+"\x00"+b.State+"\x00"+b.Code+"\x00"+b.Key)
	})
	slices.Sort(r.Unplaced)
}

// statesByMAE indexes the states by the foreign ministry's code.
func statesByMAE() map[string]*anpr.State {
	byMAE := map[string]*anpr.State{}
	for _, s := range anpr.States() {
		if s.MAE != "" {
			byMAE[s.MAE] = &s
		}
	}
	return byMAE
}

func rankAgrees(code, text string) bool {
	rank, known := rankDigits[code[5:]]
	return known && slices.Contains(rank.texts, straight(text))
}

func knownRank(text string) bool {
	for _, rank := range rankDigits {
		if slices.Contains(rank.texts, straight(text)) {
			return true
		}
	}
	return false
}

// straight undoes what spreadsheets do to an apostrophe: a curved one, or the
// doubled one of the register's own files (spec 5.3 item 6).
func straight(text string) string {
	return strings.NewReplacer("''", "'", "’", "'").Replace(text)
}

// officialRow is one data row with its place.
type officialRow struct {
	line   int
	header []string
	cells  []string
}

func (r officialRow) cell(i int) string { return strings.TrimSpace(r.cells[i]) }

// readOfficial reads a table under its header. Problems of the file itself come
// back with the rows that could be read.
func readOfficial(r io.Reader, header []string) ([]officialRow, *ImportError) {
	data, err := io.ReadAll(io.LimitReader(r, maxTable+1))
	switch {
	case err != nil:
		return nil, &ImportError{[]Problem{{Code: ProblemUnreadable, Value: short(err.Error())}}, err}
	case len(data) > maxTable:
		return nil, &ImportError{Problems: []Problem{{Code: ProblemTooLarge}}}
	case !utf8.Valid(data):
		line := 1
		for ; len(data) > 0; line++ {
			first, rest, _ := bytes.Cut(data, []byte("\n"))
			if !utf8.Valid(first) {
				break
			}
			data = rest
		}
		return nil, &ImportError{Problems: []Problem{{Code: ProblemUTF8, Line: line}}}
	}
	reader := csv.NewReader(bytes.NewReader(bytes.TrimPrefix(data, []byte("\uFEFF"))))
	reader.FieldsPerRecord = len(header)
	var rows []officialRow
	found := &ImportError{}
	for first := true; ; first = false {
		cells, err := reader.Read()
		if errors.Is(err, io.EOF) {
			break
		}
		var wrong *csv.ParseError
		if errors.As(err, &wrong) {
			code := ProblemCSV
			if first {
				code = ProblemHeader
			}
			found.Problems = append(found.Problems, Problem{Code: code, Line: wrong.Line, Value: short(wrong.Err.Error())})
			if first || !errors.Is(err, csv.ErrFieldCount) || len(found.Problems) > maxProblems {
				break // after a broken quote nothing is sure
			}
			continue
		}
		line, _ := reader.FieldPos(0)
		if first {
			if !slices.Equal(cells, header) {
				found.Problems = append(found.Problems, Problem{Code: ProblemHeader, Line: 1, Value: short(strings.Join(cells, ","))})
				break
			}
			continue
		}
		rows = append(rows, officialRow{line, header, cells})
	}
	if len(found.Problems) > 0 {
		return rows, found
	}
	return rows, nil
}

// checker collects the problems of a table.
type checker struct{ problems *ImportError }

func (c *checker) add(code string, row officialRow, column int) {
	if c.problems == nil {
		c.problems = &ImportError{}
	}
	if len(c.problems.Problems) <= maxProblems {
		c.problems.Problems = append(c.problems.Problems, Problem{Code: code, Line: row.line, Field: row.header[column], Value: short(row.cells[column])})
	}
}

func (c *checker) postCode(row officialRow, column int, code string) {
	if len(code) != 7 || strings.Trim(code, "0123456789") != "" {
		c.add(ProblemCode, row, column)
	}
}

func (c *checker) filled(row officialRow, columns ...int) {
	for _, column := range columns {
		if row.cell(column) == "" {
			c.add(ProblemEmpty, row, column)
		}
	}
}

// err answers the refusal, or nil.
func (c *checker) err(rows []officialRow) error {
	if c.problems == nil {
		if len(rows) == 0 {
			return &ImportError{Problems: []Problem{{Code: ProblemNoRows}}}
		}
		return nil
	}
	slices.SortStableFunc(c.problems.Problems, func(a, b Problem) int { return a.Line - b.Line })
	if len(c.problems.Problems) > maxProblems {
		c.problems.Problems = append(c.problems.Problems[:maxProblems-1], Problem{Code: ProblemMany})
	}
	return c.problems
}

// short bounds a value that is repeated in an error.
func short(value string) string {
	if len(value) <= maxValue {
		return value
	}
	return strings.ToValidUTF8(value[:maxValue], "") + "…"
}
