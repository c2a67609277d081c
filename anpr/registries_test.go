package anpr_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/csv"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"airegw/anpr"
)

var update = flag.Bool("update", false, "write the golden files")

// sharedFile reads a reference file that is not part of the repository. It
// answers false, after saying so, where the reference folder is absent.
func sharedFile(t *testing.T, name string) ([]byte, bool) {
	t.Helper()
	folder := os.Getenv("AIREGW_SHARED")
	if folder == "" {
		folder = filepath.Join("..", "..", "shared")
	}
	text, err := os.ReadFile(filepath.Join(folder, "data", name))
	if err != nil {
		t.Logf("REFERENCE ABSENT: %s is not compared (set AIREGW_SHARED): %v", name, err)
		return nil, false
	}
	return text, true
}

// records reads a CSV reference file into maps by column.
func records(t *testing.T, text []byte) []map[string]string {
	t.Helper()
	reader := csv.NewReader(bytes.NewReader(bytes.TrimPrefix(text, []byte("\uFEFF"))))
	rows, err := reader.ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	var found []map[string]string
	for _, row := range rows[1:] {
		record := map[string]string{}
		for i, cell := range row {
			record[rows[0][i]] = strings.ReplaceAll(cell, "''", "'")
		}
		found = append(found, record)
	}
	return found
}

func TestTheGeneratedTablesMatchTheirHeader(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"comuni.tsv", "states.tsv"} {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		match := regexp.MustCompile(`(?s)# Licence notice: .*# rows: (\d+)\n# sha256: ([0-9a-f]{64})\n[^\n]+\n(.*)$`).FindSubmatch(text)
		if match == nil {
			t.Fatalf("%s: no licence notice, row count or digest", name)
		}
		if rows := bytes.Count(match[3], []byte("\n")); fmt.Sprint(rows) != string(match[1]) {
			t.Errorf("%s: %d rows, the header says %s", name, rows, match[1])
		}
		if digest := fmt.Sprintf("%x", sha256.Sum256(match[3])); digest != string(match[2]) {
			t.Errorf("%s: the digest of the rows is %s, the header says %s", name, digest, match[2])
		}
	}
}

func TestEveryOverlayRowHasASource(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("overlay_*.tsv")
	if err != nil || len(files) != 3 {
		t.Fatalf("the overlay files are %v (%v)", files, err)
	}
	for _, name := range files {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for number, line := range strings.Split(strings.TrimSuffix(string(text), "\n"), "\n") {
			if strings.HasPrefix(line, "#") {
				continue
			}
			if cells := strings.Split(line, "\t"); strings.TrimSpace(cells[len(cells)-1]) == "" {
				t.Errorf("%s:%d has no source", name, number+1)
			}
		}
	}
}

func TestTheComuniOfTodayAreCompleteAndTheirCodesAreTheirOwn(t *testing.T) {
	t.Parallel()
	comuni := anpr.Comuni()
	if len(comuni) != 7894 {
		t.Errorf("%d comuni of today; ISTAT counts 7,894 from 2026-02-21", len(comuni))
	}
	istat, catastale, regions := map[string]bool{}, map[string]bool{}, map[string]int{}
	for _, c := range comuni {
		if istat[c.ISTAT] || catastale[c.Catastale] {
			t.Errorf("%s %s: a code is repeated", c.ISTAT, c.Name)
		}
		istat[c.ISTAT], catastale[c.Catastale] = true, true
		regions[c.Region]++
		if len(c.ISTAT) != 6 || len(c.Catastale) != 4 || c.Name == "" || len(c.ProvinceCode) != 2 || !c.Current() {
			t.Errorf("incomplete: %+v", c)
		}
		if strings.ContainsAny(c.Name+c.AltName, "?/\uFFFD") {
			t.Errorf("mis-decoded or joined: %q %q", c.Name, c.AltName)
		}
	}
	if len(regions) != 20 {
		t.Errorf("the regions are %v", regions)
	}
}

func TestEveryComuneIsFoundByEachOfItsCodesAndNames(t *testing.T) {
	t.Parallel()
	for _, c := range anpr.Comuni() {
		for _, query := range []string{c.ISTAT, c.Catastale, strings.ToLower(c.Catastale)} {
			if found, _ := anpr.FindComuni(query); len(found) != 1 || found[0].ISTAT != c.ISTAT {
				t.Errorf("%q found %v, not %s alone", query, labels(found), c.Name)
			}
		}
		queries := []string{c.Name, strings.ToUpper(c.Name), strings.ReplaceAll(c.Name, "'", "’"), strings.ReplaceAll(c.Name, " ", "  ")}
		if c.AltName != "" {
			queries = append(queries, c.AltName)
		}
		for _, query := range queries {
			found, _ := anpr.FindComuni(query)
			if !slices.ContainsFunc(found, func(other anpr.Comune) bool { return other.ISTAT == c.ISTAT }) {
				t.Errorf("%q found %v, not %s %s", query, labels(found), c.ISTAT, c.Name)
			}
		}
	}
}

