package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"

	"airegw/delivery"
	"airegw/gateway/messages"
	"airegw/policies"
)

// explainLines answers JSON Lines of one kind: "" for situations, "expiry",
// "due" or "label". The shapes are in docs/explain.md.
func explainLines(std streams, set *policies.Set, kind string) error {
	switch kind {
	case "":
		return jsonLines(std, func(line json.RawMessage) (policies.Explanation, error) { return answerSituation(set, line) })
	case "expiry":
		return jsonLines(std, func(line json.RawMessage) (policies.ExpiryExplanation, error) { return answerExpiry(set, line) })
	case "due":
		return jsonLines(std, answerDue)
	case "label":
		return jsonLines(std, answerLabel)
	default:
		return usage("explain %s -: the kinds are expiry, due and label", kind)
	}
}

// situationShape has the members of a situation, to find unknown ones with
// their path.
type situationShape struct {
	policies.Facts
	GivenPolicy json.RawMessage `json:"given_policy"`
}

// situationTimes are the members whose bad values the decoder could not name.
type situationTimes struct {
	On       *string `json:"on"`
	OnChosen *string `json:"on_chosen"`
	Person   *struct {
		BirthDate    *string `json:"birth_date"`
		ExistingCard *struct {
			Expires *string `json:"expires"`
		} `json:"existing_card"`
	} `json:"person"`
}

func answerSituation(set *policies.Set, line json.RawMessage) (policies.Explanation, error) {
	var times situationTimes
	if err := checkShape(line, reflect.TypeFor[situationShape](), &times); err != nil {
		return policies.Explanation{}, err
	}
	for field, text := range map[string]*string{"on": times.On, "on_chosen": times.OnChosen} {
		if text == nil {
			continue
		}
		if _, err := time.Parse(time.RFC3339, *text); err != nil {
			return policies.Explanation{}, &lineError{"bad_date", field, "an RFC 3339 instant is expected, such as 2026-11-21T12:00:00+01:00"}
		}
	}
	if person := times.Person; person != nil {
		if err := checkDate("person.birth_date", person.BirthDate); err != nil {
			return policies.Explanation{}, err
		}
		if person.ExistingCard != nil {
			if err := checkDate("person.existing_card.expires", person.ExistingCard.Expires); err != nil {
				return policies.Explanation{}, err
			}
		}
	}
	line, err := withGiven(line)
	if err != nil {
		return policies.Explanation{}, err
	}
	answer, err := set.ExplainSituation(line)
	return answer, lineErrorOf(err)
}

// givenQuestion is a supposed rule as other systems write it: the members of
// the policy model of specs B.2.4. Those about a parcel on its way do not touch
// this answer, which ends at the choice.
type givenQuestion struct {
	Country     *string         `json:"country"`
	Post        *string         `json:"post"`
	Option      *string         `json:"option"`
	Channel     *string         `json:"channel"`
	Allowed     *bool           `json:"allowed"`
	ReasonCode  *string         `json:"reason_code"`
	ReasonText  json.RawMessage `json:"reason_text"` // a string, or {"it","en"}
	LegalRef    *string         `json:"legal_ref"`
	ValidFrom   *string         `json:"valid_from"` // RFC 3339, or a date or minute in Rome
	ValidTo     *string         `json:"valid_to"`
	DecidedBy   []string        `json:"decided_by"`
	StorageDays *int            `json:"storage_days"`
	ReturnPath  *string         `json:"return_path"`
	MaxAttempts *int            `json:"max_attempts"`
	EstDays     *int            `json:"est_days"`
}

// givenRule is the same in the form that policies reads.
type givenRule struct {
	Country    string        `json:"country,omitempty"`
	Post       string        `json:"post,omitempty"`
	Option     string        `json:"option"`
	Channel    string        `json:"channel,omitempty"`
	Allowed    bool          `json:"allowed"`
	ReasonCode string        `json:"reason_code,omitempty"`
	ReasonText policies.Text `json:"reason_text"`
	LegalRef   string        `json:"legal_ref,omitempty"`
	ValidFrom  string        `json:"valid_from,omitempty"`
	ValidTo    string        `json:"valid_to,omitempty"`
}

