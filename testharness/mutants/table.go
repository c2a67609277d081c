// Package mutants removes the gateway's security checks one by one and demands
// that a test notices.
//
// Duty: table.go lists each removable check with the test that must fail
// without it. The test of this package builds, with `-tags mutants`, the test
// binary of each package in the table once, runs the named tests clean, which
// must pass, and then each with MUTANT=name, which must fail.
//
// A row is Name (as in `fault.Mutant("name")`, package dot check), Package
// (import path below the module, of the test), Test (as `go test -run` takes
// it, subtests after slashes, spaces and all) and Removes (what no longer
// happens). To add one: write the check as
//
//	if nonce != want && !fault.Mutant("login.nonce") {
//
// and a row in the table, which is sorted by name. Prefer a test that is quick
// alone, in a package with a small test binary.
//
// Promise: a mutant in the source without a row, a row without a mutant and a
// row whose test does not exist fail.
//
// It refuses to take a crash of the build, a test that was skipped or one that
// was not found for a noticed mutant.
package mutants

// Mutant is one check that can be removed.
type Mutant struct {
	Name    string
	Package string
	Test    string
	Removes string
}

// Table lists every mutant, sorted by name.
var Table = []Mutant{
	{"anpr.answer-errors", "anpr", "TestWhatTheRegisterSaysOfAPersonIsAFinding", "the register's own error codes are read before its answer is"},
	{"anpr.answer-status", "anpr", "TestWhatIsNoAnswerAboutThePersonIsAnErrorThatWaits", "only status 200 is an answer"},
	{"anpr.voucher-evidence", "anpr", "TestThePDNDEndpointsAnswersAreReadExactly", "a voucher must be for our tracking evidence"},
	{"anpr.voucher-purpose", "anpr", "TestThePDNDEndpointsAnswersAreReadExactly", "a voucher must be for the purpose asked"},
	{"federation.hint", "gateway/federation", "TestEverythingThatMustBreakAChainBreaksItWithItsOwnCode", "an entity must name its superior"},
	{"federation.mark-issuer", "gateway/federation", "TestEverythingThatMustBreakAChainBreaksItWithItsOwnCode", "a mark's issuer must be one the anchor lists"},
	{"federation.mark-subject", "gateway/federation", "TestEverythingThatMustBreakAChainBreaksItWithItsOwnCode", "a mark must be given to the entity that shows it"},
	{"federation.naming", "gateway/federation", "TestEverythingThatMustBreakAChainBreaksItWithItsOwnCode", "names must lie inside a superior's constraints"},
	{"gateway.core-sequence", "testharness", "TestAGapWaitsAndTheFeedFillsIt", "a gap in the core's events waits"},
	{"gateway.own-office", "gateway", "TestEachBadValueNamesItsFieldAndReasonInBothLanguages", "an office submits for itself only"},
	{"gateway.own-person", "gateway", "TestACitizenAsksOnlyForTheOwnPersonOrTheOwnChild", "a citizen submits for the own person or child only"},
	{"gateway.scope", "gateway", "TestNobodyWithoutAScopeSubmits", "nobody submits without a scope"},
	{"issuance.bound", "gateway/issuance", "TestOnlyTheExactAnswerIsAReceipt", "an answer must be to our question"},
	{"issuance.media-type", "gateway/issuance", "TestOnlyTheExactAnswerIsAReceipt", "an answer must be a message by its media type"},
	{"issuance.receipt-digest", "gateway/issuance", "TestOnlyTheExactAnswerIsAReceipt", "a receipt must be for the body we sent"},
	{"issuance.signature", "gateway/issuance", "TestAPushedEventIsBelievedOnlyWhenTheCoreSignedItForUs", "a message must be signed by the core, for us, now"},
	{"jose.alg", "gateway/jose", "TestEveryClaimThatIsNotAsExpectedIsRefusedWithItsOwnCode", "the algorithm must be on the caller's list"},
	{"jose.aud", "gateway/jose", "TestEveryClaimThatIsNotAsExpectedIsRefusedWithItsOwnCode", "aud must name the reader"},
	{"jose.crit", "gateway/jose", "TestAlteredHeadersAndForeignKeysAreRefused", "critical headers are refused"},
	{"jose.enc", "gateway/jose", "TestDecryptRefusesWhatIsNotOnTheLists", "the content encryption must be on the caller's list"},
	{"jose.exp", "gateway/jose", "TestEveryClaimThatIsNotAsExpectedIsRefusedWithItsOwnCode", "an expired token is refused"},
	{"jose.exp-present", "gateway/jose", "TestEveryClaimThatIsNotAsExpectedIsRefusedWithItsOwnCode", "a token must have an end"},
	{"jose.iss", "gateway/jose", "TestEveryClaimThatIsNotAsExpectedIsRefusedWithItsOwnCode", "iss must be the one expected"},
	{"jose.key-mode", "gateway/jose", "TestKeyFilesRoundTripAndMayNotLieOpen", "a key file others may read is refused"},
	{"jose.signature", "gateway/jose", "TestAlteredHeadersAndForeignKeysAreRefused", "the signature must hold"},
	{"jose.typ", "gateway/jose", "TestEveryClaimThatIsNotAsExpectedIsRefusedWithItsOwnCode", "typ must be on the caller's list"},
	{"outbound.body-bound", "gateway/outbound", "TestAnythingButAWholeAcceptedAnswerIsATypedFailure", "an answer without a length is bounded"},
	{"outbound.redirect", "gateway/outbound", "TestAnythingButAWholeAcceptedAnswerIsATypedFailure", "redirects are not followed"},
	{"policies.both-owners", "policies", "TestASetNeedsTheApprovalOfBothOwnersWithKeysOfTheirOwn", "both owners must have approved"},
	{"policies.same-key", "policies", "TestASetNeedsTheApprovalOfBothOwnersWithKeysOfTheirOwn", "no key speaks for both owners"},
	{"policies.signature", "policies", "TestASetNeedsTheApprovalOfBothOwnersWithKeysOfTheirOwn", "an approval's signature must hold"},
	{"store.audit-chain", "gateway/store", "TestTamperingIsNamed", "each audit entry must chain to the one before"},
	{"store.audit-mac", "gateway/store", "TestTamperingIsNamed", "a block's MAC must hold"},
	{"store.context", "gateway/store", "TestAColumnOpensOnlyWhereItWasSealed", "a sealed column opens only in its own place"},
	{"store.environment", "gateway/store", "TestADatabaseKeepsItsEnvironmentForLife", "a simulation's database is refused in production"},
	{"store.fence-outbox", "gateway/store", "TestSQLiteKeepsTheStoreContract/an outbox row is settled under its fence only", "an outbox row is settled under its fence"},
	{"store.fence-work", "gateway/store", "TestSQLiteKeepsTheStoreContract/a stale worker is refused", "a worker whose lease was taken may not commit"},
	{"store.key-body", "gateway/store", "TestSQLiteKeepsTheStoreContract/a key with another body is a conflict", "an idempotency key stands for one body"},
	{"store.key-check", "gateway/store", "TestKeysMustBeTheDatabasesOwn", "the keys must be the database's"},
	{"store.keys-mode", "gateway/store", "TestAKeyFileOthersCanReadIsRefused", "a key file others may read is refused"},
	{"store.office", "gateway/store", "TestSQLiteKeepsTheStoreContract/an office sees its own requests and no other's", "an office sees its own requests only"},
	{"store.person", "gateway/store", "TestSQLiteKeepsTheStoreContract/an office sees its own requests and no other's", "a citizen sees the own requests only"},
	{"store.row-security", "gateway/store", "TestRawSQLAsTheWebRoleSeesNoForeignRow", "the database shows a web replica the rows of one office at a time"},
	{"store.tracker", "gateway/store", "TestSQLiteKeepsTheStoreContract/a tracker opens its own request only", "a tracker code must be the request's"},
	{"web.body-limit", "gateway/web", "TestAnUploadIsBounded", "a body is bounded before it is read"},
	{"web.callers", "gateway/web", "TestALoginGetsANewTokenAndEndsTheOtherRole", "a route serves its kinds of caller only"},
	{"web.cross-site", "gateway/web", "TestAnotherSitesFormIsStopped", "another site's form is stopped"},
	{"web.host-cookie", "gateway/web", "TestByHTTPSCookiesAreBoundToTheHost", "by https the session's cookie is bound to the host"},
	{"web.policy", "gateway/web", "TestEveryAnswerCarriesTheSafetyHeaders", "every answer carries the content security policy"},
	{"web.rate", "gateway/web", "TestTheTrackerLimitsGuesses", "a rate that is used up answers 429"},
	{"web.renew", "gateway/web", "TestALoginGetsANewTokenAndEndsTheOtherRole", "a login gets a new token"},
	{"web.revoked", "gateway/web", "TestNobodySeesAnotherOfficesRequests", "a revoked client is nobody"},
	{"web.session-door", "gateway/web", "TestALoginGetsANewTokenAndEndsTheOtherRole", "a citizen's token is no operator's"},
}
