package anprsim

import "airegw/testharness/sim"

// The faults, one per row of specs/anpr-pdnd-modi.md §8 that is a behaviour of
// the register, beside the transport faults of the kit. The operation of a
// rule is token, a service code (C030 …) or CIE; the match is the tax code
// asked for, so that every fault can be set for one person with
// {"name":…,"match":CF,"probability":1}.
const (
	// Front appliance and gateway.
	FaultFlap           = "flap"
	FaultAPIUnavailable = "api-unavailable"
	FaultHTMLError      = "html-error"
	FaultNotFoundFront  = "404-notfound"
	FaultSpurious429    = "spurious-429"
	FaultKeyPropagation = "key-propagation-delay"
	FaultMaintenance    = "maintenance"
	// PDND.
	FaultPurposeSuspended   = "purpose-suspended"
	FaultAgreementSuspended = "agreement-suspended"
	FaultStrictClaims       = "strict-claims"
	FaultToken429           = "token-429"
	FaultToken500           = "token-500"
	// The application.
	FaultOutage        = "outage"
	FaultApp999        = "app-999"
	FaultEN122Old      = "en122-old"
	FaultWarnInErrors  = "warn-in-errors"
	FaultOddOpID       = "odd-op-id"
	FaultStrictOpID    = "strict-opid"
	FaultStrictAudit   = "strict-audit-age"
	FaultBadEncoding   = "bad-encoding"
	FaultUnknownFields = "unknown-fields"
	// The record.
	FaultNotFound      = "not-found"
	FaultAIREMissing   = "aire-missing"
	FaultDuplicate     = "duplicate"
	FaultOmocodia      = "omocodia"
	FaultMerged        = "merged"
	FaultDoubleReg     = "double-registration"
	FaultCFUnvalidated = "cf-unvalidated"
	FaultNoCF          = "no-cf"
	FaultCFSuperseded  = "cf-superseded"
	FaultTruncate      = "truncate36"
	FaultTranslit      = "translit"
	FaultDiacritics    = "diacritics"
	FaultAddrMess      = "addr-mess"
	FaultConsulate     = "consulate-stale"
	FaultComuneLiteral = "comune-literal"
	FaultAIREFlagNull  = "aire-flag-null"
	FaultDeceased      = "deceased"
	FaultDeadNoDate    = "dead-nodate"
	FaultPaperCard     = "paper-card"
	FaultParentNull    = "parent-null"
	FaultNoName        = "no-name"
	FaultMAELag        = "mae-lag"
	FaultNoSince       = "no-since"
	FaultIDChange      = "idanpr-change"
	FaultManySubjects  = "many-subjects"
	// Door B.
	FaultCIE8Drop  = "cie8-drop"
	FaultCIEOutage = "cie-outage"
	// Doors B and C.
	FaultAnswerUnsigned = "answer-unsigned"
	FaultConsularWarn   = "consular-disagrees"
)

