package anpr_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"airegw/anpr"
)

// archiveOf writes comuni in the format of the register's archive.
func archiveOf(comuni []anpr.Comune, change func(line int, cells map[string]string) bool) []byte {
	var out bytes.Buffer
	out.WriteString("\uFEFF\"" + strings.Join(anpr.ComuniHeader, `","`) + "\"\n")
	for i, c := range comuni {
		cells := map[string]string{
			"ID": fmt.Sprint(i), "DATAISTITUZIONE": "1861-03-17", "DATACESSAZIONE": "9999-12-31", "CODISTAT": c.ISTAT, "CODCATASTALE": c.Catastale,
			"DENOMINAZIONE_IT": strings.ToUpper(strings.ReplaceAll(c.Name, "'", "''")), "STATO": "A", "SIGLAPROVINCIA": c.ProvinceCode,
		}
		if change != nil && !change(i, cells) {
			continue
		}
		var row []string
		for _, column := range anpr.ComuniHeader {
			row = append(row, `"`+cells[column]+`"`)
		}
		out.WriteString(strings.Join(row, ",") + "\n")
	}
	return out.Bytes()
}

func TestAnArchiveEqualToOursChangesNothing(t *testing.T) {
	t.Parallel()
	report, err := anpr.ImportComuni(bytes.NewReader(archiveOf(anpr.Comuni(), nil)))
	if err != nil || len(report.Changes) != 0 || report.Current != len(anpr.Comuni()) {
		t.Errorf("%+v %v", report, err)
	}
}

func TestAnImportReportsWhatWasAddedRenamedCeasedAndRecoded(t *testing.T) {
	t.Parallel()
	report, err := anpr.ImportComuni(bytes.NewReader(archiveOf(anpr.Comuni(), func(line int, cells map[string]string) bool {
		switch line {
		case 10:
			cells["DENOMINAZIONE_IT"] = "NUOVO NOME DELL''ALTO"
		case 20:
			cells["STATO"], cells["DATACESSAZIONE"] = "C", "2026-12-31"
		case 30:
			cells["CODISTAT"] = "999001"
		case 40:
			cells["CODISTAT"], cells["CODCATASTALE"], cells["DENOMINAZIONE_IT"] = "999002", "M999", "COMUNE NUOVO"
		}
		return true
	})))
	if err != nil {
		t.Fatal(err)
	}
	comuni := anpr.Comuni()
	var got []string
	for _, change := range report.Changes {
		got = append(got, strings.Join([]string{change.Kind, change.ISTAT, change.Name, change.Was, change.Ended}, "|"))
	}
	want := []string{
		"absent|" + comuni[40].ISTAT + "|" + comuni[40].Name + "||",
		"added|999002|Comune Nuovo||",
		"ceased|" + comuni[20].ISTAT + "|" + comuni[20].Name + "||2026-12-31",
		"recoded|999001|" + comuni[30].Name + "|" + comuni[30].ISTAT + " " + comuni[30].ProvinceCode + "|",
		"renamed|" + comuni[10].ISTAT + "|Nuovo Nome dell'Alto|" + comuni[10].Name + "|",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %q\nwant %q", got, want)
	}
	var overlay bytes.Buffer
	if err := report.WriteOverlay(&overlay); err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{
		"999002\tadd\tM999|Comune Nuovo|" + comuni[40].ProvinceCode + "|?\t",
		comuni[20].ISTAT + "\tceased\t2026-12-31\t",
		comuni[30].ISTAT + "\trecoded\t999001|" + comuni[30].ProvinceCode + "\t",
		comuni[10].ISTAT + "\tname\tNuovo Nome dell'Alto\t",
	} {
		if !strings.Contains(overlay.String(), line) {
			t.Errorf("the overlay lacks %q", line)
		}
	}
}

