package anpr

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// recordVersion is written into every stored record, so that a later layout
// can tell the old ones.
const recordVersion = 1

// Provenance is who answered (spec §4.2, provenienzaInformazioni). Door A is
// always ANPR; the other three are historical, kept for old fixtures (A46).
type Provenance string

// The provenances.
const (
	FromANPR        Provenance = "anpr"
	FromINA         Provenance = "ina"
	FromRevenue     Provenance = "agenzia_entrate"
	FromCentralAIRE Provenance = "aire_centrale"
)

// Historical says that whoever answered is no more than a fallback of the time
// before all comuni had migrated (spec §4.2): nothing rests on it alone.
func (p Provenance) Historical() bool {
	return p == FromINA || p == FromRevenue || p == FromCentralAIRE
}

// Answer is yes, no, or not known: the register's S, N, A, or nobody granted us
// the service that would say.
type Answer string

// The answers. The zero value is no valid Answer.
const (
	Yes     Answer = "yes"
	No      Answer = "no"
	Unknown Answer = "unknown"
)

// Record is what the register said about one person at one time. It holds
// personal data: it is stored encrypted and never logged. Its JSON form is
// stable (see ParseRecord).
type Record struct {
	Version    int        `json:"version"`
	Provenance Provenance `json:"provenance"`
	// AskedAt is when the first call was made, UTC.
	AskedAt time.Time `json:"asked_at"`
	// AsOf is the date the record refers to, YYYY-MM-DD (Europe/Rome).
	AsOf string `json:"as_of"`
	// AskedFor is the fiscal code asked for; Person.FiscalCode may differ (CFSuperseded).
	AskedFor string `json:"asked_for"`
	// Found is true when at least one service answered with the person's data.
	Found    bool      `json:"found"`
	Person   Person    `json:"person"`
	Findings []Finding `json:"findings,omitempty"`
	Calls    []Call    `json:"calls"`
}

// Person as the register has them. Texts are upper case as in the register.
type Person struct {
	IDANPR              string `json:"id_anpr,omitempty"` // nine characters; not a stable key (spec §8 row 37)
	FiscalCode          string `json:"fiscal_code,omitempty"`
	FiscalCodeValidated Answer `json:"fiscal_code_validated"` // validitaCF 1 = yes, 9 = no
	Surname             string `json:"surname,omitempty"`     // empty with NoSurname
	GivenName           string `json:"given_name,omitempty"`  // empty with NoGivenName
	NoSurname           bool   `json:"no_surname,omitempty"`
	NoGivenName         bool   `json:"no_given_name,omitempty"`
	Sex                 string `json:"sex,omitempty"` // M, F or N
	// BirthDate is YYYY-MM-DD, YYYY-MM or YYYY: some people's day or month is
	// unknown (senzaGiorno, senzaGiornoMese).
	BirthDate  string     `json:"birth_date,omitempty"`
	BirthPlace BirthPlace `json:"birth_place"`

	AIRE             Answer `json:"aire"`
	ExpatriationYear string `json:"expatriation_year,omitempty"`
	// AIREComune is the comune of AIRE registration, competent for corrections.
	AIREComune ComuneRef `json:"aire_comune"`
	// Post is the consular post in the record: the competent one (DESIGN §3).
	Post PostRef `json:"post"`
	// Address is the current residence, abroad for an AIRE person.
	Address        Address `json:"address"`
	ResidenceSince string  `json:"residence_since,omitempty"` // YYYY-MM-DD; the register may not have it

	Citizenships []Citizenship `json:"citizenships,omitempty"`
	Italian      Answer        `json:"italian"`
	Alive        Answer        `json:"alive"`
	DiedOn       string        `json:"died_on,omitempty"` // YYYY-MM-DD; may be missing for a dead person
}

// BirthPlace is a comune, or a locality in a foreign state, or neither.
type BirthPlace struct {
	ComuneISTAT string `json:"comune_istat,omitempty"`
	ComuneName  string `json:"comune_name,omitempty"`
	Province    string `json:"province,omitempty"`
	Locality    string `json:"locality,omitempty"`
	StateISTAT  string `json:"state_istat,omitempty"`
	StateName   string `json:"state_name,omitempty"`
	Exceptional string `json:"exceptional,omitempty"` // luogoEccezionale, as "on a ship"
}

// ComuneRef names a comune by ISTAT code (six digits).
type ComuneRef struct {
	ISTAT string `json:"istat,omitempty"`
	Name  string `json:"name,omitempty"`
}