// withGiven rewrites the supposed rules of a situation, if it has any, naming
// what is wrong in them by its path.
func withGiven(line json.RawMessage) (json.RawMessage, error) {
	var members map[string]json.RawMessage
	if err := json.Unmarshal(line, &members); err != nil {
		return nil, &lineError{"invalid_json", "", err.Error()}
	}
	given := bytes.TrimSpace(members["given_policy"])
	if len(given) == 0 || string(given) == "null" {
		return line, nil
	}
	list := []json.RawMessage{json.RawMessage(given)}
	path := func(int) string { return "given_policy" }
	switch given[0] {
	case '{':
	case '[':
		if err := json.Unmarshal(given, &list); err != nil {
			return nil, &lineError{"invalid_json", "given_policy", err.Error()}
		}
		path = func(i int) string { return fmt.Sprintf("given_policy[%d]", i) }
	default:
		return nil, &lineError{"wrong_type", "given_policy", "a supposed rule is an object"}
	}
	rules := make([]givenRule, len(list))
	for i, one := range list {
		rule, err := readGiven(one)
		if err != nil {
			var wrong *lineError
			if errors.As(err, &wrong) {
				wrong.Field = strings.TrimSuffix(path(i)+"."+wrong.Field, ".")
			}
			return nil, err
		}
		rules[i] = rule
	}
	rewritten, err := json.Marshal(rules)
	if err != nil {
		return nil, fmt.Errorf("rewrite supposed rules: %w", err)
	}
	members["given_policy"] = rewritten
	return json.Marshal(members)
}

func readGiven(one json.RawMessage) (givenRule, error) {
	var q givenQuestion
	if one[0] != '{' {
		return givenRule{}, &lineError{"wrong_type", "", "a supposed rule is an object"}
	}
	if err := checkShape(one, reflect.TypeOf(q), &q); err != nil {
		return givenRule{}, err
	}
	switch {
	case q.Option == nil:
		return givenRule{}, errMissing("option")
	case q.Allowed == nil:
		return givenRule{}, errMissing("allowed")
	case !slices.Contains(policies.DeliveryOptions[:], policies.DeliveryOption(*q.Option)):
		return givenRule{}, &lineError{"unknown_value", "option", "the deliveries are " + words(policies.DeliveryOptions[:])}
	}
	text := func(s *string) string {
		if s == nil {
			return ""
		}
		return *s
	}
	rule := givenRule{
		Country: text(q.Country), Post: text(q.Post), Option: *q.Option, Channel: text(q.Channel), Allowed: *q.Allowed,
		ReasonCode: text(q.ReasonCode), LegalRef: text(q.LegalRef),
	}
	var said string
	switch {
	case len(q.ReasonText) == 0:
	case json.Unmarshal(q.ReasonText, &said) == nil:
		rule.ReasonText = policies.Text{IT: said, EN: said}
	default:
		if err := checkShape(q.ReasonText, reflect.TypeFor[policies.Text](), &rule.ReasonText); err != nil {
			return givenRule{}, &lineError{"wrong_type", "reason_text", `a string or {"it","en"} is expected`}
		}
	}
	for _, bound := range []struct {
		name string
		text *string
		into *string
	}{{"valid_from", q.ValidFrom, &rule.ValidFrom}, {"valid_to", q.ValidTo, &rule.ValidTo}} {
		at, ok := inRomeText(text(bound.text))
		if !ok {
			return givenRule{}, &lineError{"bad_date", bound.name, "an RFC 3339 instant to the minute, or YYYY-MM-DD in Rome, is expected"}
		}
		*bound.into = at
	}
	return rule, nil
}

// inRomeText writes an RFC 3339 instant as rule files do; a date or minute of
// theirs stays as it is.
func inRomeText(text string) (string, bool) {
	if at, err := time.Parse(time.RFC3339, text); err == nil {
		return at.In(policies.Rome()).Format("2006-01-02T15:04"), at.Second() == 0 && at.Nanosecond() == 0
	}
	for _, layout := range []string{time.DateOnly, "2006-01-02T15:04"} {
		if _, err := time.Parse(layout, text); err == nil {
			return text, true
		}
	}
	return text, text == "" || text == "always"
}

