package anprsim

import (
	"strings"

	"airegw/testharness/sim"
)

// official are the fictional subjects that ANPR publishes for its test
// environment (specs/anpr-pdnd-modi.md §1.9): integrators try these first. None
// is known to be in AIRE. Codes and ids are published; names and addresses,
// where nothing is published, are made up to fit the code.
var official = []struct{ cf, id, surname, name, status string }{
	{"STTSGT90A01H501J", "AF41450AS", "SETTIMO", "SOGGETTO", sim.StatusResident},
	{"NNOSGT90A01H501I", "EV45959WW", "NONO", "SOGGETTO", sim.StatusResident},
	{"TTVSGT90A01H501H", "TK44563XB", "OTTAVO", "SOGGETTO", sim.StatusResident},
	{"PRVGNN90R10H501Q", "UK79569LF", "PROVA", "GIANNI", sim.StatusResident},
	{"NRECLD90R50H501G", "JF28000UG", "NERI", "CLAUDIA", sim.StatusResident},
	{"NDRCPL01A01H501S", "LB27131ED", "ANDREI", "CUPOLA", sim.StatusResident},
	{"NDRMRC02B02H501D", "RE03592S1", "ANDREI", "MARCO", sim.StatusResident},
	{"TDSPRM00R10A952C", "DU58740Y1", "TEDESCO", "PRIMO", sim.StatusResident},
	{"SLVDNN00R50L424L", "DJ02468WZ", "SALVO", "DIANNA", sim.StatusResident},
	{"TSDSND90R10A952M", "GS66689VV", "TESIDO", "SANDO", sim.StatusResident},
	{"PRVCCL60B50G393U", "OR69233LN", "PROVA", "CECILIA", sim.StatusCancelled}, // cancelled (#4951)
	{"DPLPRM90R10H501I", "ZD00001AA", "DUPLO", "PRIMO", sim.StatusResident},    // duplicate (#4979): two ids
	{"DPLPRM90R10H501I", "ZD00002AA", "DUPLO", "PRIMO", sim.StatusResident},
}

var officialBirth = map[string]sim.Birth{
	"H501": {ComuneName: "ROMA", ComuneISTAT: "058091", Province: "RM"},
	"A952": {ComuneName: "BOLZANO", ComuneISTAT: "021008", Province: "BZ"},
	"L424": {ComuneName: "TRIESTE", ComuneISTAT: "032006", Province: "TS"},
	"G393": {ComuneName: "PAVULLO NEL FRIGNANO", ComuneISTAT: "036030", Province: "MO"},
}

// OfficialSubjects are the published fictional subjects, as residents of Rome
// but for the cancelled one. They are in every simulator that is not given a
// population of its own.
func OfficialSubjects() []sim.Person {
	out := make([]sim.Person, 0, len(official))
	for _, o := range official {
		birth := officialBirth[o.cf[11:15]]
		sex, day := "M", o.cf[9:11]
		if day > "40" {
			sex, day = "F", string(day[0]-4)+day[1:]
		}
		century := "19"
		if o.cf[6:8] < "10" {
			century = "20"
		}
		// The letter of the month (DM 23 December 1976).
		month := strings.IndexByte("ABCDEHLMPRST", o.cf[8]) + 1
		birth.Date = century + o.cf[6:8] + "-" + string(rune('0'+month/10)) + string(rune('0'+month%10)) + "-" + day
		out = append(out, sim.Person{
			CF: o.cf, CFValidity: "1", IDANPR: o.id, Surname: o.surname, Name: o.name, Sex: sex, Birth: birth, Status: o.status,
			Citizenships: []sim.Citizenship{{State: "ITALIA", StateISTAT: "100"}},
			Address: sim.Address{
				Street: "VIA DI PROVA", Number: "1", Postcode: "00100", Locality: "ROMA", Province: "RM",
				State: "ITALIA", StateISTAT: "100", ISO2: "IT", ComuneISTAT: "058091",
			},
			ResidenceSince: "2015-01-01", Continent: "Europe", Scenario: "official", Note: "published fictional subject",
		})
	}
	return out
}

// superseding is another tax code of the same person: the last digit replaced
// as for omocodia, with its own check letter (DM 23 December 1976, art. 6).
func superseding(cf string) string {
	if len(cf) != 16 {
		return cf
	}
	b := []byte(cf)
	if i := strings.IndexByte("0123456789", b[14]); i >= 0 {
		b[14] = "LMNPQRSTUV"[i]
	} else {
		b[14] = '0' + byte(strings.IndexByte("LMNPQRSTUV", b[14]))
	}
	// Values of the odd places, counted from one, by digit or letter.
	odd := []int{1, 0, 5, 7, 9, 13, 15, 17, 19, 21, 2, 4, 18, 20, 11, 3, 6, 8, 12, 14, 16, 10, 22, 25, 24, 23}
	sum := 0
	for i, c := range b[:15] {
		v := int(c - 'A')
		if c <= '9' {
			v = int(c - '0')
		}
		if i%2 == 0 {
			v = odd[v]
		}
		sum += v
	}
	b[15] = byte('A' + sum%26)
	return string(b)
}
