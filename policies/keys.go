package policies

// keyID indexes keyTable; the hot path never looks a key up by name.
type keyID uint8

// kind is what the value of a key is.
type kind uint8

const (
	kindVerdict kind = iota // allow, refuse or needs
	kindNumber              // a whole number within bounds
	kindWord                // one word of a closed list
	kindCodes               // a list of codes; "a|b" one of them, "a+b" both
)

// The keys that rules may set. A key outside this list is a load error: a rule
// nobody reads would be a promise nobody keeps.
const (
	keyChannelComune keyID = iota
	keyChannelPost
	keyRegisterIncomplete
	keySeveralSubjects
	keyDead
	keyForeign
	keyNotAIRE
	keyCFNotValidated
	keyBirthAct
	keyOpenElsewhere
	keyPostNotCompetent
	keyPostCompetenceUnknown
	keyClearanceDays
	keyPaper
	keyPaperCard
	keyReasonFirst // nine reasons follow in the order of Reasons
	keyReasonExpiry
	keyReasonPaper
	keyReasonTheft
	keyReasonLoss
	keyReasonDeterioration
	keyReasonChanged
	keyReasonUndelivered
	keyReasonRefresh
	keyEvidenceFirst // nine evidence lists, same order
	keyEvidenceExpiry
	keyEvidencePaper
	keyEvidenceTheft
	keyEvidenceLoss
	keyEvidenceDeterioration
	keyEvidenceChanged
	keyEvidenceUndelivered
	keyEvidenceRefresh
	keyFeeClassFirst // nine fee classes, same order
	keyFeeClassExpiry
	keyFeeClassPaper
	keyFeeClassTheft
	keyFeeClassLoss
	keyFeeClassDeterioration
	keyFeeClassChanged
	keyFeeClassUndelivered
	keyFeeClassRefresh
	keyEvidenceMissing
	keyHasCard
	keyEarlyDays
	keyTooEarly
	keyNoPaperCard
	keyChangedAccepted
	keyChangedOther
	keyChangedUnknown
	keyRefreshAge
	keyRefreshTooYoung
	keyAdultAge
	keyAssentExpatriation
	keyAssentDomestic
	keyAssentMissing
	keyOtherParent
	keyPrintsAge
	keySignatureAge
	keyPrintsRefused
	keyExpatriationUnknown
	keyNoteNoDeclaration
	keyNoteForeign
	keyOrganDonation
	keyDeliveryComune // four options in the order of DeliveryOptions
	keyDeliveryComune2
	keyDeliveryComune3
	keyDeliveryComune4
	keyDeliveryPost // four options
	keyDeliveryPost2
	keyDeliveryPost3
	keyDeliveryPost4
	keyDelegateUnder // four options
	keyDelegateUnder2
	keyDelegateUnder3
	keyDelegateUnder4
	keyExpected // four options
	keyExpected2
	keyExpected3
	keyExpected4
	keyExpectedUnit // four options
	keyExpectedUnit2
	keyExpectedUnit3
	keyExpectedUnit4
	keyStorage // four options
	keyStorage2
	keyStorage3
	keyStorage4
	keyAttempts // four options
	keyAttempts2
	keyAttempts3
	keyAttempts4
	keyReturnPath // four options
	keyReturnPath2
	keyReturnPath3
	keyReturnPath4
	keyDelegateMissing
	keyItalianAddress
	keyForeignAddress
	keyPickupElsewhere
	keyUnclaimedDays
	keyValidityChildUnder
	keyValidityChildYears
	keyValidityMinorYears
	keyValidityAdultYears
	keyValiditySeniorFrom
	keyValiditySeniorYears
	keyValidityTemporaryMonths
	keyValidityOnBirthday
	keyValidityLeapDay
	keyFeeComuneFirst
	keyFeeComuneDuplicate
	keyFeePostFirst
	keyFeePostDuplicate
	keyFeeFree
	keyTravel
	keyLoginView
	keyLoginOpen
	keyLoginDelivery
	keyLoginLoss
	keyLoginAssent
	keyBookingHold
	keyCount
)

