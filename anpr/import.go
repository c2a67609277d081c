package anpr

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/csv"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// Codes of an ImportError, a closed list.
const (
	ImportTooLarge   = "import_too_large"  // more than 64 MiB
	ImportEncoding   = "import_encoding"   // not UTF-8
	ImportHeader     = "import_header"     // the columns are not those of the official table
	ImportSyntax     = "import_syntax"     // not CSV, or a line with missing cells: often a cut file
	ImportValue      = "import_value"      // a cell holds what its column cannot
	ImportRepeated   = "import_repeated"   // two comuni of today with one code
	ImportIncomplete = "import_incomplete" // too few comuni of today: a cut file
)

// ImportError refuses a whole table. Nothing of it is used.
type ImportError struct {
	Code  string // one of the Import… constants
	Line  int    // line of the file, counted from 1; 0 for the whole file
	Field string // column at fault, "" for the whole line
	Value string // what stands there
}

func (e *ImportError) Error() string {
	text := e.Code
	if e.Line > 0 {
		text += fmt.Sprintf(" on line %d", e.Line)
	}
	if e.Field != "" {
		text += fmt.Sprintf(", column %s", e.Field)
	}
	if e.Value != "" {
		text += fmt.Sprintf(": %q", e.Value)
	}
	return text
}

// Kinds of a ComuneChange.
const (
	ChangeAdded    = "added"    // a comune of today we do not have
	ChangeCeased   = "ceased"   // a comune of today for us, former in the file
	ChangeRenamed  = "renamed"  // another official name
	ChangeRecoded  = "recoded"  // another ISTAT code, or another province
	ChangeFormer   = "former"   // a former comune we do not have
	ChangeOutdated = "outdated" // the file still has what we know to have changed: not taken over
	ChangeAbsent   = "absent"   // a comune of today that the file does not know: not taken over
)

// ComuneChange is one difference between an official table and what the binary
// ships. Was holds our value where the file has another one.
type ComuneChange struct {
	Kind      string `json:"kind"`
	ISTAT     string `json:"istat"`
	Catastale string `json:"catastale"`
	Name      string `json:"name"`
	Province  string `json:"province"`
	Was       string `json:"was,omitempty"`
	Ended     string `json:"ended,omitempty"` // last day of existence, YYYY-MM-DD
}

// ComuniImport reports what an official table of comuni would change.
type ComuniImport struct {
	Rows    int            `json:"rows"`         // data lines read
	Current int            `json:"current"`      // comuni of today among them
	Newest  string         `json:"newest_fact"`  // the newest date the file knows, YYYY-MM-DD
	Digest  string         `json:"sha256"`       // of the file's bytes, hexadecimal
	Changes []ComuneChange `json:"changes"`      // sorted by kind, then ISTAT code
	Counts  map[string]int `json:"change_count"` // by kind
}

// ComuniHeader are the columns of the register's archive of comuni
// (ANPR_archivio_comuni.csv, legend of 2019-05-23), by which the file is known.
var ComuniHeader = []string{
	"ID", "DATAISTITUZIONE", "DATACESSAZIONE", "CODISTAT", "CODCATASTALE", "DENOMINAZIONE_IT", "DENOMTRASLITTERATA",
	"ALTRADENOMINAZIONE", "ALTRADENOMTRASLITTERATA", "ID_PROVINCIA", "IDPROVINCIAISTAT", "IDREGIONE", "IDPREFETTURA",
	"STATO", "SIGLAPROVINCIA", "FONTE", "DATAULTIMOAGG", "COD_DENOM",
}

const (
	largestImport  = 64 << 20
	leastComuni    = 7500 // a full archive has some 7,900 comuni of today
	oldestBirth    = "1900-01-01"
	endOfTime      = "9999-12-31"
	stateActive    = "A"
	stateCeased    = "C"
	noCatastale    = "ND" // some early former comuni never had a code
	catastaleShape = `^[A-Z][0-9]{3}$`
)

// archiveColumns says what each column that is used may hold.
var archiveColumns = map[string]*regexp.Regexp{
	"DATAISTITUZIONE":  regexp.MustCompile(`^\d{4}-\d{2}-\d{2}$`),
	"DATACESSAZIONE":   regexp.MustCompile(`^\d{4}-\d{2}-\d{2}$`),
	"CODISTAT":         regexp.MustCompile(`^\d{6}$`),
	"CODCATASTALE":     regexp.MustCompile(catastaleShape + `|^` + noCatastale + `$`),
	"DENOMINAZIONE_IT": regexp.MustCompile(`^[\pL'’‘. ,/()-]+$`),
	"STATO":            regexp.MustCompile(`^[ACD]$`),
	"SIGLAPROVINCIA":   regexp.MustCompile(`^[A-Z]{2}$`),
}

// archiveRow is one line of the archive.
type archiveRow struct {
	line                                         int
	since, until, istat, catastale, name, status string
	province                                     string
}