// Faults lists what this simulator can do wrong.
func Faults() []sim.Fault {
	list := []sim.Fault{
		{Name: FaultFlap, About: "503 GatewayError of the front appliance (row 11)", Rude: 0.04, Hostile: 0.15},
		{Name: FaultAPIUnavailable, About: "503 APIUnavailable, backend down (row 11)", Rude: 0.01, Hostile: 0.05},
		{Name: FaultHTMLError, About: "an HTML page; param is the HTTP status, 500 by default (row 11)", Rude: 0.01, Hostile: 0.05},
		{Name: FaultNotFoundFront, About: "404 of the front appliance: not a citizen absent (row 13)", Rude: 0.01, Hostile: 0.03},
		{Name: FaultSpurious429, About: "429 with quota left; param empty for an empty body (row 10)", Rude: 0.01, Hostile: 0.03},
		{Name: FaultKeyPropagation, About: "a good signature refused: the key has not arrived yet (row 6)", Hostile: 0.02},
		{Name: FaultMaintenance, About: "503 everywhere, also for vouchers (row 12)"},
		{Name: FaultPurposeSuspended, About: "voucher refused, opaque: purpose not active (row 35)"},
		{Name: FaultAgreementSuspended, About: "voucher refused, opaque: agreement not active (row 35)"},
		{Name: FaultStrictClaims, About: "client assertions with nbf or unknown claims are refused (row 4)"},
		{Name: FaultToken429, About: "429 of the token endpoint with rate headers", Hostile: 0.01},
		{Name: FaultToken500, About: "500 015-0000 of the token endpoint", Rude: 0.01, Hostile: 0.03},
		{Name: FaultOutage, About: "500 with 999 and EN527 (row 12)", Rude: 0.02, Hostile: 0.08},
		{Name: FaultApp999, About: "400 with 999, cannot be done", Hostile: 0.02},
		{Name: FaultEN122Old, About: "EN122 with the single text used until July 2025 (row 14)", Rude: 0.2, Hostile: 0.5},
		{Name: FaultWarnInErrors, About: "EN148 warning inside listaErrori, also beside good data (row 15)", Rude: 0.1, Hostile: 0.4},
		{Name: FaultOddOpID, About: "idOperazioneANPR that is no number; param is the value (row 16)", Rude: 0.1, Hostile: 0.3},
		{Name: FaultStrictOpID, About: "idOperazioneClient digits and growing, repeats replayed (row 33)"},
		{Name: FaultStrictAudit, About: "tracking evidence older than five minutes refused"},
		{Name: FaultBadEncoding, About: "bytes that are not UTF-8 in the answer (row 24)", Hostile: 0.01},
		{Name: FaultUnknownFields, About: "fields nobody announced in the answer", Rude: 0.1, Hostile: 0.3},
		{Name: FaultNotFound, About: "EN122 for everybody asked for (or matched)"},
		{Name: FaultAIREMissing, About: "AIRE person unknown to ANPR (row 19)"},
		{Name: FaultDuplicate, About: "the subject twice, with two ids (row 17)"},
		{Name: FaultOmocodia, About: "two people under one tax code (row 17)"},
		{Name: FaultMerged, About: "two people merged under one id (row 17)"},
		{Name: FaultManySubjects, About: "EN095, several subjects, no data (row 17)"},
		{Name: FaultDoubleReg, About: "EN470, registered in Italy and in AIRE (row 18)"},
		{Name: FaultCFUnvalidated, About: "validitaCF 9 (row 20)"},
		{Name: FaultNoCF, About: "no tax code in the record (row 20)"},
		{Name: FaultCFSuperseded, About: "known under another tax code; found by personal data only (row 21)"},
		{Name: FaultTruncate, About: "surname and name cut at 36 characters (row 22)"},
		{Name: FaultTranslit, About: "final accents written as apostrophes (row 23)"},
		{Name: FaultDiacritics, About: "letters lost to a question mark (row 23)"},
		{Name: FaultAddrMess, About: "street is the city, no civic number, text doubled (row 25)"},
		{Name: FaultConsulate, About: "consulate of another state or a suppressed one; param CODE|SEAT (row 26)"},
		{Name: FaultComuneLiteral, About: "comune of AIRE registration is the word AIRE (row 27)"},
		{Name: FaultAIREFlagNull, About: "soggettoAIRE absent for an AIRE person (row 29)"},
		{Name: FaultDeceased, About: "dead; param is the date"},
		{Name: FaultDeadNoDate, About: "dead, without a date (row 29)"},
		{Name: FaultPaperCard, About: "CIE2 shows a valid paper card (row 30)"},
		{Name: FaultParentNull, About: "CIE2 gives no surname for a minor's parents (row 30)"},
		{Name: FaultNoName, About: "no first name (row 30)"},
		{Name: FaultMAELag, About: "the record as it was before its last change (row 31)"},
		{Name: FaultNoSince, About: "start of residence missing (row 34)"},
		{Name: FaultIDChange, About: "another idANPR than last time (row 37)"},
		{Name: FaultCIE8Drop, About: "CIE8 is lost: no answer, nothing recorded (row 36)", Hostile: 0.03},
		{Name: FaultCIEOutage, About: "doors B and C answer 503", Rude: 0.02, Hostile: 0.05},
		{Name: FaultAnswerUnsigned, About: "an answer of door B or C comes without its signature"},
		{Name: FaultConsularWarn, About: "EA044 to EA047 beside good data of door C; param is the code, EA046 by default"},
	}
	for _, f := range sim.TransportFaults() {
		// The front appliance has its own ways of saying 503.
		if f.Name != sim.FaultHTTP503 {
			list = append(list, f)
		}
	}
	return list
}

// taken collects the faults that touched one answer.
type taken struct {
	s       *Server
	op      string
	subject string
	names   []string
}

func (t *taken) fires(name string) bool { _, ok := t.take(name); return ok }

func (t *taken) take(name string) (string, bool) {
	param, ok := t.s.faults.Take(name, t.op, t.subject)
	if ok {
		t.names = append(t.names, name)
	}
	return param, ok
}