func labels(comuni []anpr.Comune) []string {
	var names []string
	for _, c := range comuni {
		names = append(names, c.Name+" "+c.ProvinceCode)
	}
	return names
}

func TestANameTypedBadlyFindsItsComuneAlone(t *testing.T) {
	t.Parallel()
	for query, want := range map[string]string{
		"citta di castello": "054013", "CITTA' DI CASTELLO": "054013", "054013": "054013", "54013": "054013", "C745": "054013", "c745": "054013",
		"cittadicastello": "054013", "Città  di   Castello ": "054013", "Citta di Castelo": "054013", "Città di Castello (PG)": "054013",
		"AGLIE'": "001001", "aglie": "001001", "aglié": "001001",
		"l'aquila": "066049", "L’Aquila": "066049", "laquila": "066049", "L AQUILA": "066049", "aquila": "066049",
		"reggio emilia": "035033", "REGGIO NELL EMILIA": "035033", "reggio calabria": "080063", "Reggio di Calabria": "080063",
		"Bozen": "021008", "bolzano": "021008", "Bolzano/Bozen": "021008", "Bolzano - Bozen": "021008", "Sankt Ulrich": "021061", "st ulrich": "021061",
		"Voels am Schlern": "021031", "Vols am Schlern": "021031", "Eppan an der Weinstrasse": "021004",
		"Monrupino": "032002", "Repentabor": "032002", "Duino Aurisina": "032001", "Devin Nabrežina": "032001", "Trst": "032006", "Sovodnje ob Soci": "031022",
		"S. Giovanni Rotondo": "071046", "S.Giovanni Rotondo": "071046", "S. Maria Capua Vetere": "061083", "Sta Maria Capua Vetere": "061083",
		"S.Arcangelo di Romagna": "099018", "Sant Arcangelo di Romagna": "099018", "S. Angelo Lodigiano": "098050",
		"mlano": "015146", "Milan": "015146", "Napoil": "063049", "frienze": "048017", "la spezia": "011015", "spezia": "011015",
		"corigliano rossano": "078157", "jonadi": "102017", "Ionadi": "102017", "montemagno monferrato": "005077", "Montagna sulla strada del vino": "021053",
		"Sèn Jan": "022250", "Doberdò": "031003", "venaria": "001292", "Castro BG": "016065", "Castro (LE)": "075096", "St Vincent": "007065", "saint-vincent": "007065",
		"Comune di Roma": "058091", "COMUNE DI SAN DORLIGO DELLA VALLE-OBCINA DOLINA": "032004", "Paternò": "087033",
		"041033": "099030", "104017": "090047",
	} {
		found, _ := anpr.FindComuni(query)
		if len(found) != 1 || found[0].ISTAT != want {
			t.Errorf("%q found %v, want %s alone", query, labels(found), want)
		}
	}
}

func TestHomonymsAreAllAnswered(t *testing.T) {
	t.Parallel()
	for _, query := range []string{"castro", "paterno", "livo"} {
		found, _ := anpr.FindComuni(query)
		if got := labels(found); len(got) != 2 {
			t.Errorf("%s found %v", query, got)
		}
	}
}

func TestNonsenseFindsNothing(t *testing.T) {
	t.Parallel()
	for _, query := range []string{"", "  ", "'", "zzzzqqqq", "999999", "Z998", "Q999", "0", "12345678", strings.Repeat("a", 5000), "\xff\xfe", "xx"} {
		if current, former := anpr.FindComuni(query); len(current)+len(former) != 0 {
			t.Errorf("%.20q found %v %v", query, labels(current), labels(former))
		}
	}
}

func TestAFormerComuneLeadsToTheComuniOfToday(t *testing.T) {
	t.Parallel()
	for query, want := range map[string]struct{ ended, successor string }{
		"Corigliano Calabro": {"2018-03-30", "078157"},
		"rossano":            {"2018-03-30", "078157"},
		"D005":               {"2018-03-30", "078157"},
		"contarina":          {"1994-12-31", "029052"},
		"quero":              {"2013-12-27", "025075"}, // through Quero Vas
		"Mosso Santa Maria":  {"1998-12-31", "096088"}, // through Mosso
		"castegnero":         {"2026-02-20", "024129"},
		"lirio":              {"2026-01-30", "018094"},
		"ronago":             {"2023-12-31", "013256"},
		"Ivano Fracena":      {"2016-07-01", "022240"},
	} {
		current, former := anpr.FindComuni(query)
		if len(current) != 0 || len(former) != 1 {
			t.Errorf("%q found %v and former %v", query, labels(current), labels(former))
			continue
		}
		if got := former[0].Ended.Format(time.DateOnly); got != want.ended || !slices.Equal(former[0].Successors, []string{want.successor}) {
			t.Errorf("%q: ended %s, successors %v; want %+v", query, got, former[0].Successors, want)
		}
	}
}