// ImportComuni reads the register's archive of comuni in its official format
// (UTF-8 CSV, ComuniHeader, with or without byte order mark) and reports what
// it would change. It is all or nothing: the first thing wrong refuses the
// file with an *ImportError. The registries in memory are never changed.
func ImportComuni(file io.Reader) (*ComuniImport, error) {
	text, err := io.ReadAll(io.LimitReader(file, largestImport+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("reading the archive of comuni: %w", err)
	case len(text) > largestImport:
		return nil, &ImportError{Code: ImportTooLarge}
	case !utf8.Valid(text):
		return nil, &ImportError{Code: ImportEncoding}
	}
	digest := sha256.Sum256(text)
	rows, newest, err := readArchive(bytes.TrimPrefix(text, []byte("\uFEFF")))
	if err != nil {
		return nil, err
	}
	report := &ComuniImport{Rows: len(rows), Newest: newest, Digest: hex.EncodeToString(digest[:]), Changes: []ComuneChange{}, Counts: map[string]int{}}
	current, former, err := sortArchive(rows)
	if err != nil {
		return nil, err
	}
	report.Current = len(current)
	report.compare(current, former)
	for _, change := range report.Changes {
		report.Counts[change.Kind]++
	}
	return report, nil
}

func readArchive(text []byte) (rows []archiveRow, newest string, err error) {
	reader := csv.NewReader(bytes.NewReader(text))
	reader.FieldsPerRecord = len(ComuniHeader)
	reader.ReuseRecord = true
	header, err := reader.Read()
	if err != nil || !slices.Equal(header, ComuniHeader) {
		return nil, "", &ImportError{Code: ImportHeader, Line: 1}
	}
	position := map[string]int{}
	for i, column := range ComuniHeader {
		position[column] = i
	}
	for {
		record, err := reader.Read()
		if errors.Is(err, io.EOF) {
			return rows, newest, nil
		}
		if err != nil {
			var wrong *csv.ParseError
			line := 0
			if errors.As(err, &wrong) {
				line = wrong.Line
			}
			return nil, "", &ImportError{Code: ImportSyntax, Line: line}
		}
		line, _ := reader.FieldPos(0)
		cell := func(column string) string {
			// The tables double their apostrophes.
			return strings.TrimSpace(strings.ReplaceAll(record[position[column]], "''", "'"))
		}
		for _, column := range ComuniHeader {
			if shape := archiveColumns[column]; shape != nil && !shape.MatchString(cell(column)) {
				return nil, "", &ImportError{Code: ImportValue, Line: line, Field: column, Value: cell(column)}
			}
		}
		row := archiveRow{
			line: line, since: cell("DATAISTITUZIONE"), until: cell("DATACESSAZIONE"), istat: cell("CODISTAT"),
			catastale: cell("CODCATASTALE"), name: cell("DENOMINAZIONE_IT"), status: cell("STATO"), province: cell("SIGLAPROVINCIA"),
		}
		for column, date := range map[string]string{"DATAISTITUZIONE": row.since, "DATACESSAZIONE": row.until} {
			if _, err := time.Parse(time.DateOnly, date); err != nil {
				return nil, "", &ImportError{Code: ImportValue, Line: line, Field: column, Value: date}
			}
			if date != endOfTime && date > newest {
				newest = date
			}
		}
		if (row.status == stateActive) != (row.until == endOfTime) && row.status != "D" {
			return nil, "", &ImportError{Code: ImportValue, Line: line, Field: "DATACESSAZIONE", Value: row.until}
		}
		rows = append(rows, row)
	}
}

// sortArchive answers the comuni of today and the last row of each former one,
// by catastale code.
func sortArchive(rows []archiveRow) (current, former map[string]archiveRow, err error) {
	current, former = map[string]archiveRow{}, map[string]archiveRow{}
	byISTAT := map[string]bool{}
	for _, row := range rows {
		switch row.status {
		case stateActive:
			if _, taken := current[row.catastale]; taken || byISTAT[row.istat] {
				return nil, nil, &ImportError{Code: ImportRepeated, Line: row.line, Field: "CODCATASTALE", Value: row.catastale}
			}
			if row.catastale == noCatastale {
				return nil, nil, &ImportError{Code: ImportValue, Line: row.line, Field: "CODCATASTALE", Value: row.catastale}
			}
			current[row.catastale], byISTAT[row.istat] = row, true
		case stateCeased:
			if last, seen := former[row.catastale]; !seen || last.until < row.until {
				former[row.catastale] = row
			}
		}
	}
	delete(former, noCatastale)
	for catastale := range current {
		delete(former, catastale)
	}
	if len(current) < leastComuni {
		return nil, nil, &ImportError{Code: ImportIncomplete, Value: fmt.Sprint(len(current))}
	}
	return current, former, nil
}

func (report *ComuniImport) compare(current, former map[string]archiveRow) {
	add := func(kind string, row archiveRow, was, ended string) {
		report.Changes = append(report.Changes, ComuneChange{
			Kind: kind, ISTAT: row.istat, Catastale: row.catastale, Name: writtenName(row.name), Province: row.province, Was: was, Ended: ended,
		})
	}
	ours := comuniRegistry()
	for _, row := range current {
		i, known := ours.byCatastale[row.catastale]
		if !known {
			kind, was := ChangeAdded, ""
			if gone, ceased := ours.formerByCatastale[row.catastale]; ceased && ours.former[gone].Ended.Format(time.DateOnly) > report.Newest {
				kind, was = ChangeOutdated, "ceased "+ours.former[gone].Ended.Format(time.DateOnly)
			}
			add(kind, row, was, "")
			continue
		}
		c := ours.current[i]
		if c.ISTAT != row.istat || c.ProvinceCode != row.province {
			kind := ChangeRecoded
			if slices.Contains(c.PreviousISTAT, row.istat) {
				kind = ChangeOutdated
			}
			add(kind, row, c.ISTAT+" "+c.ProvinceCode, "")
		}
		if theirs := strings.Join(words(row.name), " "); theirs != strings.Join(words(c.Name), " ") {
			kind := ChangeRenamed
			if slices.ContainsFunc(c.aliases, func(alias string) bool { return strings.Join(words(alias), " ") == theirs }) {
				kind = ChangeOutdated
			}
			add(kind, row, c.Name, "")
		}
	}
	for _, c := range ours.current {
		row, gone := former[c.Catastale]
		if _, there := current[c.Catastale]; there {
			continue
		}
		if gone {
			add(ChangeCeased, row, "", row.until)
		} else {
			add(ChangeAbsent, archiveRow{istat: c.ISTAT, catastale: c.Catastale, name: c.Name, province: c.ProvinceCode}, "", "")
		}
	}
	for _, row := range former {
		_, known := ours.formerByCatastale[row.catastale]
		if _, isCurrent := ours.byCatastale[row.catastale]; !known && !isCurrent && row.until >= oldestBirth {
			add(ChangeFormer, row, "", row.until)
		}
	}
	slices.SortFunc(report.Changes, func(a, b ComuneChange) int {
		return cmp.Or(strings.Compare(a.Kind, b.Kind), strings.Compare(a.ISTAT, b.ISTAT), strings.Compare(a.Catastale, b.Catastale), strings.Compare(a.Name, b.Name))
	})
}

// WriteOverlay writes the changes that are to be taken over as rows of
// overlay_comuni.tsv and overlay_former.tsv, each with the file's digest as its
// source, for a person to review and add to those files: registrygen then makes
// the tables. Regions of new comuni and successors of ceased ones are not in the
// archive and are left for the reviewer ("?", which registrygen refuses).
func (report *ComuniImport) WriteOverlay(out io.Writer) error {
	var text bytes.Buffer
	source := fmt.Sprintf("ANPR archive, newest fact %s, sha256 %.16s", report.Newest, report.Digest)
	fmt.Fprintf(&text, "# Rows for anpr/overlay_comuni.tsv and anpr/overlay_former.tsv, to be reviewed; from %s\nistat\tfield\tvalue\tsource\n", source)
	row := func(istat, field, value string) {
		fmt.Fprintf(&text, "%s\t%s\t%s\t%s\n", istat, field, value, source)
	}
	for _, change := range report.Changes {
		switch change.Kind {
		case ChangeAdded:
			row(change.ISTAT, "add", strings.Join([]string{change.Catastale, change.Name, change.Province, "?"}, "|"))
		case ChangeRenamed:
			row(change.ISTAT, "name", change.Name)
			row(change.ISTAT, "alias", change.Was)
		case ChangeRecoded:
			row(strings.Fields(change.Was)[0], "recoded", change.ISTAT+"|"+change.Province)
		case ChangeCeased:
			row(change.ISTAT, "ceased", change.Ended)
		}
	}
	fmt.Fprintf(&text, "# for overlay_former.tsv\n# catastale\tistat\tname\tprovince\tended\tsuccessors\tsource\n")
	for _, change := range report.Changes {
		if change.Kind == ChangeCeased || change.Kind == ChangeFormer {
			fmt.Fprintf(&text, "%s\n", strings.Join([]string{change.Catastale, change.ISTAT, change.Name, change.Province, change.Ended, "?", source}, "\t"))
		}
	}
	_, err := out.Write(text.Bytes())
	return err
}

// lowerWords are written small inside a name.
var lowerWords = strings.Fields(`a ad agli ai al all alla alle allo con d da dagli dai dal dall dalla dalle dallo de degli
	dei del dell della delle dello di e ed fra i il in l la le lo ne nei nel nell nella nelle per presso su sugli sui sul
	sull sulla sulle sullo sopra sotto tra`)

// writtenName writes a name of the archive, all capitals, as people do.
func writtenName(name string) string {
	if strings.ToUpper(name) != name {
		return name
	}
	var out strings.Builder
	letters := []rune(strings.ToLower(name))
	for start := 0; start < len(letters); {
		end := start
		for end < len(letters) && unicode.IsLetter(letters[end]) {
			end++
		}
		if end == start {
			out.WriteRune(letters[start])
			start++
			continue
		}
		word := letters[start:end]
		if start == 0 || !slices.Contains(lowerWords, string(word)) {
			word[0] = unicode.ToUpper(word[0])
		}
		out.WriteString(string(word))
		start = end
	}
	return out.String()
}
