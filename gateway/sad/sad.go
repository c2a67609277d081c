// Package sad is the dialogue with a comune's own population registry (APR) by
// what is called SAD 2.8: the legacy way in which the issuing software asked
// the registry for the citizen's data while a card is being issued, to save
// typing (seed 004, 5.9; specs cie-aire-domain A50 to A53). Off unless a comune
// is configured for it.
//
// Duty: ask one question about one person, over http or through a pair of
// folders, and read the answer.
//
// Promise: the seven settings of A51 are checked before anything is asked; the
// constants for "valid for travel" are those of the comune and nothing else; an
// answer that is not to our question, not whole, or with another constant is an
// error, never a guess.
//
// It refuses: to speak to an address outside the comune's network in the clear,
// to read a file or a body without bound, and to let the answer decide anything:
// it is a help for the operator, the register (ANPR) decides.
//
// The bodies of the messages are ours and provisional (Version): the text of
// SAD 2.8 is not published any more. Whoever has it changes message.go only.
package sad

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"airegw/gateway/outbound"
)

// Kind of connection (A51).
type Kind string

// The kinds. The seed advises http.
const (
	KindHTTP Kind = "http"
	// KindFTP is the file transfer of the seed as its two folders: the comune
	// mounts or mirrors them, no FTP is spoken here.
	KindFTP Kind = "ftp"
)

// Settings are the seven items of A51, of one comune.
type Settings struct {
	Kind      Kind   `yaml:"connection"` // http or ftp; needed
	Address   string `yaml:"address"`    // IP address of the registry's server; needed with http
	Port      int    `yaml:"port"`       // needed with http
	Path      string `yaml:"path"`       // of the service; needed with http
	Upload    string `yaml:"upload"`     // folder of the requests; needed with ftp
	Download  string `yaml:"download"`   // folder of the answers; needed with ftp
	Constants string `yaml:"constants"`  // of "valid for travel", as S/N (advised); needed
}

// Constants are the two words for "valid for travel" and "not valid".
type Constants struct{ Yes, No string }

// The six pairs of the seed, in its order. The first is printed "SfN" there, a
// slip of the scan (A52).
var pairs = []Constants{{"S", "N"}, {"T", "F"}, {"SI", "NO"}, {"TRUE", "FALSE"}, {"VERO", "FALSO"}, {"1", "0"}}

// Pairs lists the six.
func Pairs() []Constants { return slices.Clone(pairs) }

func (c Constants) String() string { return c.Yes + "/" + c.No }

// ParseConstants reads a pair as a setting names it; only the six, exactly.
func ParseConstants(s string) (Constants, error) {
	for _, p := range pairs {
		if s == p.String() {
			return p, nil
		}
	}
	return Constants{}, &Error{Code: CodeConstants}
}

// Word is the comune's constant for a value.
func (c Constants) Word(valid bool) string {
	if valid {
		return c.Yes
	}
	return c.No
}

// Value reads a constant: exactly one of the comune's two, a word of another
// pair is refused.
func (c Constants) Value(word string) (valid bool, err error) {
	switch {
	case c.Yes == "" || c.No == "":
		return false, &Error{Code: CodeConstants}
	case word == c.Yes:
		return true, nil
	case word == c.No:
		return false, nil
	}
	return false, &Error{Code: CodeConstants}
}

// Code is the closed list of what can go wrong.
type Code string

// The codes.
const (
	CodeSettings  Code = "sad_settings"   // Field names the setting
	CodeConstants Code = "sad_constants"  // not one of the comune's two words
	CodeQuestion  Code = "sad_question"   // Field names the part that cannot be asked
	CodeNoAnswer  Code = "sad_no_answer"  // not reached, broken off, another status
	CodeUnread    Code = "sad_unreadable" // an answer that is none
	CodeNotOurs   Code = "sad_not_ours"   // an answer to another question
	CodePending   Code = "sad_pending"    // through folders: not answered yet
)

// Error is the only error of this package; it holds no personal data.
type Error struct {
	Code  Code
	Field string
	Err   error
}

func (e *Error) Error() string {
	s := "sad: " + string(e.Code)
	if e.Field != "" {
		s += " " + e.Field
	}
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	return s
}

func (e *Error) Unwrap() error { return e.Err }

// Faults lists the settings that are missing, wrong or of the other kind of
// connection, by name; empty when all is well. simulation keeps it on loopback.
func (s Settings) Faults(simulation bool) []string {
	var out []string
	bad := func(name string, wrong bool) {
		if wrong {
			out = append(out, name)
		}
	}
	_, err := ParseConstants(s.Constants)
	bad("constants", err != nil)
	switch s.Kind {
	case KindHTTP:
		ip, err := netip.ParseAddr(s.Address)
		// It speaks in the clear: not beyond the comune's own network.
		bad("address", err != nil || (!ip.IsLoopback() && (simulation || !ip.IsPrivate())))
		bad("port", s.Port < 1 || s.Port > 65535)
		bad("path", !pathShape.MatchString(s.Path))
		bad("upload", s.Upload != "")
		bad("download", s.Download != "")
	case KindFTP:
		bad("address", s.Address != "")
		bad("port", s.Port != 0)
		bad("path", s.Path != "")
		bad("upload", s.Upload == "")
		bad("download", s.Download == "" || s.Download == s.Upload)
	default:
		bad("connection", true)
	}
	return out
}