func TestEveryComuneCeasedSince1990HasASuccessorOfToday(t *testing.T) {
	t.Parallel()
	border := time.Date(1990, 1, 1, 0, 0, 0, 0, time.UTC)
	since := 0
	seen := map[string]bool{}
	for _, c := range anpr.FormerComuni() {
		if seen[c.Catastale] || c.Current() || len(c.Catastale) != 4 || c.Name == "" {
			t.Errorf("%+v", c)
		}
		seen[c.Catastale] = true
		if again, ok := anpr.ComuneByCatastale(c.Catastale); !ok || again.Current() {
			t.Errorf("%s %s is former and of today", c.Catastale, c.Name)
		}
		if c.Ended.Before(border) {
			continue
		}
		since++
		if len(c.Successors) == 0 {
			t.Errorf("%s %s ceased %s without successor", c.Catastale, c.Name, c.Ended.Format(time.DateOnly))
		}
		for _, code := range c.Successors {
			if heir, ok := anpr.ComuneByISTAT(code); !ok || !heir.Current() {
				t.Errorf("%s: the successor %s is no comune of today", c.Name, code)
			}
		}
	}
	if since < 348 {
		t.Errorf("only %d comuni ceased since 1990", since)
	}
}

// knownComuneDifferences are the rows in which our table is ahead of the
// register's archive of May 2023, each for the reason its overlay row gives.
var knownComuneDifferences = map[string]string{
	"013199": "ceased", "013228": "ceased", "018002": "ceased", "024044": "ceased", "024103": "ceased", "025002": "ceased", "025070": "ceased",
	"028022": "ceased", "028098": "ceased", "018082": "ceased", "024027": "ceased", "024071": "ceased",
	"013256": "new", "024128": "new", "025075": "new", "028108": "new", "024129": "new",
	"005077": "renamed", "006113": "renamed", "018026": "renamed", "068033": "renamed", "083100": "renamed", "102017": "renamed",
}

func TestTheComuniAgreeWithTheRegistersListButForWhatIsNewer(t *testing.T) {
	t.Parallel()
	text, ok := sharedFile(t, "comuni_attivi.csv")
	if !ok {
		return
	}
	theirs := map[string]map[string]string{}
	for _, record := range records(t, text) {
		theirs[record["istat"]] = record
	}
	got := map[string]string{}
	for _, c := range anpr.Comuni() {
		record := theirs[c.ISTAT]
		delete(theirs, c.ISTAT)
		switch {
		case record == nil:
			got[c.ISTAT] = "new"
		case record["catastale"] != c.Catastale || record["sigla_provincia"] != c.ProvinceCode:
			got[c.ISTAT] = fmt.Sprintf("%s %s against %v", c.Catastale, c.ProvinceCode, record)
		case !strings.EqualFold(record["nome"], c.Name):
			got[c.ISTAT] = "renamed"
		}
	}
	for code := range theirs {
		got[code] = "ceased"
	}
	for code, what := range got {
		if knownComuneDifferences[code] != what {
			t.Errorf("%s: %s, known: %q", code, what, knownComuneDifferences[code])
		}
	}
	for code, what := range knownComuneDifferences {
		if got[code] != what {
			t.Errorf("%s: known as %s, is %q", code, what, got[code])
		}
	}
}

func TestEveryCatastaleCodeOfTheRegistersArchiveSince1900Resolves(t *testing.T) {
	t.Parallel()
	text, ok := sharedFile(t, "ANPR_archivio_comuni.csv")
	if !ok {
		return
	}
	checked := 0
	for _, record := range records(t, text) {
		code := record["CODCATASTALE"]
		if code == "ND" || record["DATACESSAZIONE"] < "1900-01-01" {
			continue
		}
		checked++
		if _, found := anpr.ComuneByCatastale(code); !found {
			t.Errorf("%s %s (until %s) does not resolve", code, record["DENOMINAZIONE_IT"], record["DATACESSAZIONE"])
		}
	}
	if checked < 15000 {
		t.Errorf("only %d rows checked", checked)
	}
}

