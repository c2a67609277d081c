package delivery

import (
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"

	"pgregory.net/rapid"

	"airegw/anpr"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// good is an address in each of 42 countries on every inhabited continent; the
// persons are invented.
var good = []Address{
	{ISO2: "IT", Recipient: "Bianca Rossi", Street: "Via dei Fori Imperiali", HouseNumber: "12/B", Unit: "int. 4", Postcode: "00184", Locality: "Roma", Region: "RM"},
	{ISO2: "SM", Recipient: "Bianca Rossi", Street: "Via Gino Giacomini", HouseNumber: "5", Postcode: "47890", Locality: "San Marino"},
	{ISO2: "CH", Recipient: "Luca Verdi", Street: "Bahnhofstrasse", HouseNumber: "21", Postcode: "8001", Locality: "Zürich"},
	{ISO2: "DE", Recipient: "Luca Verdi", CareOf: "Familie Weiß", Street: "Invalidenstraße", HouseNumber: "116", Postcode: "10115", Locality: "Berlin"},
	{ISO2: "AT", Recipient: "Anna Neri", Street: "Kärntner Ring", HouseNumber: "9", Unit: "Top 3", Postcode: "1010", Locality: "Wien"},
	{ISO2: "FR", Recipient: "Anna Neri", Street: "rue de Varenne", HouseNumber: "51", Postcode: "75007", Locality: "Paris"},
	{ISO2: "MC", Recipient: "Anna Neri", Street: "avenue de l'Annonciade", HouseNumber: "17", Postcode: "98000", Locality: "Monaco"},
	{ISO2: "BE", Recipient: "Marco Gallo", Street: "Rue de Livourne", HouseNumber: "38", Postcode: "1000", Locality: "Bruxelles"},
	{ISO2: "NL", Recipient: "Marco Gallo", Street: "Vijzelstraat", HouseNumber: "79", Postcode: "1017 HG", Locality: "Amsterdam"},
	{ISO2: "LU", Recipient: "Marco Gallo", Street: "rue Marie-Adélaïde", HouseNumber: "5", Postcode: "2128", Locality: "Luxembourg"},
	{ISO2: "GB", Recipient: "Elena Riva", Street: "Farringdon Street", HouseNumber: "83", Unit: "Flat 2", Postcode: "ec4a 4bl", Locality: "London"},
	{ISO2: "IE", Recipient: "Elena Riva", Street: "Northumberland Road", HouseNumber: "63", DependentLocality: "Ballsbridge", Postcode: "D04 V4X5", Locality: "Dublin 4"},
	{ISO2: "ES", Recipient: "Elena Riva", Street: "Calle de Lagasca", HouseNumber: "98", Postcode: "28006", Locality: "Madrid", Region: "Madrid"},
	{ISO2: "PT", Recipient: "Paolo Conti", Street: "Largo Conde de Pombeiro", HouseNumber: "6", Postcode: "1150-100", Locality: "Lisboa"},
	{ISO2: "MT", Recipient: "Paolo Conti", Street: "Triq Vilhena", HouseNumber: "5", Postcode: "FRN 1040", Locality: "Floriana"},
	{ISO2: "GR", Recipient: "Paolo Conti", Street: "Leoforos Vasilissis Sofias", HouseNumber: "12", Postcode: "106 74", Locality: "Athina"},
	{ISO2: "DK", Recipient: "Sara Longo", Street: "Gammel Vartov Vej", HouseNumber: "7", Postcode: "2900", Locality: "Hellerup"},
	{ISO2: "SE", Recipient: "Sara Longo", Street: "Oakhill", HouseNumber: "1", Postcode: "115 21", Locality: "Stockholm"},
	{ISO2: "PL", Recipient: "Sara Longo", Street: "Plac Dąbrowskiego", HouseNumber: "6", Postcode: "00-055", Locality: "Warszawa"},
	{ISO2: "HU", Recipient: "Sara Longo", Street: "Stefánia út", HouseNumber: "95", Postcode: "1143", Locality: "Budapest"},
	{ISO2: "RO", Recipient: "Ivo Marin", Street: "Strada Henri Coandă", HouseNumber: "9", Postcode: "010667", Locality: "București"},
	{ISO2: "HR", Recipient: "Ivo Marin", Street: "Meduliceva", HouseNumber: "22", Postcode: "10000", Locality: "Zagreb"},
	{ISO2: "TR", Recipient: "Ivo Marin", Street: "Tomtom Kaptan Sokak", HouseNumber: "5", DependentLocality: "Beyoğlu", Postcode: "34433", Locality: "İstanbul"},
	{ISO2: "US", Recipient: "Grace Ferri", Street: "Park Avenue", HouseNumber: "690", Unit: "Apt 7C", Postcode: "10065", Locality: "New York", Region: "NY"},
	{ISO2: "CA", Recipient: "Grace Ferri", Street: "Slater Street", HouseNumber: "275", Postcode: "K1P 5H9", Locality: "Ottawa", Region: "ON"},
	{ISO2: "MX", Recipient: "Diego Sala", Street: "Paseo de las Palmas", HouseNumber: "1994", DependentLocality: "Lomas de Chapultepec", Postcode: "11000", Locality: "Ciudad de México", Region: "CDMX"},
	{ISO2: "AR", Recipient: "Diego Sala", Street: "Reconquista", HouseNumber: "572", Unit: "2º B", Postcode: "C1003ABL", Locality: "Buenos Aires"},
	{ISO2: "BR", Recipient: "Diego Sala", Street: "Avenida Paulista", HouseNumber: "1963", DependentLocality: "Bela Vista", Postcode: "01311-300", Locality: "São Paulo", Region: "SP"},
	{ISO2: "CL", Recipient: "Diego Sala", Street: "Calle Clemente Fabres", HouseNumber: "1050", DependentLocality: "Providencia", Postcode: "7500804", Locality: "Santiago"},
	{ISO2: "CO", Recipient: "Diego Sala", Street: "Calle 93B", HouseNumber: "9-92", Postcode: "110221", Locality: "Bogotá", Region: "D.C."},
	{ISO2: "UY", Recipient: "Diego Sala", Street: "José Benito Lamas", HouseNumber: "2857", Postcode: "11300", Locality: "Montevideo"},
	{ISO2: "VE", Recipient: "Diego Sala", Street: "Avenida Mohedano", HouseNumber: "12", Postcode: "1060", Locality: "Caracas", Region: "Miranda"},
	{ISO2: "PE", Recipient: "Diego Sala", Street: "Avenida Gregorio Escobedo", HouseNumber: "298", DependentLocality: "Jesús María", Postcode: "15072", Locality: "Lima"},
	{ISO2: "AU", Recipient: "Nina Costa", Street: "Grey Street", HouseNumber: "12", Postcode: "2600", Locality: "Deakin", Region: "ACT"},
	{ISO2: "NZ", Recipient: "Nina Costa", Street: "Grant Road", HouseNumber: "34-38", DependentLocality: "Thorndon", Postcode: "6011", Locality: "Wellington"},
	{ISO2: "ZA", Recipient: "Nina Costa", Street: "George Avenue", HouseNumber: "796", DependentLocality: "Arcadia", Postcode: "0083", Locality: "Pretoria"},
	{ISO2: "EG", Recipient: "Nina Costa", Street: "Abd El Rahman Fahmy", HouseNumber: "15", DependentLocality: "Garden City", Postcode: "11519", Locality: "Cairo"},
	{ISO2: "TN", Recipient: "Nina Costa", Street: "rue Gamal Abdel Nasser", HouseNumber: "3", Postcode: "1000", Locality: "Tunis"},
	{ISO2: "IN", Recipient: "Tara Greco", Street: "Chandragupta Marg", HouseNumber: "50-E", DependentLocality: "Chanakyapuri", Postcode: "110021", Locality: "New Delhi"},
	{ISO2: "CN", Recipient: "Tara Greco", Street: "Sanlitun Dong Er Jie", HouseNumber: "2", DependentLocality: "Chaoyang", Postcode: "100600", Locality: "Beijing"},
	{ISO2: "JP", Recipient: "Tara Greco", StreetLine: "2-5-4 Mita", DependentLocality: "Minato-ku", Postcode: "108-8302", Locality: "Tokyo"},
	{ISO2: "HK", Recipient: "Tara Greco", Street: "Harbour Road", HouseNumber: "18", Unit: "Room 3201", DependentLocality: "Wanchai", Locality: "Hong Kong"},
	{ISO2: "KZ", Recipient: "Tara Greco", Street: "Kosmonavtov", HouseNumber: "62", Postcode: "010000", Locality: "Astana"},
}

func TestLabelsOfFortyCountriesAreAsTheGoldenFile(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	var b strings.Builder
	for _, a := range good {
		if ps := Validate(a); ps != nil {
			t.Errorf("%s: %v", a.ISO2, ps)
		}
		lines, err := Label(a)
		if err != nil {
			t.Errorf("%s: %v", a.ISO2, err)
			continue
		}
		seen[a.ISO2] = true
		b.WriteString("[" + a.ISO2 + "]\n" + strings.Join(lines, "\n") + "\n\n")
	}
	if len(seen) < 40 {
		t.Fatalf("only %d countries", len(seen))
	}
	golden := filepath.Join("testdata", "labels.golden")
	if *update {
		if err := os.WriteFile(golden, []byte(b.String()), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if string(want) != b.String() {
		t.Errorf("labels differ from %s; look at them and run with -update:\n%s", golden, b.String())
	}
}

func TestEachBadAddressIsRefusedForItsOwnReason(t *testing.T) {
	t.Parallel()
	base := good[3] // Berlin
	for name, c := range map[string]struct {
		change      func(*Address)
		code, field string
	}{
		"country unknown":            {func(a *Address) { a.ISO2 = "XX" }, CodeAddressCountry, "iso2"},
		"country in small letters":   {func(a *Address) { a.ISO2 = "de" }, CodeAddressCountry, "iso2"},
		"no recipient":               {func(a *Address) { a.Recipient = " " }, CodeAddressMissing, "recipient"},
		"no street":                  {func(a *Address) { a.Street = "" }, CodeAddressMissing, "street"},
		"no locality":                {func(a *Address) { a.Locality = "" }, CodeAddressMissing, "locality"},
		"no postcode":                {func(a *Address) { a.Postcode = "" }, CodeAddressMissing, "postcode"},
		"postcode of another state":  {func(a *Address) { a.Postcode = "SW1A 1AA" }, CodeAddressPostcode, "postcode"},
		"postcode one digit short":   {func(a *Address) { a.Postcode = "1011" }, CodeAddressPostcode, "postcode"},
		"no number":                  {func(a *Address) { a.HouseNumber = "" }, CodeAddressNumber, "house_number"},
		"street is the city":         {func(a *Address) { a.Street = "BERLÍN" }, CodeAddressStreetIsCity, "street"},
		"post-office box":            {func(a *Address) { a.Street = "Postfach" }, CodeAddressBox, "street"},
		"box in the unit":            {func(a *Address) { a.Unit = "P.O. Box 12" }, CodeAddressBox, "unit"},
		"line break":                 {func(a *Address) { a.Street = "Weg\nItalia" }, CodeAddressControl, "street"},
		"direction override":         {func(a *Address) { a.Locality = "Ber\u202elin" }, CodeAddressControl, "locality"},
		"invalid UTF-8":              {func(a *Address) { a.Locality = "Ber\xfflin" }, CodeAddressControl, "locality"},
		"house number beyond limit":  {func(a *Address) { a.HouseNumber = "1234567890" }, CodeAddressTooLong, "house_number"},
		"region beyond limit":        {func(a *Address) { a.Region = strings.Repeat("a", 31) }, CodeAddressTooLong, "region"},
		"punctuation for a street":   {func(a *Address) { a.Street = "---" }, CodeAddressNoText, "street"},
		"unknown written as street":  {func(a *Address) { a.Street = "sconosciuto" }, CodeAddressPlaceholder, "street"},
		"no state in the USA":        {func(a *Address) { *a = good[23]; a.Region = "" }, CodeAddressMissing, "region"},
		"Italian postcode too short": {func(a *Address) { *a = good[0]; a.Postcode = "0184" }, CodeAddressPostcode, "postcode"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := base
			c.change(&a)
			bad := fatal(Validate(a))
			if len(bad) != 1 || bad[0].Code != c.code || bad[0].Field != c.field {
				t.Errorf("got %+v, want only %s on %s", bad, c.code, c.field)
			}
			if _, err := Label(a); err == nil {
				t.Error("a label was printed")
			}
		})
	}
}

func TestBoxesAreFoundInTheLanguagesOfTheNetwork(t *testing.T) {
	t.Parallel()
	for _, s := range []string{
		"P.O. Box 1", "PO BOX 77", "Postfach 12 34", "Boîte postale 9", "BP 12", "B.P. 450", "Casella postale 3",
		"C.P. 88", "Apartado de Correos 5", "Apdo. 12", "Caixa Postal 33", "Casilla de Correo 19", "Casilla 19",
		"Private Bag X5", "GPO Box 4", "Postbus 20", "PMB 200", "Fermo posta", "Poste restante", "а/я 15", "General Delivery",
	} {
		if !poBox.MatchString(plain(s)) {
			t.Errorf("%q is not seen as a box", s)
		}
	}
	for _, s := range []string{
		"Box Hill Road", "Via Postumia", "Calle Apóstol", "Boxweg", "Rue de la Poste", "Postgasse", "Via Casella",
		"Piazza Posta", "Av. Caixa d'Aigua", "Casillas Street", "Bp Street Road",
	} {
		if poBox.MatchString(plain(s)) {
			t.Errorf("%q is taken for a box", s)
		}
	}
}

func TestANumberWithinTheStreetNameIsEnough(t *testing.T) {
	t.Parallel()
	a := good[3]
	a.Street, a.HouseNumber = "INVALIDENSTRASSE 116", ""
	if ps := Validate(a); ps != nil {
		t.Errorf("got %v", ps)
	}
}

func TestACountryWithoutItsOwnFormatIsLabelledByTheGenericOne(t *testing.T) {
	t.Parallel()
	if HasFormat("FJ") {
		t.Fatal("choose another country for this test")
	}
	a := Address{ISO2: "FJ", Recipient: "Tara Greco", Street: "Victoria Parade", Locality: "Suva"}
	ps := Validate(a)
	if len(ps) != 1 || ps[0].Code != CodeAddressNumber || ps[0].Fatal {
		t.Errorf("a missing number is a doubt where the format is not known, got %v", ps)
	}
	lines, err := Label(a)
	if err != nil || len(lines) != 4 {
		t.Errorf("got %v, %v", lines, err)
	}
}

func TestGreekAndCyrillicLinesAreFollowedByLatinOnes(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		a    Address
		want string
	}{
		{
			Address{ISO2: "GR", Recipient: "Paolo Conti", Street: "Λεωφόρος Βασιλίσσης Σοφίας", HouseNumber: "12", Postcode: "106 74", Locality: "Αθήνα"},
			"Paolo Conti|Λεωφόρος Βασιλίσσης Σοφίας 12|Leoforos Vasilissis Sofias 12|106 74 ΑΘΉΝΑ|106 74 ATHINA|GRECIA - GREECE",
		},
		{
			Address{ISO2: "BG", Recipient: "Paolo Conti", Street: "улица Шипка", HouseNumber: "2", Postcode: "1000", Locality: "София"},
			"Paolo Conti|улица Шипка 2|ulitsa Shipka 2|1000 СОФИЯ|1000 SOFIYA|BULGARIA",
		},
		{
			Address{ISO2: "UA", Recipient: "Paolo Conti", Street: "вулиця Ярославів Вал", HouseNumber: "32", Postcode: "01901", Locality: "Київ"},
			"Paolo Conti|вулиця Ярославів Вал, 32|vulitsya Yaroslaviv Val, 32|КИЇВ|KIIV|01901|UCRAINA - UKRAINE",
		},
	} {
		if ps := Validate(c.a); ps != nil {
			t.Errorf("%s: %v", c.a.ISO2, ps)
		}
		lines, err := Label(c.a)
		if got := strings.Join(lines, "|"); err != nil || got != c.want {
			t.Errorf("%s: %v\ngot  %s\nwant %s", c.a.ISO2, err, got, c.want)
		}
	}
}

func TestAScriptWithoutATableIsADoubtNotARefusal(t *testing.T) {
	t.Parallel()
	a := Address{ISO2: "JP", Recipient: "Tara Greco", StreetLine: "三田2-5-4", Postcode: "108-8302", Locality: "東京"}
	ps := Validate(a)
	if len(ps) != 2 || ps[0].Code != CodeAddressNotLatin || ps[0].Fatal {
		t.Errorf("got %v", ps)
	}
	if lines, err := Label(a); err != nil || len(lines) != 4 {
		t.Errorf("got %v %v", lines, err)
	}
}

func TestEveryFormatIsOfAKnownCountryAndAcceptsItsOwnExample(t *testing.T) {
	t.Parallel()
	if n := len(formats()); n < 60 {
		t.Fatalf("only %d formats", n)
	}
	for iso, f := range formats() {
		if _, ok := anpr.StateByISO2(iso); !ok && iso != italy {
			t.Errorf("%s is in no registry", iso)
		}
		if !f.noPostcode && !f.postcode.MatchString(f.example) {
			t.Errorf("%s: %s does not match its own example %s", iso, f.postcode, f.example)
		}
		if f.noPostcode && f.needsPostcode {
			t.Errorf("%s needs a postcode it does not use", iso)
		}
		all := strings.Join(f.lines, "/")
		if !strings.Contains(all, "{A}") || !strings.Contains(all, "{L}") || (f.needsRegion && !f.usesRegion) || (!f.noPostcode && !strings.Contains(all, "{Z}")) {
			t.Errorf("%s: lines %q leave out what they need", iso, all)
		}
	}
}

func TestALabelHoldsEverythingTheAddressHoldsForEveryCountry(t *testing.T) {
	t.Parallel()
	var isos []string
	for _, s := range anpr.States() {
		if s.ISO2 != "" {
			isos = append(isos, s.ISO2)
		}
	}
	isos = append(isos, italy)
	word := rapid.StringMatching(`[A-Z][a-zà-ü]{2,12}( [A-Z][a-z]{2,8})?`)
	rapid.Check(t, func(t *rapid.T) {
		a := Address{
			ISO2: rapid.SampledFrom(isos).Draw(t, "iso2"), Recipient: word.Draw(t, "name"), Street: word.Draw(t, "street"),
			HouseNumber: rapid.StringMatching(`[1-9][0-9]{0,3}[A-F]?`).Draw(t, "number"),
			Locality:    word.Draw(t, "city"), Region: rapid.StringMatching(`([A-Z]{2,6})?`).Draw(t, "region"),
			DependentLocality: rapid.StringMatching(`([A-Z][a-z]{3,9})?`).Draw(t, "district"),
		}
		if f := formatOf(a.ISO2); !f.generic && !f.noPostcode {
			a.Postcode = f.example
		}
		lines, err := Label(a)
		if err != nil {
			if fatal(Validate(a)) == nil {
				t.Fatalf("refused without a reason: %v", err)
			}
			return
		}
		text := strings.ToUpper(strings.Join(lines, "\n"))
		for _, part := range []string{a.Recipient, a.Street, a.HouseNumber, a.Locality, a.Region, a.DependentLocality, a.Postcode} {
			if !strings.Contains(text, strings.ToUpper(part)) {
				t.Fatalf("%q is not on the label:\n%s", part, text)
			}
		}
	})
}

func FuzzAddress(f *testing.F) {
	for _, a := range good {
		b, err := json.Marshal(a)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Add([]byte(`{"iso2":"DE","recipient":"a\u0000","street":"\ud800"}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		var a Address
		if json.Unmarshal(b, &a) != nil {
			return
		}
		bad := fatal(Validate(a))
		lines, err := Label(a)
		if (err == nil) != (bad == nil) {
			t.Fatalf("Validate says %v, Label says %v", bad, err)
		}
		for _, l := range lines {
			if l == "" || hasControl(l) || !utf8.ValidString(l) || strings.TrimSpace(l) != l {
				t.Fatalf("bad line %q", l)
			}
		}
	})
}

func TestAMissingMemberLeavesNoGapInALine(t *testing.T) {
	t.Parallel()
	for iso, f := range formats() {
		a := Address{ISO2: iso, Recipient: "Tara Greco", Street: "Main", HouseNumber: "1", Locality: "Somewhere", Postcode: f.example}
		if f.needsRegion {
			a.Region = "NY"
		}
		lines, err := Label(a)
		if err != nil {
			continue
		}
		for _, l := range lines {
			if l != tidy(l) && iso != "CA" { // Canada Post wants two spaces before the postcode
				t.Errorf("%s: %q", iso, l)
			}
		}
	}
}
