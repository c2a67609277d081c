package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"airegw/testharness/anprcontract"
)

// command runs one command of the binary in this process.
func command(t *testing.T, args ...string) (exit int, out, problems string) {
	t.Helper()
	var o, e bytes.Buffer
	exit = run(t.Context(), args, streams{strings.NewReader(""), &o, &e})
	return exit, o.String(), e.String()
}

// startSim runs "airegw sim anpr" until the test ends and answers its line.
func startSim(t *testing.T, args ...string) anprcontract.SimLine {
	t.Helper()
	var line anprcontract.SimLine
	untilTheEnd(t, &line, append([]string{"sim", "anpr"}, args...)...)
	return line
}

// untilTheEnd runs a command that serves until the test ends, and reads the
// line it prints first.
func untilTheEnd(t *testing.T, line any, args ...string) {
	t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	r, w := io.Pipe()
	done := make(chan int, 1)
	var problems bytes.Buffer
	go func() {
		exit := run(ctx, args, streams{strings.NewReader(""), w, &problems})
		_ = w.Close()
		done <- exit
	}()
	t.Cleanup(func() {
		stop()
		if exit := <-done; exit != 0 {
			t.Errorf("%v: exit %d %s", args, exit, problems.String())
		}
	})
	if err := json.NewDecoder(r).Decode(line); err != nil {
		t.Fatalf("%v: %v", args, err)
	}
}

func TestTheContractIsJudgedAgainstASimulatorStartedForItOrARunningOne(t *testing.T) {
	t.Parallel()
	exit, out, problems := command(t, "contract", "anpr", "--json", "--only", "§1.5")
	var own anprcontract.Report
	if err := json.Unmarshal([]byte(out), &own); err != nil || exit != 0 || own.Pass < 5 || own.Fail != 0 {
		t.Fatalf("own simulator: exit %d, %v, %+v\n%s", exit, err, own, problems)
	}
	line := startSim(t)
	if line.ClientID == "" || line.Kid == "" || line.Purposes["C030"] == "" || line.Audience == "" || line.ManagementURL == "" {
		t.Errorf("%+v", line)
	}
	junit := filepath.Join(t.TempDir(), "junit.xml")
	exit, out, problems = command(t, "contract", "anpr", "--url", line.URL, "--junit", junit, "--only", "§1.6", "--only", "§1.8")
	if exit != 0 || !strings.Contains(out, "0 not applicable") {
		t.Errorf("running simulator: exit %d\n%s%s", exit, out, problems)
	}
	if text, err := os.ReadFile(junit); err != nil || !bytes.Contains(text, []byte("<testsuite")) {
		t.Errorf("junit: %v %s", err, text)
	}
}

func TestABrokenRuleIsExitOneAndItsClauseIsNamed(t *testing.T) {
	t.Parallel()
	exit, out, problems := command(t, "contract", "anpr", "--mutant", "audit-userid", "--only", "§8 row 2")
	if exit != 1 || !strings.Contains(out, "FAIL  §8 row 2") || !strings.Contains(problems, "§8 row 2") {
		t.Errorf("exit %d\n%s%s", exit, out, problems)
	}
}

func TestSimSignPrintsWhatCurlSends(t *testing.T) {
	t.Parallel()
	line := startSim(t)
	origin, _, _ := strings.Cut(line.URL, "/govway")
	exit, out, problems := command(t, "sim", "sign", "--url", origin, "--service", "c030", "--cf", "FRRLCU86D57Z600N", "--json")
	var call anprcontract.Signed
	if err := json.Unmarshal([]byte(out), &call); err != nil || exit != 0 || call.URL != line.Services["C030"] || len(call.Headers) != 5 {
		t.Fatalf("exit %d, %v: %s%s", exit, err, out, problems)
	}
	body := filepath.Join(t.TempDir(), "body.json")
	if err := os.WriteFile(body, []byte(call.Body), 0o600); err != nil {
		t.Fatal(err)
	}
	exit, out, _ = command(t, "sim", "sign", "--url", line.URL, "--client", line.ClientFile, "--service", "C030", "--body", body)
	if exit != 0 || strings.Count(out, "\n") != 5 || !strings.Contains(out, "Digest: "+call.Headers["Digest"]) {
		t.Errorf("exit %d: %s", exit, out)
	}
	for _, args := range [][]string{
		{"--service", "C030"}, {"--service", "C030", "--cf", "X"}, {"--service", "C030", "--cf", "X", "--id", "Y", "--json"},
	} {
		if exit, _, _ := command(t, append([]string{"sim", "sign", "--url", origin}, args...)...); exit != 2 {
			t.Errorf("%v: exit %d", args, exit)
		}
	}
	if exit, _, _ := command(t, "sim", "sign", "--url", origin, "--service", "C999", "--cf", "X", "--json"); exit != 1 {
		t.Errorf("unknown service: exit %d", exit)
	}
}

func TestOnesOwnKeySetIsRegisteredAndAPrivateMemberRefused(t *testing.T) {
	t.Parallel()
	c, err := anprcontract.NewClient(anprcontract.ServiceNames())
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	write := func(name string, v any) string {
		t.Helper()
		b, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	line := startSim(t, "--client-jwks", write("public.json", c.Public()), "--client-id", c.ID)
	if line.ClientID != c.ID || line.Kid != c.Kid || line.ClientFile != "" {
		t.Errorf("%+v", line)
	}
	c.Purposes = line.Purposes
	exit, out, problems := command(t, "sim", "sign", "--url", line.URL, "--client", write("client.json", c), "--service", "C020", "--id", "ZN15688CX", "--curl")
	if exit != 0 || !strings.HasPrefix(out, "curl -sS -X POST 'http://127.0.0.1:") {
		t.Errorf("exit %d: %s%s", exit, out, problems)
	}
	if exit, _, problems := command(t, "sim", "anpr", "--client-jwks", write("private.json", c.Key)); exit != 2 || !strings.Contains(problems, "private member") {
		t.Errorf("private key set: exit %d %s", exit, problems)
	}
}
