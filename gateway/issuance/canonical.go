package issuance

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"

	"airegw/gateway/strictjson"
)

// Digest of a body as the contract defines it: "sha-256:" and the hex SHA-256
// of its canonical form (RFC 8785; only strings, booleans, integers, arrays
// and objects occur).
func Digest(body any) (string, error) {
	data, err := json.Marshal(body)
	if err != nil {
		return "", err
	}
	canon, err := canonical(data)
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(canon)
	return "sha-256:" + hex.EncodeToString(sum[:]), nil
}

func canonical(data []byte) ([]byte, error) {
	v, err := bodies.Tree(data)
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	if err := writeCanonical(&out, v); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

// bodies is how the contract's bodies are read: a member given twice is refused,
// since two readers of such a body could see two bodies, and so is null.
var bodies = strictjson.Rules{NoNull: true, MaxDepth: 16}

// names answers an object's members in the order of RFC 8785: by UTF-16 units.
func names(object map[string]any) []string {
	return slices.SortedFunc(maps.Keys(object), byUTF16)
}

// byUTF16 compares two texts as their UTF-16 units compare: unlike the bytes of
// UTF-8, these put what lies beyond the first plane before the last of it.
func byUTF16(a, b string) int {
	for a != "" && b != "" {
		r, n := utf8.DecodeRuneInString(a)
		s, m := utf8.DecodeRuneInString(b)
		if r != s {
			return cmp.Or(cmp.Compare(firstUnit(r), firstUnit(s)), cmp.Compare(r, s))
		}
		a, b = a[n:], b[m:]
	}
	return cmp.Compare(len(a), len(b))
}

func firstUnit(r rune) rune {
	if high, _ := utf16.EncodeRune(r); high != utf8.RuneError {
		return high
	}
	return r
}

func writeCanonical(out *bytes.Buffer, v any) error {
	switch v := v.(type) {
	case map[string]any:
		out.WriteByte('{')
		for i, name := range names(v) {
			if i > 0 {
				out.WriteByte(',')
			}
			writeString(out, name)
			out.WriteByte(':')
			if err := writeCanonical(out, v[name]); err != nil {
				return err
			}
		}
		out.WriteByte('}')
	case []any:
		out.WriteByte('[')
		for i, item := range v {
			if i > 0 {
				out.WriteByte(',')
			}
			if err := writeCanonical(out, item); err != nil {
				return err
			}
		}
		out.WriteByte(']')
	case string:
		writeString(out, v)
	case bool:
		out.WriteString(strconv.FormatBool(v))
	case json.Number:
		n, err := strconv.ParseInt(v.String(), 10, 64)
		// Beyond 2^53 the canonical form of RFC 8785 is no integer any more.
		if err != nil || n > 1<<53 || n < -(1<<53) {
			return fmt.Errorf("%s is not an integer", v)
		}
		out.WriteString(strconv.FormatInt(n, 10))
	default:
		return errors.New("not a value of the contract")
	}
	return nil
}

func writeString(out *bytes.Buffer, s string) {
	out.WriteByte('"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			out.WriteByte('\\')
			out.WriteRune(r)
		case r == '\b':
			out.WriteString(`\b`)
		case r == '\t':
			out.WriteString(`\t`)
		case r == '\n':
			out.WriteString(`\n`)
		case r == '\f':
			out.WriteString(`\f`)
		case r == '\r':
			out.WriteString(`\r`)
		case r < ' ':
			fmt.Fprintf(out, `\u%04x`, r)
		default:
			out.WriteRune(r)
		}
	}
	out.WriteByte('"')
}

// plainText is the contract's rule for strings: NFC UTF-8 without control
// characters and without U+2028 and U+2029; U+FFFD, which json.Marshal writes
// for invalid UTF-8, is text that was damaged before it came here.
func plainText(s string) bool {
	if !utf8.ValidString(s) || !norm.NFC.IsNormalString(s) {
		return false
	}
	for _, r := range s {
		if unicode.IsControl(r) || r == '\u2028' || r == '\u2029' || r == utf8.RuneError {
			return false
		}
	}
	return true
}

// badText finds the first string of a body that breaks the rule.
func badText(v any, path string) (string, bool) {
	switch v := v.(type) {
	case string:
		return path, !plainText(v)
	case map[string]any:
		for _, name := range names(v) {
			at := name
			if path != "" {
				at = path + "." + name
			}
			if where, bad := badText(v[name], at); bad {
				return where, true
			}
		}
	case []any:
		for i, item := range v {
			if where, bad := badText(item, path+"["+strconv.Itoa(i)+"]"); bad {
				return where, true
			}
		}
	}
	return "", false
}