func TestForeignStatesHaveTheirCodesAndCurrentNames(t *testing.T) {
	t.Parallel()
	iso := 0
	for _, s := range anpr.States() {
		if s.ISO2 != "" {
			iso++
			if found, ok := anpr.StateByISO2(s.ISO2); !ok || found.NameIT != s.NameIT {
				t.Errorf("%s finds %q", s.ISO2, found.NameIT)
			}
			if s.ISO3 == "" {
				t.Errorf("%s has no ISO 3166-1 alpha-3 code", s.NameIT)
			}
		}
		if s.Kind == anpr.KindState && (s.ISTAT == "" || s.Z == "" || s.MAE == "") {
			t.Errorf("the state %s %s lacks a code: %+v", s.ISO2, s.NameIT, s)
		}
		if s.NameIT == "" || s.NameEN == "" || s.Kind == anpr.KindFormer {
			t.Errorf("%+v", s)
		}
	}
	if iso < 240 {
		t.Errorf("%d states and territories with an ISO code", iso)
	}
	for code, want := range map[string][2]string{
		"MK": {"Macedonia del Nord", "North Macedonia"}, "SZ": {"Eswatini", "Eswatini"}, "TR": {"Turchia", "Türkiye"},
		"GB": {"Regno Unito", "United Kingdom"}, "CH": {"Svizzera", "Switzerland"}, "MM": {"Myanmar", "Myanmar"},
	} {
		if s, _ := anpr.StateByISO2(code); s.NameIT != want[0] || s.NameEN != want[1] {
			t.Errorf("%s is %q, %q", code, s.NameIT, s.NameEN)
		}
	}
	codes := map[string]string{}
	for _, s := range anpr.States() {
		for _, code := range []string{"ISTAT " + s.ISTAT, "Z " + s.Z, "MAE " + s.MAE, "ISO3 " + s.ISO3} {
			if other, taken := codes[code]; taken && !strings.HasSuffix(code, " ") {
				t.Errorf("%s is of %s and of %s", code, other, s.NameIT)
			}
			codes[code] = s.NameIT
		}
	}
	if _, ok := anpr.StateByISO2("IT"); ok {
		t.Error("Italy is no foreign state")
	}
}

func TestStatesAreFoundByCodeAndByNameTypedBadly(t *testing.T) {
	t.Parallel()
	for query, want := range map[string]string{
		"CH": "CH", "che": "CH", "Z133": "CH", "241": "CH", "svizzera": "CH", "SVIZERA": "CH", "Switzerland": "CH",
		"gran bretagna": "GB", "inghilterra": "GB", "usa": "US", "stati uniti": "US", "costa davorio": "CI", "Cote d'Ivoire": "CI",
		"Olanda": "NL", "Macedonia": "MK", "swaziland": "SZ", "turkiye": "TR", "Turkey": "TR", "kosovo": "XK", "taiwan": "TW", "363": "TW", "324": "PS",
		"520": "GL", "934": "GL", "Z113": "GI", "218": "GI", "910": "GI", "Z723": "PF",
	} {
		if found := anpr.FindStates(query); len(found) != 1 || found[0].ISO2 != want {
			t.Errorf("%q found %+v", query, found)
		}
	}
	if s, ok := anpr.StateByZ("Z118"); !ok || s.Kind != anpr.KindFormer {
		t.Errorf("Yugoslavia: %+v", s)
	}
	if s, ok := anpr.StateByISTAT("999"); !ok || s.Kind != anpr.KindSpecial {
		t.Errorf("stateless: %+v", s)
	}
}

func TestTheStatesAgreeWithTheRegistersTable(t *testing.T) {
	t.Parallel()
	text, ok := sharedFile(t, "stati_esteri.csv")
	if !ok {
		return
	}
	for _, record := range records(t, text) {
		if record["iso_alpha2"] == "IT" {
			continue
		}
		s, found := anpr.StateByISTAT(record["cod_istat"])
		if !found {
			t.Errorf("%s: the code %s is unknown", record["denominazione_anpr"], record["cod_istat"])
			continue
		}
		iso2 := strings.Replace(record["iso_alpha2"], "UK", "GB", 1)
		if s.ISTAT != record["cod_istat"] || s.ISO2 != iso2 || s.MAE != record["cod_mae"] {
			t.Errorf("%v is %+v", record, s)
		}
		if z := record["cod_catastale_at"]; z != "" && s.Z != z {
			t.Errorf("%s: Z code %s, the register has %s", s.NameIT, s.Z, z)
		}
	}
}

func FuzzFindComuni(f *testing.F) {
	for _, seed := range []string{"citta di castello", "054013", "C745", "S. Giovanni", "s s s s s s s s", "Bozen", "\xff", "'", "Castro (LE)", "x"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, query string) {
		current, former := anpr.FindComuni(query)
		for _, c := range current {
			if !c.Current() {
				t.Fatalf("%q: %s is former", query, c.Name)
			}
		}
		for _, c := range former {
			if c.Current() {
				t.Fatalf("%q: %s is of today", query, c.Name)
			}
		}
		anpr.FindStates(query)
	})
}
