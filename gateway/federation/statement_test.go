package federation

import (
	"errors"
	"strings"
	"testing"
)

func TestOnlyAPlainHTTPSAddressIsAnEntityIdentifier(t *testing.T) {
	t.Parallel()
	for _, id := range []string{
		"https://op.example.test", "https://op.example.test/", "https://op.example.test:8443/a/b",
		"http://127.0.0.1:8000/oidc/op/", "http://localhost:1", "http://[::1]:8000",
	} {
		if err := CheckEntityID(id); err != nil {
			t.Errorf("%s: %v", id, err)
		}
	}
	for _, id := range []string{
		"", "op", "op.example.test", "https:op.example.test", "https:///a", "https://", "http://op.example.test", "ftp://op.example.test",
		"https://op.example.test?", "https://op.example.test/?a=b", "https://op.example.test/#", "https://u:p@op.example.test", "https://op.example.test/%zz",
		"https://op.example.test/" + strings.Repeat("a", maxEntityID), "http://127.0.0.1.example.test", "urn:x:y",
	} {
		if err := CheckEntityID(id); CodeOf(err) != CodeEntityID {
			t.Errorf("%s: %v", id, err)
		}
	}
}

func TestAListOfCriticalOperatorsThatIsNoneIsRefused(t *testing.T) {
	t.Parallel()
	l := newLab()
	l.taOP.claims["metadata_policy_crit"] = "regexp"
	if _, err := VerifyChain(l.opChain(t), l.anchor, l.rules); CodeOf(err) != CodePolicy {
		t.Fatalf("got %v", err)
	}
}

func TestErrorsMatchByCodeAndNeverCarryTokens(t *testing.T) {
	t.Parallel()
	l := newLab()
	l.op.claims["exp"] = testNow.Unix()
	chain := l.opChain(t)
	_, err := VerifyChain(chain, l.anchor, l.rules)
	if !errors.Is(err, &Error{Code: CodeExpired}) || errors.Is(err, &Error{Code: CodeFuture}) || CodeOf(errors.New("x")) != "" {
		t.Fatalf("got %v", err)
	}
	for _, token := range chain {
		if strings.Contains(err.Error(), token[len(token)-20:]) {
			t.Error("the text holds a signature")
		}
	}
}

func TestAStatementAboutAnotherIsNoConfiguration(t *testing.T) {
	t.Parallel()
	s, err := ParseStatement(newLab().taOP.sign(t))
	if err != nil {
		t.Fatal(err)
	}
	if err := s.verifySelf(testNow, 0); CodeOf(err) != CodeNotSelf {
		t.Fatalf("got %v", err)
	}
}