// PostRef names a consular post as the register does: code of up to seven
// digits (MAE state, seat, rank), description = the seat, upper case.
type PostRef struct {
	Code        string `json:"code,omitempty"`
	Description string `json:"description,omitempty"`
}

// Address in Italy (Foreign false: Comune fields) or abroad (Locality, State).
type Address struct {
	Foreign     bool   `json:"foreign,omitempty"`
	Type        string `json:"type,omitempty"` // tipoIndirizzo, spec §4.3: 1 residence, 4 foreign, 6 c/o abroad
	Street      string `json:"street,omitempty"`
	Number      string `json:"number,omitempty"`
	CareOf      string `json:"care_of,omitempty"`
	Notes       string `json:"notes,omitempty"`
	Postcode    string `json:"postcode,omitempty"`
	Locality    string `json:"locality,omitempty"`
	Province    string `json:"province,omitempty"` // province or county
	ComuneISTAT string `json:"comune_istat,omitempty"`
	ComuneName  string `json:"comune_name,omitempty"`
	StateISTAT  string `json:"state_istat,omitempty"` // three digits
	StateName   string `json:"state_name,omitempty"`
}

// Citizenship names a state by ISTAT code; Italy is 100.
type Citizenship struct {
	StateISTAT string `json:"state_istat,omitempty"`
	StateName  string `json:"state_name,omitempty"`
}

// Call is the evidence of one question to one service; no personal data.
type Call struct {
	Service     Service   `json:"service"`
	PurposeID   string    `json:"purpose_id"`
	AskedAt     time.Time `json:"asked_at"`
	OperationID string    `json:"operation_id"` // ours, idOperazioneClient
	// RegisterOperationID is idOperazioneANPR as it came; a string that may be
	// beyond any integer, or no number at all.
	RegisterOperationID string `json:"register_operation_id,omitempty"`
	TransactionID       string `json:"transaction_id,omitempty"` // GovWay-Transaction-ID
	MessageID           string `json:"message_id,omitempty"`     // GovWay-Message-ID
	GlobalTransactionID string `json:"global_transaction_id,omitempty"`
	Status              int    `json:"status"`            // HTTP; 0 when no whole answer came
	AnswerDigest        string `json:"answer_digest"`     // hex SHA-256 of the exact bytes
	TrackingDigest      string `json:"tracking_digest"`   // hex SHA-256 of our Agid-JWT-TrackingEvidence
	Notices             []Code `json:"notices,omitempty"` // codes of warnings and errors in the answer
	Tries               int    `json:"tries,omitempty"`   // more than 1 after a retry
	VoucherRenewed      bool   `json:"voucher_renewed,omitempty"`
}

// Code is a code of the register's own tables, as "EN122" (spec §6). Codes are
// not unique across doors.
type Code string

// AnswerDigest is one digest over the exact answers of all calls in order
// ("sha-256:" and hex), for the order's register_check.
func (r Record) AnswerDigest() string {
	h := sha256.New()
	for _, c := range r.Calls {
		h.Write([]byte(string(c.Service) + " " + c.AnswerDigest + "\n"))
	}
	return "sha-256:" + hex.EncodeToString(h.Sum(nil))
}

// LastCall is the newest evidence; false when nothing was asked.
func (r Record) LastCall() (Call, bool) {
	if len(r.Calls) == 0 {
		return Call{}, false
	}
	return r.Calls[len(r.Calls)-1], true
}

// Outcome of the whole record: the gravest of its findings, OutcomeClear
// without any.
func (r Record) Outcome() Outcome {
	worst := OutcomeClear
	for _, f := range r.Findings {
		if o := f.Outcome(); o.rank() > worst.rank() {
			worst = o
		}
	}
	return worst
}

// Has tells whether the record holds a finding of this code.
func (r Record) Has(code FindingCode) bool {
	for _, f := range r.Findings {
		if f.Code == code {
			return true
		}
	}
	return false
}

// ErrRecord is returned by ParseRecord.
var ErrRecord = errors.New("anpr: not a stored record")

// ParseRecord reads what json.Marshal wrote for a Record. Unknown versions are
// refused rather than half read.
func ParseRecord(data []byte) (Record, error) {
	var head struct {
		Version int `json:"version"`
	}
	if err := json.Unmarshal(data, &head); err != nil {
		return Record{}, ErrRecord
	}
	if head.Version != recordVersion {
		return Record{}, fmt.Errorf("%w: version %d", ErrRecord, head.Version)
	}
	var r Record
	if err := json.Unmarshal(data, &r); err != nil {
		return Record{}, ErrRecord
	}
	return r, nil
}