var (
	pathShape = regexp.MustCompile(`^/[A-Za-z0-9._~/-]{0,200}$`)
	idShape   = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9-]{0,63}$`)
)

// Registry is one comune's registry. Safe for concurrent use.
type Registry struct {
	settings  Settings
	constants Constants
	out       *outbound.Client
}

// New makes the dialogue of one comune; it asks nobody. out is needed with
// http. A *Error with CodeSettings names the first setting that is wrong.
func New(s Settings, simulation bool, out *outbound.Client) (*Registry, error) {
	if faults := s.Faults(simulation); len(faults) > 0 {
		return nil, &Error{Code: CodeSettings, Field: faults[0]}
	}
	if s.Kind == KindHTTP && out == nil {
		return nil, &Error{Code: CodeSettings, Field: "connection"}
	}
	constants, err := ParseConstants(s.Constants)
	if err != nil {
		return nil, err
	}
	return &Registry{settings: s, constants: constants, out: out}, nil
}

// Question asks about one person. ID is the same for every repetition: letters,
// digits and dashes, at most 64.
type Question struct {
	ID         string
	Comune     string // ISTAT code, six digits
	FiscalCode string
	Surname    string // as declared; may be empty, as the next
	GivenName  string
}

// Answer is what the registry says. It is personal data.
type Answer struct {
	Found     bool   `json:"found"`
	Surname   string `json:"surname,omitempty"`
	GivenName string `json:"given_name,omitempty"`
	BirthDate string `json:"birth_date,omitempty"` // YYYY-MM-DD
	// Travel says whether the registry has the person's card valid for travel;
	// nil when it does not say.
	Travel *bool `json:"travel,omitempty"`
}

// Ask asks once. Every error is a *Error; CodePending means that the folders
// hold the question and not yet the answer: ask again later with the same ID.
func (r *Registry) Ask(ctx context.Context, q Question) (Answer, error) {
	body, err := writeQuestion(q)
	if err != nil {
		return Answer{}, err
	}
	if r.settings.Kind == KindFTP {
		return r.byFolders(q, body)
	}
	resp, err := r.out.Do(ctx, outbound.Request{
		Operation: "sad", Method: http.MethodPost, Idempotent: true, Body: body,
		URL:    "http://" + netip.AddrPortFrom(netip.MustParseAddr(r.settings.Address), uint16(r.settings.Port)).String() + r.settings.Path, //nolint:gosec // Faults bounds the port
		Header: http.Header{"Content-Type": {"application/xml; charset=UTF-8"}, "Accept": {"application/xml"}},
		Accept: func(status int) bool { return status == http.StatusOK },
	})
	if err != nil {
		return Answer{}, &Error{Code: CodeNoAnswer, Err: err}
	}
	return r.read(q, resp.Body)
}

// Done forgets a question: through folders, its two files. An answer that was
// stored needs them no more.
func (r *Registry) Done(id string) error {
	if r.settings.Kind != KindFTP || !idShape.MatchString(id) {
		return nil
	}
	var errs []error
	for _, dir := range []string{r.settings.Upload, r.settings.Download} {
		err := os.Remove(filepath.Join(dir, id+".xml"))
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

const maxAnswer = 64 << 10

// byFolders puts the question down once and looks for its answer.
func (r *Registry) byFolders(q Question, body []byte) (Answer, error) {
	name := q.ID + ".xml"
	text, err := readBounded(filepath.Join(r.settings.Download, name))
	if err == nil {
		return r.read(q, text)
	}
	if !errors.Is(err, os.ErrNotExist) {
		return Answer{}, &Error{Code: CodeNoAnswer, Field: "download", Err: err}
	}
	path := filepath.Join(r.settings.Upload, name)
	if _, err = os.Stat(path); err == nil {
		return Answer{}, &Error{Code: CodePending}
	}
	// Whole or not at all: the other side reads what ends in .xml.
	if err = os.WriteFile(path+".part", body, 0o600); err == nil {
		err = os.Rename(path+".part", path)
	}
	if err != nil {
		return Answer{}, &Error{Code: CodeNoAnswer, Field: "upload", Err: err}
	}
	return Answer{}, &Error{Code: CodePending}
}

func readBounded(path string) ([]byte, error) {
	info, err := os.Stat(path)
	switch {
	case err != nil:
		return nil, err
	case !info.Mode().IsRegular() || info.Size() > maxAnswer:
		return nil, fmt.Errorf("not a file of at most %s bytes", strconv.Itoa(maxAnswer))
	}
	return os.ReadFile(path)
}

func (r *Registry) read(q Question, text []byte) (Answer, error) {
	a, err := readAnswer(text, q.ID, r.constants)
	if err == nil && strings.ContainsRune(a.Surname+a.GivenName, '\uFFFD') {
		return Answer{}, &Error{Code: CodeUnread, Field: "encoding"}
	}
	return a, err
}
