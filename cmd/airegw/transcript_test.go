package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"airegw/testharness/anprcontract"
)

// theBinary builds the program as it is shipped, once for all tests.
var theBinary = sync.OnceValues(func() (string, error) {
	var err error
	if binaryFolder, err = os.MkdirTemp("", "airegw-binary-"); err != nil {
		return "", err
	}
	binary := filepath.Join(binaryFolder, "airegw")
	build := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", binary, ".")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("%w\n%s", err, out)
	}
	return binary, nil
})

// binaryFolder is where it is, "" before it was built.
var binaryFolder string

// removeTheBinary is for the end of all tests.
func removeTheBinary() {
	if binaryFolder != "" {
		_ = os.RemoveAll(binaryFolder)
	}
}

// step is one command of a transcript with what it printed.
type step struct{ command, output string }

// transcript reads the console blocks of a document.
func transcript(text string) []step {
	var steps []step
	for i, block := range strings.Split(text, "```console\n") {
		body, _, ok := strings.Cut(block, "```")
		if i == 0 || !ok {
			continue
		}
		for _, line := range strings.Split(strings.TrimSuffix(body, "\n"), "\n") {
			if command, ok := strings.CutPrefix(line, "$ "); ok {
				steps = append(steps, step{command: command})
			} else if len(steps) > 0 {
				steps[len(steps)-1].output += line + "\n"
			}
		}
	}
	return steps
}

// variable masks what differs from session to session.
var variable = []struct {
	shape *regexp.Regexp
	by    string
}{
	{regexp.MustCompile(`eyJ[A-Za-z0-9_.-]+`), "JWS"},
	{regexp.MustCompile(`"idOperazioneANPR":"[0-9]+"`), `"idOperazioneANPR":"N"`},
	{regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}`), "UUID"},
	{regexp.MustCompile(`"time":"[0-9TZ:.+-]+"`), `"time":"T"`},
}

func masked(s string) string {
	for _, v := range variable {
		s = v.shape.ReplaceAllString(s, v.by)
	}
	return strings.TrimSpace(s)
}

// TestTheTranscriptWithCurlIsWhatHappens runs the session that the simulator's
// README shows, command by command, against the program itself.
func TestTheTranscriptWithCurlIsWhatHappens(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(filepath.Join("..", "..", "testharness", "anprsim", "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	steps := transcript(string(text))
	if len(steps) < 9 {
		t.Fatalf("%d commands in the README", len(steps))
	}
	const shownAddr, shownManagement = "127.0.0.1:8441", "127.0.0.1:8442"
	if !strings.Contains(string(text), "airegw sim anpr --addr "+shownAddr+" --management-addr "+shownManagement+" > sim.json &") {
		t.Error("the README does not say how the simulator of the session was started")
	}
	binary, err := theBinary()
	if err != nil {
		t.Fatal(err)
	}
	if day := time.Now().Format(time.DateOnly); day < "2026-11-21" {
		t.Fatalf("the machine's clock stands at %s, before the session of the README", day)
	}
	for _, curl := range []bool{true, false} {
		if _, err := exec.LookPath("curl"); curl && err != nil {
			t.Log("curl is not on this machine: its calls are made with net/http alone")
			continue
		}
		line := startBinary(t, binary)
		here := strings.NewReplacer("http://"+shownAddr, strings.TrimSuffix(line.URL, "/govway/rest/in/MinInternoPortaANPR-PDND"), "http://"+shownManagement, line.ManagementURL)
		s := session{t: t, dir: t.TempDir(), curl: curl, env: append(os.Environ(), "PATH="+filepath.Dir(binary)+string(os.PathListSeparator)+os.Getenv("PATH"))}
		calls := 0
		for _, one := range steps {
			got := s.run(here.Replace(one.command))
			if strings.HasPrefix(one.command, "curl ") {
				calls++
			}
			if masked(got) != masked(here.Replace(one.output)) {
				t.Errorf("with curl %v: $ %s\n%s\nthe README says\n%s", curl, one.command, got, one.output)
			}
		}
		if calls < 4 {
			t.Errorf("only %d calls with curl", calls)
		}
	}
}

// startBinary runs the simulator until the test ends and answers its line.
func startBinary(t *testing.T, binary string) anprcontract.SimLine {
	t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	cmd := exec.CommandContext(ctx, binary, "sim", "anpr", "--addr", "127.0.0.1:0", "--management-addr", "127.0.0.1:0")
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 10 * time.Second
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		stop()
		t.Fatal(err)
	}
	t.Cleanup(func() {
		stop()
		_ = cmd.Wait() // interrupted
	})
	var line anprcontract.SimLine
	if err := json.NewDecoder(out).Decode(&line); err != nil {
		t.Fatal(err)
	}
	return line
}

// session runs a transcript's commands one after the other in one folder.
type session struct {
	t    *testing.T
	dir  string
	curl bool
	env  []string
	vars []string // NAME, value, …
}

var assignment = regexp.MustCompile(`^([A-Z]+)=(\S+)$`)

func (s *session) run(command string) string {
	s.t.Helper()
	if m := assignment.FindStringSubmatch(command); m != nil {
		s.vars, s.env = append(s.vars, "$"+m[1], m[2]), append(s.env, m[1]+"="+m[2])
		return ""
	}
	if strings.HasPrefix(command, "curl ") && !s.curl {
		return s.call(strings.NewReplacer(s.vars...).Replace(command))
	}
	cmd := exec.CommandContext(s.t.Context(), "sh", "-c", command)
	cmd.Dir, cmd.Env = s.dir, s.env
	var out, problems bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &problems
	if err := cmd.Run(); err != nil {
		s.t.Fatalf("$ %s: %v\n%s", command, err, problems.String())
	}
	return out.String()
}

// call does what a curl command of the transcript does.
func (s *session) call(command string) string {
	s.t.Helper()
	words := strings.Fields(command)
	method, headers, body := http.MethodGet, "", []byte(nil)
	read := func(word string) []byte {
		text, err := os.ReadFile(filepath.Join(s.dir, strings.TrimPrefix(word, "@")))
		if err != nil {
			s.t.Fatal(err)
		}
		return text
	}
	for i, w := range words[:len(words)-1] {
		switch w {
		case "-H":
			headers = string(read(words[i+1]))
		case "--data-binary":
			method, body = http.MethodPost, read(words[i+1])
		}
	}
	req, err := http.NewRequestWithContext(s.t.Context(), method, words[len(words)-1], bytes.NewReader(body))
	if err != nil {
		s.t.Fatal(err)
	}
	for line := range strings.Lines(headers) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), ": "); ok {
			req.Header.Set(name, value)
		}
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		s.t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	return string(text)
}
