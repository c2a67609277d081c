// Package mutants removes the gateway's security checks one by one and demands
// that a test notices.
//
// Duty: table.go lists each removable check with the test that must fail
// without it. The test of this package builds, with `-tags mutants`, the test
// binary of each package in the table once, runs the named tests clean, many in
// one process, which must pass, and then each alone with MUTANT=name, which must
// fail.
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
	{"anpr.consular.answer_echo", "anpr", "TestAnAnswerToAnotherQuestionIsNoAnswer", "an answer of the consular door must be to our question"},
	{"anpr.consular.answer_signature", "anpr", "TestWhatIsNoAnswerOfDoorCWaits", "an answer of the consular door must be signed by it"},
	{"anpr.doors.declared", "testharness", "TestAConsularDoorOutOfOrderDoesNotHoldUpTheFirstCheck", "a comune somebody declares refuses nobody"},
	{"anpr.voucher-evidence", "anpr", "TestThePDNDEndpointsAnswersAreReadExactly", "a voucher must be for our tracking evidence"},
	{"anpr.voucher-purpose", "anpr", "TestThePDNDEndpointsAnswersAreReadExactly", "a voucher must be for the purpose asked"},
	{"federation.address", "gateway/federation", "TestAddressesThatAreNeverCalled", "no private address, nor this machine's, is called for others"},
	{"federation.anchor-key", "gateway/federation", "TestEverythingThatMustBreakAChainBreaksItWithItsOwnCode", "the anchor's configuration must be signed by a pinned key"},
	{"federation.chain-end", "gateway/federation", "TestTheLastGoodChainIsServedToItsEndAndThenNothing", "no chain is used past its end"},
	{"federation.hint", "gateway/federation", "TestEverythingThatMustBreakAChainBreaksItWithItsOwnCode", "an entity must name its superior"},
	{"federation.linked", "gateway/federation", "TestEverythingThatMustBreakAChainBreaksItWithItsOwnCode", "a statement must be by the subject of the one above"},
	{"federation.listed", "gateway/federation", "TestWhatAPeerDoesWrongIsRefusedWithItsCode", "the anchor's list must name the provider"},
	{"federation.mark-issuer", "gateway/federation", "TestEverythingThatMustBreakAChainBreaksItWithItsOwnCode", "a mark's issuer must be one the anchor lists"},
	{"federation.mark-signature", "gateway/federation", "TestEverythingThatMustBreakAChainBreaksItWithItsOwnCode", "a mark's signature must hold"},
	{"federation.mark-status", "gateway/federation", "TestWhatAPeerDoesWrongIsRefusedWithItsCode", "a revoked mark counts for nothing"},
	{"federation.mark-subject", "gateway/federation", "TestEverythingThatMustBreakAChainBreaksItWithItsOwnCode", "a mark must be given to the entity that shows it"},
	{"federation.naming", "gateway/federation", "TestEverythingThatMustBreakAChainBreaksItWithItsOwnCode", "names must lie inside a superior's constraints"},
	{"federation.path-length", "gateway/federation", "TestEverythingThatMustBreakAChainBreaksItWithItsOwnCode", "no more intermediates than a superior allows"},
	{"federation.provider-direct", "gateway/federation", "TestEverythingThatMustBreakAChainBreaksItWithItsOwnCode", "no intermediate stands between provider and anchor"},
	{"federation.provider-issuer", "gateway/federation", "TestAProviderWeCannotWorkWithIsRefusedByTheMemberAtFault", "a provider's issuer must be its entity id"},
	{"federation.self-signature", "gateway/federation", "TestEverythingThatMustBreakAChainBreaksItWithItsOwnCode", "a configuration must be signed by a key it publishes"},
	{"federation.superior-signature", "gateway/federation", "TestEverythingThatMustBreakAChainBreaksItWithItsOwnCode", "a superior's statement must be signed by it"},
	{"federation.vouched-key", "gateway/federation", "TestEverythingThatMustBreakAChainBreaksItWithItsOwnCode", "a configuration must be signed by a key its superior vouches for"},
	{"gateway.card-notice", "gateway/web", "TestANoticedCardIsNotHandedOver", "a notice of a card must be signed by a configured office"},
	{"gateway.clearance-day", "testharness", "TestTheComuneOfEnrolmentAndThePostAreToldWithTheCheckAndSilenceIsAssent", "after its last day a notice is not answered"},
	{"gateway.core-sequence", "testharness", "TestAGapWaitsAndTheFeedFillsIt", "a gap in the core's events waits"},
	{"gateway.level", "gateway/web", "TestAnActAsksForTheLevelItsRuleDemands", "an act asks for the login level its rule demands"},
	{"gateway.objection-stops", "testharness", "TestAnObjectionBeforeTheRelayParksAndGoesOnWhenWithdrawn", "nothing is prepared or relayed against an objection"},
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
	{"login.access-token-client", "gateway/login", "TestEachFlawIsRefusedForItsOwnReason/access token of another client", "the access token must be given to us"},
	{"login.access-token-expiry", "gateway/login", "TestEachFlawIsRefusedForItsOwnReason/access token past its end", "the access token must not have ended"},
	{"login.access-token-issuer", "gateway/login", "TestEachFlawIsRefusedForItsOwnReason/access token of another issuer", "the access token must be the provider's"},
	{"login.access-token-signature", "gateway/login", "TestEachFlawIsRefusedForItsOwnReason/access token with a stranger's signature", "the access token's signature must hold"},
	{"login.access-token-subject", "gateway/login", "TestEachFlawIsRefusedForItsOwnReason/access token of another subject", "access and ID Token must be of one subject"},
	{"login.access-token-typ", "gateway/login", "TestEachFlawIsRefusedForItsOwnReason/access token of another typ", "an access token must say that it is one"},
	{"login.acr", "gateway/login", "TestEachFlawIsRefusedForItsOwnReason/a lower level", "the level must be the one asked or above"},
	{"login.at-hash", "gateway/login", "TestEachFlawIsRefusedForItsOwnReason/at_hash of another token", "the ID Token must be of this access token"},
	{"login.attempt-expiry", "gateway/login", "TestEachFlawIsRefusedForItsOwnReason/half an hour later", "an attempt ends"},
	{"login.binding", "gateway/login", "TestEachFlawIsRefusedForItsOwnReason/another browser", "an answer counts only in the browser that began"},
	{"login.c-hash", "gateway/login", "TestEachFlawIsRefusedForItsOwnReason/c_hash of another code", "a c_hash must be of this code"},
	{"login.card-active", "gateway/login", "TestACardOpensForItsHolderWhileItIsActive", "an issued card opens nothing before it is activated"},
	{"login.card-expired", "gateway/login", "TestACardOpensForItsHolderWhileItIsActive", "a card past its end opens nothing"},
	{"login.card-owner", "gateway/login", "TestACardOpensForItsHolderWhileItIsActive", "a card opens for its holder only"},
	{"login.card-revoked", "gateway/login", "TestACardOpensForItsHolderWhileItIsActive", "a revoked card opens nothing"},
	{"login.code-and-error", "gateway/login", "TestEachFlawIsRefusedForItsOwnReason/code and error", "an answer holds a code or an error"},
	{"login.failed-token", "gateway/login", "TestEachFlawIsRefusedForItsOwnReason/no given name", "the access token of a login that failed is revoked"},
	{"login.fiscal-code", "gateway/login", "TestEachFlawIsRefusedForItsOwnReason/a fiscal code with a wrong check letter", "the fiscal code must have the claim's form"},
	{"login.id-token-alg", "gateway/login", "TestEachFlawIsRefusedForItsOwnReason/ID Token of an algorithm not registered", "the ID Token must be of the registered algorithm"},
	{"login.id-token-audience", "gateway/login", "TestEachFlawIsRefusedForItsOwnReason/ID Token for somebody else", "the ID Token must be for us"},
	{"login.id-token-azp", "gateway/login", "TestEachFlawIsRefusedForItsOwnReason/ID Token for us and somebody else", "several audiences need us as the party"},
	{"login.id-token-expiry", "gateway/login", "TestEachFlawIsRefusedForItsOwnReason/ID Token past its end", "the ID Token must not have ended"},
	{"login.id-token-iat", "gateway/login", "TestEachFlawIsRefusedForItsOwnReason/ID Token from the future", "the ID Token must not be from the future"},
	{"login.id-token-issuer", "gateway/login", "TestEachFlawIsRefusedForItsOwnReason/ID Token of another issuer", "the ID Token must be the provider's"},
	{"login.id-token-jti", "gateway/login", "TestAnIDTokenIsGoodOnce", "an ID Token is good once"},
	{"login.id-token-signature", "gateway/login", "TestEachFlawIsRefusedForItsOwnReason/ID Token with a stranger's signature", "the ID Token's signature must hold"},
	{"login.id-token-stale", "gateway/login", "TestEachFlawIsRefusedForItsOwnReason/ID Token of an hour ago", "the ID Token must be fresh"},
	{"login.minimum-data", "gateway/login", "TestEachFlawIsRefusedForItsOwnReason/no given name", "the minimum data set must be complete"},
	{"login.nonce", "gateway/login", "TestEachFlawIsRefusedForItsOwnReason/another nonce", "the ID Token must be of this attempt"},
	{"login.operator-asked", "gateway/login", "TestAProviderSpeaksForItsOwnOfficesAndRolesOnly", "an operator enters the office asked for"},
	{"login.operator-office", "gateway/login", "TestAProviderSpeaksForItsOwnOfficesAndRolesOnly", "a provider speaks for its offices only"},
	{"login.operator-revoked", "gateway/login", "TestAProviderSpeaksForItsOwnOfficesAndRolesOnly", "an operator whose access was taken away stays out"},
	{"login.operator-role", "gateway/login", "TestAProviderSpeaksForItsOwnOfficesAndRolesOnly", "a provider gives its roles only"},
	{"login.operator-signature", "gateway/login", "TestAnOperatorsTokenWithAStrangersSignatureIsRefused", "an operator's ID Token must be signed by the provider"},
	{"login.pkce", "gateway/login", "TestAFlawlessLoginHolds", "the code verifier goes with the code"},
	{"login.pkce-method", "gateway/login", "TestAFlawlessLoginHolds", "the challenge is a digest"},
	{"login.response-issuer", "gateway/login", "TestEachFlawIsRefusedForItsOwnReason/iss of another provider", "the answer must be from the provider asked"},
	{"login.response-repeated", "gateway/login", "TestEachFlawIsRefusedForItsOwnReason/state given twice", "no parameter of the answer stands twice"},
	{"login.step-up-person", "gateway/login", "TestAStepUpIsForTheSamePerson", "a step-up must come back with the same person"},
	{"login.userinfo-alg", "gateway/login", "TestEachFlawIsRefusedForItsOwnReason/UserInfo of an algorithm not registered", "UserInfo must be of the registered algorithm"},
	{"login.userinfo-audience", "gateway/login", "TestEachFlawIsRefusedForItsOwnReason/UserInfo for somebody else", "UserInfo must be for us"},
	{"login.userinfo-encrypted", "gateway/login", "TestEachFlawIsRefusedForItsOwnReason/UserInfo not encrypted", "UserInfo must be encrypted"},
	{"login.userinfo-encryption", "gateway/login", "TestEachFlawIsRefusedForItsOwnReason/UserInfo with GCM", "UserInfo must be encrypted as registered"},
	{"login.userinfo-expiry", "gateway/login", "TestEachFlawIsRefusedForItsOwnReason/UserInfo past its end", "UserInfo must not have ended"},
	{"login.userinfo-issuer", "gateway/login", "TestEachFlawIsRefusedForItsOwnReason/UserInfo of another issuer", "UserInfo must be the provider's"},
	{"login.userinfo-signature", "gateway/login", "TestEachFlawIsRefusedForItsOwnReason/UserInfo with a stranger's signature", "UserInfo must be signed by the provider"},
	{"login.userinfo-subject", "gateway/login", "TestEachFlawIsRefusedForItsOwnReason/UserInfo of another subject", "UserInfo and ID Token must be of one subject"},
	{"login.userinfo-type", "gateway/login", "TestEachFlawIsRefusedForItsOwnReason/UserInfo as JSON", "UserInfo must not be served as JSON"},
	{"outbound.body-bound", "gateway/outbound", "TestAnythingButAWholeAcceptedAnswerIsATypedFailure", "an answer without a length is bounded"},
	{"outbound.public-only", "gateway/outbound", "TestANameThatLeadsInwardIsNotCalled", "a name out of others' documents may not lead inward"},
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
	{"store.login-spent", "gateway/store", "TestSQLiteKeepsTheStoreContract/an attempt to log in is handed out once", "an attempt is finished once"},
	{"store.notice-office", "testharness", "TestTheComuneOfEnrolmentAndThePostAreToldWithTheCheckAndSilenceIsAssent", "a notice is shown to the office that was told only"},
	{"store.office", "gateway/store", "TestSQLiteKeepsTheStoreContract/an office sees its own requests and no other's", "an office sees its own requests only"},
	{"store.person", "gateway/store", "TestSQLiteKeepsTheStoreContract/an office sees its own requests and no other's", "a citizen sees the own requests only"},
	{"store.row-security", "gateway/store", "TestRawSQLAsTheWebRoleSeesNoForeignRow", "the database shows a web replica the rows of one office at a time"},
	{"store.tracker", "gateway/store", "TestSQLiteKeepsTheStoreContract/a tracker opens its own request only", "a tracker code must be the request's"},
	{"web.body-limit", "gateway/web", "TestAnUploadIsBounded", "a body is bounded before it is read"},
	{"web.callers", "gateway/web", "TestALoginGetsANewTokenAndEndsTheOtherRole", "a route serves its kinds of caller only"},
	{"web.card-needed", "gateway/web", "TestAnOperatorShowsTheCardBeforeTheCountersActs", "a counter act waits for the operator's card where one is asked for"},
	{"web.cross-site", "gateway/web", "TestAnotherSitesFormIsStopped", "another site's form is stopped"},
	{"web.host-cookie", "gateway/web", "TestByHTTPSCookiesAreBoundToTheHost", "by https the session's cookie is bound to the host"},
	{"web.local-path", "gateway/web", "TestNobodyIsSentElsewhereByALinkToUs", "a login returns to our own site only"},
	{"web.policy", "gateway/web", "TestEveryAnswerCarriesTheSafetyHeaders", "every answer carries the content security policy"},
	{"web.rate", "gateway/web", "TestTheTrackerLimitsGuesses", "a rate that is used up answers 429"},
	{"web.renew", "gateway/web", "TestALoginGetsANewTokenAndEndsTheOtherRole", "a login gets a new token"},
	{"web.revoked", "gateway/web", "TestARevokedClientIsNobodyFromThatMomentOn", "a revoked client is nobody"},
	{"web.session-door", "gateway/web", "TestALoginGetsANewTokenAndEndsTheOtherRole", "a citizen's token is no operator's"},
	{"web.session-ended", "gateway/web", "TestASessionEndedFromElsewhereIsWorthNothing", "a session ended from another browser is worth nothing"},
}
