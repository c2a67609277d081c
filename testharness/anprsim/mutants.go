package anprsim

import (
	"fmt"
	"net/http"

	"airegw/testharness/sim"
)

// A mutant is the simulator with exactly one of its rules broken. A contract
// kit that passes a mutant does not check that rule.
const (
	// The token endpoint.
	MutantTokenAudience    = "token-audience"
	MutantTokenExpired     = "token-expired"
	MutantTokenSignature   = "token-signature"
	MutantTokenAlg         = "token-alg"
	MutantTokenJTI         = "token-jti"
	MutantTokenSubject     = "token-subject"
	MutantTokenDigestShape = "token-digest-shape"
	MutantTokenTalkative   = "token-talkative"
	MutantTokenNoRate      = "token-no-rate-headers"
	MutantVoucherNoDigest  = "voucher-no-digest"
	// The gateway before the register.
	MutantVoucherExpired     = "voucher-expired"
	MutantVoucherAnyService  = "voucher-any-service"
	MutantVoucherSignature   = "voucher-signature"
	MutantDigestUnchecked    = "digest-unchecked"
	MutantDigestHex          = "digest-hex"
	MutantSignedValues       = "signed-headers-values"
	MutantSignedNoDigest     = "signed-headers-no-digest"
	MutantSignatureInvalid   = "signature-invalid"
	MutantSignatureAudience  = "signature-audience"
	MutantSignatureIssuer    = "signature-issuer"
	MutantSignatureExpired   = "signature-expired"
	MutantSignatureFuture    = "signature-future"
	MutantSignatureOld       = "signature-old"
	MutantSignatureReplay    = "signature-replay"
	MutantAuditInvalid       = "audit-invalid"
	MutantAuditAudience      = "audit-audience"
	MutantAuditUserID        = "audit-userid"
	MutantAuditUserLocation  = "audit-userlocation"
	MutantAuditLoA           = "audit-loa"
	MutantAuditNonce         = "audit-dnonce"
	MutantAuditPurpose       = "audit-purpose"
	MutantAuditChain         = "audit-digest-chain"
	MutantGatewayTalkative   = "gateway-talkative"
	MutantNoTransaction      = "no-transaction-id"
	MutantBodyUnchecked      = "body-types"
	MutantFrontNotFoundEN122 = "front-404-en122"
	MutantStatusBody         = "status-body"
	MutantNoQuota            = "no-quota"
	// The register.
	MutantNotFoundNoCode  = "not-found-no-code"
	MutantNotFoundEmpty   = "not-found-empty-list"
	MutantNoWarning       = "no-warning"
	MutantWarningBlocks   = "warning-blocks"
	MutantUseCase         = "use-case"
	MutantDate            = "date"
	MutantOperationShape  = "operation-id-shape"
	MutantOperationShort  = "operation-id-short"
	MutantNoReplay        = "no-replay"
	MutantLowerID         = "lower-id"
	MutantOtherService    = "id-other-service"
	MutantAsOf            = "as-of"
	MutantCancelled       = "cancelled-found"
	MutantFirstOnly       = "duplicate-first-only"
	MutantC030Talks       = "c030-talks"
	MutantAIREFlag        = "aire-flag"
	MutantAIREItalian     = "aire-italian-address"
	MutantDeadAlive       = "dead-alive"
	MutantNoBirthFlag     = "no-birth-flag"
	MutantVerify          = "verify-yes"
	MutantFamilyAlone     = "family-alone"
	MutantNumbers         = "numbers"
	MutantValidityDropped = "validity-dropped"
	// Doors B and C.
	MutantWSSMissing       = "wss-missing"
	MutantWSSSignature     = "wss-signature"
	MutantWSSDigest        = "wss-digest"
	MutantWSSReference     = "wss-reference"
	MutantWSSCertificate   = "wss-certificate"
	MutantWSSTime          = "wss-time"
	MutantWSSAssertion     = "wss-assertion"
	MutantWSSAssertionSign = "wss-assertion-signature"
	MutantWSSAssertionTime = "wss-assertion-time"
	MutantWSSStation       = "wss-station"
	MutantWSSSender        = "wss-sender"
	MutantAnswerUnsigned   = "soap-answer-unsigned"
	MutantSOAPTalkative    = "soap-talkative"
	MutantSOAPNoReplay     = "soap-no-replay"
	MutantSOAPLowerID      = "soap-lower-id"
	MutantConsularComune   = "consular-comune"
	MutantConsularPending  = "consular-pending"
	// The corrected residence of C002: not looked at, or never written.
	MutantConsularResidenceAny = "consular-residence-any"
	MutantConsularResidence    = "consular-residence-lost"
)