// keySpec says what a key may hold. Only keys whose name starts with one of
// the placePrefixes may be set for a group, a country or a post.
type keySpec struct {
	name     string
	kind     kind
	about    string
	min, max int
	words    []string
	places   bool
}

var keyTable = buildKeys()

// keyByName finds a key while rules are loaded.
var keyByName = func() map[string]keyID {
	m := make(map[string]keyID, keyCount)
	for i := range keyTable {
		m[keyTable[i].name] = keyID(i)
	}
	return m
}()

func buildKeys() [keyCount]keySpec {
	var t [keyCount]keySpec
	verdict := func(k keyID, name, about string) {
		t[k] = keySpec{name: name, kind: kindVerdict, about: about}
	}
	number := func(k keyID, name, about string, lo, hi int) {
		t[k] = keySpec{name: name, kind: kindNumber, about: about, min: lo, max: hi}
	}
	codes := func(k keyID, name, about string) {
		t[k] = keySpec{name: name, kind: kindCodes, about: about}
	}
	word := func(k keyID, name, about string, words ...string) {
		t[k] = keySpec{name: name, kind: kindWord, about: about, words: words}
	}
	verdict(keyChannelComune, "channel.comune", "channel")
	verdict(keyChannelPost, "channel.post", "channel")
	verdict(keyRegisterIncomplete, "person.register_incomplete", "person")
	verdict(keySeveralSubjects, "person.several_subjects", "person")
	verdict(keyDead, "person.dead", "person")
	verdict(keyForeign, "person.foreign", "person")
	verdict(keyNotAIRE, "person.not_aire", "person")
	verdict(keyCFNotValidated, "person.cf_not_validated", "person")
	verdict(keyBirthAct, "person.birth_act_not_transcribed", "person")
	verdict(keyOpenElsewhere, "person.open_request_elsewhere", "person")
	verdict(keyPostNotCompetent, "post.not_competent", "office")
	verdict(keyPostCompetenceUnknown, "post.competence_unknown", "office")
	number(keyClearanceDays, "comune.clearance_working_days", "office", 0, 60)
	verdict(keyPaper, "document.paper", "document")
	verdict(keyPaperCard, "document.paper_card_counts", "document")
	for i, r := range Reasons {
		verdict(keyReasonFirst+keyID(i), "reason."+string(r), "reason")
		codes(keyEvidenceFirst+keyID(i), "reason."+string(r)+".evidence", "reason")
		word(keyFeeClassFirst+keyID(i), "reason."+string(r)+".fee", "reason", "first", "duplicate", "free")
	}
	verdict(keyEvidenceMissing, "reason.evidence_missing", "reason")
	verdict(keyHasCard, "reason.first_issue.has_card", "reason")
	number(keyEarlyDays, "reason.expiry.early_days", "reason", 0, 3660)
	verdict(keyTooEarly, "reason.expiry.too_early", "reason")
	verdict(keyNoPaperCard, "reason.paper_replacement.no_paper_card", "reason")
	codes(keyChangedAccepted, "reason.changed_data.accepted", "reason")
	verdict(keyChangedOther, "reason.changed_data.not_on_card", "reason")
	verdict(keyChangedUnknown, "reason.changed_data.not_said", "reason")
	number(keyRefreshAge, "reason.certificate_refresh.from_age", "reason", 0, 150)
	verdict(keyRefreshTooYoung, "reason.certificate_refresh.too_young", "reason")
	number(keyAdultAge, "minor.adult_age", "minor", 1, 30)
	codes(keyAssentExpatriation, "minor.assent_for_expatriation", "minor")
	codes(keyAssentDomestic, "minor.assent_without_expatriation", "minor")
	verdict(keyAssentMissing, "minor.assent_missing", "minor")
	verdict(keyOtherParent, "parent.other_parent_assent", "reason")
	number(keyPrintsAge, "capture.fingerprints_from_age", "capture", 0, 150)
	number(keySignatureAge, "capture.signature_from_age", "capture", 0, 150)
	verdict(keyPrintsRefused, "capture.fingerprints_refused", "capture")
	verdict(keyExpatriationUnknown, "expatriation.not_asked", "document")
	word(keyNoteNoDeclaration, "note.no_declaration", "document", "no_declaration")
	word(keyNoteForeign, "note.foreign", "document", "foreign")
	verdict(keyOrganDonation, "organ_donation", "person")
	for i, o := range DeliveryOptions {
		k := keyID(i)
		n := string(o)
		verdict(keyDeliveryComune+k, "delivery.comune."+n, "delivery")
		verdict(keyDeliveryPost+k, "delivery.post."+n, "delivery")
		number(keyDelegateUnder+k, "delivery.delegate_under_age."+n, "delivery", 0, 150)
		number(keyExpected+k, "delivery.expected_days."+n, "delivery", 0, 400)
		word(keyExpectedUnit+k, "delivery.expected_unit."+n, "delivery", "working", "calendar")
		number(keyStorage+k, "delivery.storage_days."+n, "delivery", 0, 400)
		number(keyAttempts+k, "delivery.attempts."+n, "delivery", 0, 10)
		word(keyReturnPath+k, "delivery.return_path."+n, "delivery", "post", "ipzs", "comune")
		for _, id := range []keyID{keyDeliveryComune, keyDeliveryPost, keyDelegateUnder, keyExpected, keyExpectedUnit, keyStorage, keyAttempts, keyReturnPath} {
			t[id+k].places = true
		}
	}
	verdict(keyDelegateMissing, "delivery.delegate_missing", "delivery")
	verdict(keyItalianAddress, "delivery.italian_address_incomplete", "delivery")
	verdict(keyForeignAddress, "delivery.foreign_address_differs", "delivery")
	verdict(keyPickupElsewhere, "delivery.pickup_elsewhere", "delivery")
	number(keyUnclaimedDays, "delivery.unclaimed_days", "delivery", 1, 4000)
	number(keyValidityChildUnder, "validity.child_under_age", "validity", 0, 150)
	number(keyValidityChildYears, "validity.child_years", "validity", 1, 100)
	number(keyValidityMinorYears, "validity.minor_years", "validity", 1, 100)
	number(keyValidityAdultYears, "validity.adult_years", "validity", 1, 100)
	number(keyValiditySeniorFrom, "validity.senior_from_age", "validity", 0, 150)
	number(keyValiditySeniorYears, "validity.senior_years", "validity", 1, 100)
	number(keyValidityTemporaryMonths, "validity.temporary_months", "validity", 1, 120)
	word(keyValidityOnBirthday, "validity.birthday_on_term", "validity", "counts", "does_not_count")
	word(keyValidityLeapDay, "validity.leap_day_birthday", "validity", "02-28", "03-01")
	number(keyFeeComuneFirst, "fee.comune.first", "fee", 0, 100000)
	number(keyFeeComuneDuplicate, "fee.comune.duplicate", "fee", 0, 100000)
	number(keyFeePostFirst, "fee.post.first", "fee", 0, 100000)
	number(keyFeePostDuplicate, "fee.post.duplicate", "fee", 0, 100000)
	number(keyFeeFree, "fee.free", "fee", 0, 0)
	word(keyTravel, "travel.caveat", "travel", "travel_document", "not_a_travel_document")
	number(keyLoginView, "login.view", "login", 1, 3)
	number(keyLoginOpen, "login.open_request", "login", 1, 3)
	number(keyLoginDelivery, "login.change_delivery", "login", 1, 3)
	number(keyLoginLoss, "login.report_loss", "login", 1, 3)
	number(keyLoginAssent, "login.second_parent_assent", "login", 1, 3)
	number(keyBookingHold, "booking.hold_minutes", "booking", 1, 1440)
	for _, id := range []keyID{
		keyTravel, keyFeeComuneFirst, keyFeeComuneDuplicate, keyFeePostFirst, keyFeePostDuplicate,
		keyChannelComune, keyChannelPost, keyUnclaimedDays,
	} {
		t[id].places = true
	}
	return t
}