func answerExpiry(set *policies.Set, line json.RawMessage) (policies.ExpiryExplanation, error) {
	var question struct {
		RequestDate  *string `json:"request_date"`
		BirthDate    *string `json:"birth_date"`
		Fingerprints *string `json:"fingerprints"`
	}
	if err := checkShape(line, reflect.TypeOf(question), &question); err != nil {
		return policies.ExpiryExplanation{}, err
	}
	for _, member := range []struct {
		name string
		text *string
	}{{"request_date", question.RequestDate}, {"birth_date", question.BirthDate}} {
		if member.text == nil {
			return policies.ExpiryExplanation{}, errMissing(member.name)
		}
		if err := checkDate(member.name, member.text); err != nil {
			return policies.ExpiryExplanation{}, err
		}
	}
	answer, err := set.ExplainExpiry(line)
	return answer, lineErrorOf(err)
}

func answerDue(line json.RawMessage) (delivery.DueExplanation, error) {
	var question struct {
		From        *string `json:"from"`
		WorkingDays *int    `json:"working_days"`
	}
	if err := checkShape(line, reflect.TypeOf(question), &question); err != nil {
		return delivery.DueExplanation{}, err
	}
	switch {
	case question.From == nil || *question.From == "":
		return delivery.DueExplanation{}, errMissing("from")
	case question.WorkingDays == nil:
		return delivery.DueExplanation{}, errMissing("working_days")
	}
	if err := checkDate("from", question.From); err != nil {
		return delivery.DueExplanation{}, err
	}
	answer, err := delivery.ExplainDue(line)
	return answer, lineErrorOf(err)
}

func answerLabel(line json.RawMessage) (delivery.LabelExplanation, error) {
	var question struct {
		Address *delivery.Address `json:"address"`
	}
	if err := checkShape(line, reflect.TypeOf(question), &question); err != nil {
		return delivery.LabelExplanation{}, err
	}
	if question.Address == nil {
		return delivery.LabelExplanation{}, errMissing("address")
	}
	answer, err := delivery.ExplainLabel(line)
	return answer, lineErrorOf(err)
}

// checkDate refuses what is no date; null and "" say that it is not known.
func checkDate(field string, text *string) error {
	if text == nil || *text == "" {
		return nil
	}
	if _, err := policies.ParseDate(*text); err != nil {
		return &lineError{"bad_date", field, "a date YYYY-MM-DD that exists is expected"}
	}
	return nil
}

// factsWords are the errors about facts as lines answer them: code and text.
var factsWords = map[string][2]string{
	policies.CodeFactsMember:  {"unknown_member", "the member is not known here"},
	policies.CodeFactsValue:   {"unknown_value", "the value is not one of those known here"},
	policies.CodeFactsType:    {"wrong_type", "the value is not of the kind expected here"},
	policies.CodeFactsDate:    {"bad_date", "the date does not exist or does not fit the others"},
	policies.CodeFactsMissing: {"required", "the member is missing"},
	policies.CodeFactsJSON:    {"invalid_json", "the line cannot be read"},
	policies.CodeFactsCountry: {"unknown_country", "the country code is not known: see airegw registry states"},
}

// lineErrorOf turns the packages' own errors into the answer to a line.
func lineErrorOf(err error) error {
	var facts *policies.FactsError
	var given *policies.LoadError
	var address *delivery.AddressError
	var number *delivery.RangeError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &facts):
		words, ok := factsWords[facts.Code]
		if !ok {
			words = [2]string{facts.Code, facts.Code}
		}
		text := words[1]
		if facts.Value != "" {
			text += ": " + facts.Value
		}
		return &lineError{words[0], strings.TrimPrefix(facts.Field, "$"), text}
	case errors.As(err, &given):
		return &lineError{strings.TrimPrefix(given.Code, "rules."), "given_policy", given.Detail}
	case errors.As(err, &address):
		first := address.Problems[0]
		text := messages.Text(messages.EN, first.Code, nil)
		if first.Arg != "" {
			text += " (" + first.Arg + ")"
		}
		return &lineError{first.Code, "address." + first.Field, text}
	case errors.As(err, &number):
		return &lineError{"out_of_range", number.Field, "the value is outside what can be computed: " + number.Value}
	default:
		return err
	}
}