// wssMutants are the mutants of the rules that testharness/sim checks, by the
// code of the refusal.
var wssMutants = map[string]string{
	"wss_missing": MutantWSSMissing, "wss_signature": MutantWSSSignature, "wss_digest": MutantWSSDigest,
	"wss_reference": MutantWSSReference, "wss_certificate": MutantWSSCertificate, "wss_time": MutantWSSTime,
	"wss_assertion": MutantWSSAssertion, "wss_assertion_signature": MutantWSSAssertionSign,
	"wss_assertion_time": MutantWSSAssertionTime, "wss_station": MutantWSSStation,
}

// Mutant describes one broken rule and the clause of the sheet it breaks.
type Mutant struct {
	Name   string `json:"name"`
	Clause string `json:"clause"` // specs/anpr-pdnd-modi.md, or B.6 of cie-aire-domain.md
	About  string `json:"about"`
}

// Mutants lists the rules that can be broken, one at a time.
func Mutants() []Mutant {
	return []Mutant{
		{MutantTokenAudience, "§2.2", "the audience of the client assertion is not looked at"},
		{MutantTokenExpired, "§2.2", "an expired client assertion is accepted"},
		{MutantTokenSignature, "§2.3", "the signature of the client assertion is not verified"},
		{MutantTokenAlg, "§2.2", "a client assertion of any algorithm is accepted"},
		{MutantTokenJTI, "§2.2", "a client assertion without jti is accepted"},
		{MutantTokenSubject, "§2.2", "client_id and sub may differ"},
		{MutantTokenDigestShape, "§2.2", "any text is accepted as digest value"},
		{MutantTokenTalkative, "§2.4", "the token endpoint tells the true cause"},
		{MutantTokenNoRate, "§2.3", "vouchers come without the rate headers"},
		{MutantVoucherNoDigest, "§2.5", "the voucher does not echo the digest"},
		{MutantVoucherExpired, "§1.7", "an expired voucher is accepted"},
		{MutantVoucherAnyService, "§1.7", "a voucher of one service opens another"},
		{MutantVoucherSignature, "§1.7", "the signature of the voucher is not verified"},
		{MutantDigestUnchecked, "§3.2", "Digest is not compared with the body"},
		{MutantDigestHex, "§8 row 5", "Digest is accepted in hex"},
		{MutantSignedValues, "§8 row 3", "signed headers are not compared with those received"},
		{MutantSignedNoDigest, "§8 row 3", "signed_headers need not list digest"},
		{MutantSignatureInvalid, "§3.3", "Agid-JWT-Signature is not verified"},
		{MutantSignatureAudience, "§8 row 1", "the audience of Agid-JWT-Signature is not looked at"},
		{MutantSignatureIssuer, "§3.3", "Agid-JWT-Signature may be another client's"},
		{MutantSignatureExpired, "§3.5", "an expired Agid-JWT-Signature is accepted"},
		{MutantSignatureFuture, "§8 row 4", "an iat of the future is accepted"},
		{MutantSignatureOld, "§3.5", "an Agid-JWT-Signature of any age is accepted"},
		{MutantSignatureReplay, "§3.1", "the same Agid-JWT-Signature is accepted twice"},
		{MutantAuditInvalid, "§3.4", "the tracking evidence is not verified"},
		{MutantAuditAudience, "§8 row 1", "the audience of the tracking evidence is not looked at"},
		{MutantAuditUserID, "§8 row 2", "userID may be missing"},
		{MutantAuditUserLocation, "§8 row 2", "userLocation may be missing"},
		{MutantAuditLoA, "§3.4", "LoA may be of any length"},
		{MutantAuditNonce, "§3.4", "dnonce may be anything"},
		{MutantAuditPurpose, "§3.5", "the purpose of the evidence may differ from the voucher's"},
		{MutantAuditChain, "§8 row 5", "the voucher's digest is not compared with the evidence"},
		{MutantGatewayTalkative, "§8 row 9", "the 400 of the gateway tells the true cause"},
		{MutantNoTransaction, "§1.3", "answers carry no GovWay-Transaction-ID"},
		{MutantBodyUnchecked, "§1.4", "a body with the wrong types or a missing member is answered"},
		{MutantFrontNotFoundEN122, "§8 row 13", "a wrong path answers as an absent citizen does"},
		{MutantStatusBody, "§1.1", "GET /status answers a plain text"},
		{MutantNoQuota, "§1.8", "the daily quota is never used up"},
		{MutantNotFoundNoCode, "§1.6", "an absent citizen is a 404 without EN122"},
		{MutantNotFoundEmpty, "§1.6", "an absent citizen is a 200 with an empty list"},
		{MutantNoWarning, "§8 row 15", "EN148 is never sent"},
		{MutantWarningBlocks, "§8 row 15", "EN148 is sent as an error"},
		{MutantUseCase, "§1.4", "casoUso may be another service's"},
		{MutantDate, "§1.4", "dataRiferimentoRichiesta may be no date"},
		{MutantOperationShape, "§1.4", "idOperazioneClient may have any shape"},
		{MutantOperationShort, "§8 row 16", "idOperazioneANPR fits in 32 bits"},
		{MutantNoReplay, "§8 row 33", "a repeated idOperazioneClient gets a new answer"},
		{MutantLowerID, "§8 row 33", "a lower unknown idOperazioneClient is accepted"},
		{MutantOtherService, "§6", "an idOperazioneClient of another service is accepted"},
		{MutantAsOf, "§6", "the reference date is not looked at"},
		{MutantCancelled, "§1.6", "a cancelled subject is found"},
		{MutantFirstOnly, "§8 row 17", "of two subjects only the first is answered"},
		{MutantC030Talks, "§1.2", "C030 answers more than the id"},
		{MutantAIREFlag, "§1.5", "soggettoAIRE is S for everybody"},
		{MutantAIREItalian, "§8 row 28", "a foreign residence is written as indirizzo"},
		{MutantDeadAlive, "§1.5", "the dead are said to be alive"},
		{MutantNoBirthFlag, "B.6", "senzaGiorno and senzaGiornoMese are never sent"},
		{MutantVerify, "§1.2", "C004 says yes to every declaration"},
		{MutantFamilyAlone, "§1.2", "C021 answers the subject without the family"},
		{MutantNumbers, "§1.4", "flags are JSON numbers and booleans"},
		{MutantValidityDropped, "B.6", "validitaCF is never sent"},
		{MutantWSSMissing, "§4.1", "a SOAP message without security is answered"},
		{MutantWSSSignature, "§4.1", "the signature of a SOAP message is not verified"},
		{MutantWSSDigest, "§4.1", "a signed part of a SOAP message may be changed"},
		{MutantWSSReference, "§4.1", "Body and Timestamp need not be what is signed"},
		{MutantWSSCertificate, "§4.1", "anybody's certificate may sign a SOAP message"},
		{MutantWSSTime, "§4.1", "an old SOAP message is answered"},
		{MutantWSSAssertion, "§4.1", "the assertion may be missing or incomplete"},
		{MutantWSSAssertionSign, "§4.1", "the signature of the assertion is not verified"},
		{MutantWSSAssertionTime, "§4.1", "an old assertion is accepted"},
		{MutantWSSStation, "§4.1", "the signed station id is not looked at"},
		{MutantWSSSender, "§4.1", "codMittente may be another's"},
		{MutantAnswerUnsigned, "§4.1", "answers of the SOAP doors are not signed"},
		{MutantSOAPTalkative, "§4.1", "the SOAP fault tells the true cause"},
		{MutantSOAPNoReplay, "§4.2", "a repeated idOperazioneComune gets a new answer"},
		{MutantSOAPLowerID, "§4.2", "a lower unknown idOperazioneComune is accepted"},
		{MutantConsularComune, "§4.2bis", "C001 may leave out the comune of AIRE registration"},
		{MutantConsularPending, "§6", "the same alignment request may be opened twice"},
		{MutantConsularResidenceAny, "§4.4", "a residence may lack what the register needs"},
		{MutantConsularResidence, "§4.2bis", "a closed request leaves the residence as it was"},
	}
}

// SetMutant breaks one rule from now on; the empty name mends it. An unknown
// name is an error.
func (s *Server) SetMutant(name string) error {
	known := name == ""
	for _, m := range Mutants() {
		known = known || m.Name == name
	}
	if !known {
		return fmt.Errorf("unknown mutant %q", name)
	}
	s.mutant.Store(name)
	return nil
}

// Mutant is the name of the rule broken now, empty for none.
func (s *Server) Mutant() string { name, _ := s.mutant.Load().(string); return name }

func (s *Server) broken(name string) bool { return s.Mutant() == name }

func (s *Server) manageMutants(w http.ResponseWriter, _ *http.Request) {
	sim.WriteJSON(w, http.StatusOK, map[string]any{"mutant": s.Mutant(), "mutants": Mutants()})
}

func (s *Server) manageMutate(w http.ResponseWriter, r *http.Request) {
	var body struct {
		Name string `json:"name"`
	}
	if manageFailed(w, sim.ReadJSON(r.Body, maxBody, &body)) || manageFailed(w, s.SetMutant(body.Name)) {
		return
	}
	s.manageMutants(w, r)
}
