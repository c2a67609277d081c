package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
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
	answer, err := set.ExplainSituation(line)
	err = lineErrorOf(err)
	var wrong *lineError
	if errors.As(err, &wrong) && wrong.Code == "unknown_member" {
		// The shape above knows every other member.
		wrong.Field = "given_policy." + wrong.Field
	}
	return answer, err
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

// checkShape refuses members that shape does not have and decodes the line into
// target, a pointer, to find values of a wrong type; both with their path.
func checkShape(line json.RawMessage, shape reflect.Type, target any) error {
	walk := memberWalk{decoder: json.NewDecoder(bytes.NewReader(line))}
	walk.decoder.UseNumber()
	if err := walk.value(shape, ""); err != nil {
		return err
	}
	if err := json.Unmarshal(line, target); err != nil {
		var wrong *json.UnmarshalTypeError
		if errors.As(err, &wrong) {
			return &lineError{"wrong_type", wrong.Field, fmt.Sprintf("%s stands where %s is expected", wrong.Value, jsonWord(wrong.Type))}
		}
		return &lineError{"invalid_json", "", err.Error()}
	}
	return nil
}

// jsonWord names a Go type as people who write JSON do.
func jsonWord(t reflect.Type) string {
	switch t.Kind() {
	case reflect.Struct, reflect.Map:
		return "an object"
	case reflect.Slice, reflect.Array:
		return "a list"
	case reflect.Int:
		return "a whole number"
	case reflect.Bool:
		return "true or false"
	default:
		return "a " + t.Kind().String()
	}
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
		return &lineError{strings.TrimPrefix(given.Code, "rules."), fmt.Sprintf("given_policy[%d]", given.Line-1), given.Detail}
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
