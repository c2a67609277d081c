package sim

import (
	"encoding/csv"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestThePopulationCoversTheWorld(t *testing.T) {
	t.Parallel()
	citizens, states, continents := 0, map[string]int{}, map[string]int{}
	for _, p := range People() {
		if p.Status != StatusAIRE || p.Scenario == "duplicate" {
			continue
		}
		citizens++
		states[p.Address.ISO2]++
		continents[p.Continent]++
	}
	if citizens < 48 || len(states) < 32 {
		t.Errorf("%d AIRE citizens in %d states, want at least 48 in 32", citizens, len(states))
	}
	for _, c := range []string{"Africa", "Asia", "Europe", "North America", "Oceania", "South America"} {
		if continents[c] == 0 {
			t.Errorf("nobody lives in %s", c)
		}
	}
	for _, iso := range []string{"AR", "BR", "DE", "CH", "GB", "US", "AU", "FR"} {
		if states[iso] < 2 {
			t.Errorf("only %d people in %s", states[iso], iso)
		}
	}
}

func TestEveryPersonIsWellFormed(t *testing.T) {
	t.Parallel()
	id := regexp.MustCompile(`^[A-Z]{2}[0-9]{5}[A-Z0-9]{2}$`)
	seenID, seenCF := map[string]bool{}, map[string]int{}
	byCF := map[string]Person{}
	for _, p := range People() {
		byCF[p.CF] = p
	}
	for _, p := range People() {
		who := p.Surname + " " + p.Name
		if len(p.CF) != 16 || checkLetter(p.CF[:15]) != p.CF[15] {
			t.Errorf("%s: fiscal code %q", who, p.CF)
		}
		if !id.MatchString(p.IDANPR) || seenID[p.IDANPR] {
			t.Errorf("%s: register id %q", who, p.IDANPR)
		}
		seenID[p.IDANPR] = true
		seenCF[p.CF]++
		if p.Status == StatusAIRE && (p.AIRE == nil || p.Post == nil) {
			t.Errorf("%s: in AIRE without registration or post", who)
		}
		for field, limit := range map[string][2]any{
			"postcode": {p.Address.Postcode, 10}, "number": {p.Address.Number, 9},
			"street": {p.Address.Street, 100}, "province": {p.Address.Province, 30}, "surname": {p.Surname, 80},
		} {
			if n := utf8.RuneCountInString(limit[0].(string)); n > limit[1].(int) {
				t.Errorf("%s: %s is %d characters long", who, field, n)
			}
		}
		if !strings.HasSuffix(p.Email, "@example.org") || p.Note == "" || p.Scenario == "" {
			t.Errorf("%s: incomplete contact, note or scenario", who)
		}
		for _, parent := range p.Parents {
			if byCF[parent].Scenario != "parent" {
				t.Errorf("%s: parent %s is not in the list", who, parent)
			}
		}
	}
	for cf, n := range seenCF {
		if want := map[bool]int{true: 2, false: 1}[byCF[cf].Scenario == "duplicate"]; n != want {
			t.Errorf("fiscal code %s appears %d times", cf, n)
		}
	}
}

func TestTheSpecialSubjectsAreAllThere(t *testing.T) {
	t.Parallel()
	for _, tag := range []string{
		"deceased", "not-italian", "not-aire", "aire-cancelled-5", "aire-cancelled-6", "aire-cancelled-10",
		"cf-not-validated", "duplicate", "post-mismatch", "undeliverable", "no-first-name", "partial-birth-date",
		"minor-two-parents", "minor-two-countries", "minor-sole-parent", "over-70", "paper-card", "expiring-cie",
		"valid-cie-5-years", "theft", "second-request", "returned-parcel", "delivery-refused",
	} {
		if _, ok := PersonByScenario(tag); !ok {
			t.Errorf("nobody for %s", tag)
		}
	}
	child, _ := PersonByScenario("minor-two-countries")
	var homes []string
	for _, cf := range child.Parents {
		parent, _ := PersonByCF(cf)
		homes = append(homes, parent.Address.ISO2)
	}
	if len(homes) != 2 || homes[0] == homes[1] {
		t.Errorf("parents of the child live in %v", homes)
	}
}

func TestCallersCannotChangeThePopulation(t *testing.T) {
	t.Parallel()
	first := People()
	first[0].AIRE.ComuneName = "X"
	first[0].Citizenships[0].State = "X"
	again := People()
	if again[0].AIRE.ComuneName == "X" || again[0].Citizenships[0].State == "X" {
		t.Error("People hands out its own memory")
	}
}

func TestOperatorsBelongToKnownOffices(t *testing.T) {
	t.Parallel()
	var comuni, posts []string
	for _, o := range Operators() {
		if len(o.CF) != 16 || checkLetter(o.CF[:15]) != o.CF[15] || len(o.Station) > 20 {
			t.Errorf("operator %s: %+v", o.ID, o)
		}
		if o.OfficeKind == "comune" {
			comuni = append(comuni, o.OfficeCode)
		} else {
			posts = append(posts, o.OfficeCode)
		}
	}
	for _, c := range []string{"H501", "F205", "F839", "L219", "C745", "A952"} {
		if !slices.Contains(comuni, c) {
			t.Errorf("no operator at comune %s", c)
		}
	}
	if len(posts) < 10 {
		t.Errorf("only %d operators at posts", len(posts))
	}
}

// The official tables are not in the repository: where they are at hand every
// code we typed is compared with them.
func TestCodesAgreeWithTheOfficialTables(t *testing.T) {
	t.Parallel()
	rows := func(name string) [][]string {
		dir := os.Getenv("AIREGW_SHARED")
		if dir == "" {
			dir = filepath.Join("..", "..", "..", "shared")
		}
		f, err := os.Open(filepath.Join(dir, "data", name))
		if err != nil {
			t.Logf("official table %s not at hand: codes not compared", name)
			return nil
		}
		defer f.Close()
		r := csv.NewReader(f)
		r.FieldsPerRecord = -1
		all, err := r.ReadAll()
		if err != nil {
			t.Fatal(err)
		}
		return all
	}
	if all := rows("consolati.csv"); all != nil {
		seat := map[string]string{}
		for _, r := range all {
			seat[r[0]] = r[3]
		}
		for code, want := range genPosts {
			if seat[code] != want {
				t.Errorf("post %s: table says %q, we say %q", code, seat[code], want)
			}
		}
	}
	if all := rows("comuni_attivi.csv"); all != nil {
		comune := map[string][3]string{}
		for _, r := range all {
			comune[r[1]] = [3]string{r[2], r[0], r[5]}
		}
		for code, want := range genComuni {
			if got := comune[code]; got != want && !strings.HasPrefix(got[0], want[0]) {
				t.Errorf("comune %s: table says %v, we say %v", code, got, want)
			}
		}
	}
	if all := rows("stati_esteri.csv"); all != nil {
		for _, want := range genStates {
			found := false
			for _, r := range all {
				found = found || r[0] == want.name && r[6] == want.istat && r[7] == want.z
			}
			if !found {
				t.Errorf("state %v is not in the table", want)
			}
		}
	}
	if all := rows("consolati_competenza_territoriale.csv"); all != nil {
		table41 := map[[2]string]bool{}
		for _, r := range all {
			table41[[2]string{r[0], r[2]}] = true
		}
		for _, p := range People() {
			if p.Post == nil {
				continue
			}
			if ok := table41[[2]string{p.Address.StateISTAT, p.Post.Code}]; ok == (p.Scenario == "post-mismatch") {
				t.Errorf("%s %s: post %s for state %s", p.Surname, p.Name, p.Post.Code, p.Address.StateISTAT)
			}
		}
	}
}