func TestABadArchiveIsRefusedWholeWithLineAndColumn(t *testing.T) {
	t.Parallel()
	good := archiveOf(anpr.Comuni(), nil)
	with := func(column, value string) []byte {
		return archiveOf(anpr.Comuni(), func(line int, cells map[string]string) bool {
			if line == 5 {
				cells[column] = value
			}
			return true
		})
	}
	for name, c := range map[string]struct {
		file []byte
		want anpr.ImportError
	}{
		"nothing":              {nil, anpr.ImportError{Code: anpr.ImportHeader, Line: 1}},
		"another table":        {[]byte("a,b\n1,2\n"), anpr.ImportError{Code: anpr.ImportHeader, Line: 1}},
		"not UTF-8":            {append(slices.Clone(good), 0xff), anpr.ImportError{Code: anpr.ImportEncoding}},
		"cut inside a line":    {good[:len(good)-40], anpr.ImportError{Code: anpr.ImportSyntax, Line: len(anpr.Comuni()) + 1}},
		"cut between lines":    {archiveOf(anpr.Comuni()[:5000], nil), anpr.ImportError{Code: anpr.ImportIncomplete, Value: "5000"}},
		"an impossible date":   {with("DATAISTITUZIONE", "2024-02-30"), anpr.ImportError{Code: anpr.ImportValue, Line: 7, Field: "DATAISTITUZIONE", Value: "2024-02-30"}},
		"a short code":         {with("CODISTAT", "1001"), anpr.ImportError{Code: anpr.ImportValue, Line: 7, Field: "CODISTAT", Value: "1001"}},
		"no catastale code":    {with("CODCATASTALE", "ND"), anpr.ImportError{Code: anpr.ImportValue, Line: 7, Field: "CODCATASTALE", Value: "ND"}},
		"an unknown status":    {with("STATO", "X"), anpr.ImportError{Code: anpr.ImportValue, Line: 7, Field: "STATO", Value: "X"}},
		"ceased without a day": {with("STATO", "C"), anpr.ImportError{Code: anpr.ImportValue, Line: 7, Field: "DATACESSAZIONE", Value: "9999-12-31"}},
		"a code given twice":   {with("CODCATASTALE", anpr.Comuni()[0].Catastale), anpr.ImportError{Code: anpr.ImportRepeated, Line: 7, Field: "CODCATASTALE", Value: anpr.Comuni()[0].Catastale}},
	} {
		report, err := anpr.ImportComuni(bytes.NewReader(c.file))
		var refused *anpr.ImportError
		if report != nil || !errors.As(err, &refused) || *refused != c.want {
			t.Errorf("%s: %v %v, want %v", name, report, err, c.want)
		}
	}
}

func TestTheRegistersArchiveOfMay2023BringsNothingNew(t *testing.T) {
	t.Parallel()
	text, ok := sharedFile(t, "ANPR_archivio_comuni.csv")
	if !ok {
		return
	}
	report, err := anpr.ImportComuni(bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	fmt.Fprintf(&out, "rows %d, current %d, newest fact %s\n", report.Rows, report.Current, report.Newest)
	for _, c := range report.Changes {
		fmt.Fprintf(&out, "%s %s %s %s %s was %q ended %q\n", c.Kind, c.ISTAT, c.Catastale, c.Name, c.Province, c.Was, c.Ended)
	}
	golden := filepath.Join("testdata", "import_archive_2023-05.golden")
	if *update {
		if err := os.WriteFile(golden, []byte(out.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if out.String() != string(want) {
		t.Errorf("the report changed (run with -update and read the difference):\n%s", out.String())
	}
	for _, kind := range []string{anpr.ChangeAdded, anpr.ChangeRenamed, anpr.ChangeRecoded, anpr.ChangeCeased, anpr.ChangeFormer} {
		if report.Counts[kind] != 0 {
			t.Errorf("%d %s", report.Counts[kind], kind)
		}
	}
}

func FuzzImportComuni(f *testing.F) {
	f.Add(archiveOf(anpr.Comuni()[:3], nil))
	f.Add([]byte("\uFEFFID,DATAISTITUZIONE\n"))
	f.Add([]byte(strings.Join(anpr.ComuniHeader, ",") + "\n\"a"))
	f.Fuzz(func(t *testing.T, file []byte) {
		report, err := anpr.ImportComuni(bytes.NewReader(file))
		if (report == nil) == (err == nil) {
			t.Fatalf("%v %v", report, err)
		}
	})
}
