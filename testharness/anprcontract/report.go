package anprcontract

import (
	"encoding/json"
	"encoding/xml"
	"fmt"
	"io"
)

// JSON writes the report as one JSON document.
func (r Report) JSON(w io.Writer) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	err := enc.Encode(r)
	if err != nil {
		return fmt.Errorf("contract: report: %w", err)
	}
	return nil
}

type junitSuite struct {
	XMLName  xml.Name    `xml:"testsuite"`
	Name     string      `xml:"name,attr"`
	Tests    int         `xml:"tests,attr"`
	Failures int         `xml:"failures,attr"`
	Skipped  int         `xml:"skipped,attr"`
	Time     string      `xml:"time,attr"`
	Cases    []junitCase `xml:"testcase"`
}

type junitCase struct {
	Class   string       `xml:"classname,attr"`
	Name    string       `xml:"name,attr"`
	Time    string       `xml:"time,attr"`
	Failure *junitReason `xml:"failure,omitempty"`
	Skipped *junitReason `xml:"skipped,omitempty"`
}

type junitReason struct {
	Message string `xml:"message,attr"`
}

// JUnit writes the report as one test suite; a clause is a class.
func (r Report) JUnit(w io.Writer) error {
	s := junitSuite{Name: "anpr contract", Tests: r.Scenarios, Failures: r.Fail, Skipped: r.NotApplicable, Time: fmt.Sprintf("%.3f", r.Seconds)}
	for _, one := range r.Results {
		c := junitCase{Class: one.Clause, Name: one.ID + ": " + one.Sentence, Time: fmt.Sprintf("%.3f", one.Took.Seconds())}
		switch one.Result {
		case Fail:
			c.Failure = &junitReason{one.Why}
		case NotApplicable:
			c.Skipped = &junitReason{one.Why}
		}
		s.Cases = append(s.Cases, c)
	}
	_, err := io.WriteString(w, xml.Header)
	if err == nil {
		enc := xml.NewEncoder(w)
		enc.Indent("", "  ")
		err = enc.Encode(s)
	}
	if err == nil {
		_, err = io.WriteString(w, "\n")
	}
	if err != nil {
		return fmt.Errorf("contract: report: %w", err)
	}
	return nil
}

// Text writes the report for people: a line per clause, then what failed.
func (r Report) Text(w io.Writer) error {
	var err error
	line := func(format string, args ...any) {
		if err == nil {
			_, err = fmt.Fprintf(w, format+"\n", args...)
		}
	}
	for _, c := range r.Clauses {
		mark := map[string]string{Pass: "pass", Fail: "FAIL", NotApplicable: "n/a "}[c.Result]
		line("%s  %-10s %2d passed, %d failed, %d not applicable", mark, c.Clause, c.Pass, c.Fail, c.NotApplicable)
	}
	for _, one := range r.Results {
		if one.Result == Fail {
			line("\nFAIL  %s (%s)\n      %s\n      %s", one.ID, one.Clause, one.Sentence, one.Why)
		}
	}
	line("\n%d scenarios, %d clauses: %d passed, %d failed, %d not applicable; %d calls in %.1f s", r.Scenarios, len(r.Clauses), r.Pass, r.Fail, r.NotApplicable, r.Calls, r.Seconds)
	if err != nil {
		return fmt.Errorf("contract: report: %w", err)
	}
	return nil
}
