package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
	"strings"

	"airegw/gateway/strictjson"
)

// maxJSONLine is the longest input line answered on its merits, in bytes
// without the line end. Everything this mode is asked about (a name, a code, an
// address) fits hundreds of times; a longer line is skipped without being kept
// in memory and answered with an error.
const maxJSONLine = 64 << 10

// lineError is the answer to one bad input line. A function given to jsonLines
// returns it to choose code and field; any other error is answered with the
// code "invalid" and its own text.
type lineError struct {
	Code  string `json:"code"`  // for machines: lower case, underscores
	Field string `json:"field"` // path of the member at fault, "" for the whole line
	Text  string `json:"text"`  // for people
}

func (e *lineError) Error() string {
	if e.Field == "" {
		return e.Code + ": " + e.Text
	}
	return e.Code + " at " + e.Field + ": " + e.Text
}

// jsonLines answers JSON Lines: for every line of std.in, in order, exactly one
// line on std.out, either f's answer or {"error":{"code","field","text"}}. A bad
// line (not UTF-8, not one JSON object of I's shape, unknown or repeated
// members, too long, empty) is answered on its place and never stops the rest.
// Only a failure of the streams themselves is returned. Output is flushed
// whenever no more input is waiting, so that a program can hold a conversation.
func jsonLines[I, O any](std streams, f func(I) (O, error)) error {
	in := bufio.NewReaderSize(std.in, 32<<10)
	out := bufio.NewWriterSize(std.out, 32<<10)
	encoder := json.NewEncoder(out)
	encoder.SetEscapeHTML(false)
	var line []byte
	for first := true; ; first = false {
		var tooLong bool
		var err error
		line, tooLong, err = readLine(in, line[:0])
		if err != nil {
			flushed := out.Flush()
			if errors.Is(err, io.EOF) {
				err = nil
			}
			return errors.Join(err, flushed)
		}
		if first {
			line = bytes.TrimPrefix(line, []byte("\uFEFF"))
		}
		var answer any
		if tooLong {
			answer = failedLine(&lineError{"line_too_long", "", fmt.Sprintf("the line is longer than %d bytes", maxJSONLine)})
		} else if answered, err := answerLine(line, f); err != nil {
			answer = failedLine(err)
		} else {
			answer = answered
		}
		if err := encoder.Encode(answer); err != nil {
			return fmt.Errorf("writing an answer: %w", err)
		}
		if in.Buffered() == 0 {
			if err := out.Flush(); err != nil {
				return fmt.Errorf("writing answers: %w", err)
			}
		}
	}
}

// readLine reads one line without its end into buffer. It answers io.EOF only
// when no byte was left: a last line without a line end is a line. Of a line
// over the bound only the bound is kept.
func readLine(in *bufio.Reader, buffer []byte) (line []byte, tooLong bool, err error) {
	read := false
	for {
		part, err := in.ReadSlice('\n')
		read = read || len(part) > 0
		if len(buffer) <= maxJSONLine+2 {
			buffer = append(buffer, part...)
		}
		switch {
		case errors.Is(err, bufio.ErrBufferFull):
			continue
		case errors.Is(err, io.EOF) && read:
		case errors.Is(err, io.EOF):
			return nil, false, io.EOF
		case err != nil:
			return nil, false, fmt.Errorf("reading the input: %w", err)
		}
		buffer = bytes.TrimSuffix(buffer, []byte("\n"))
		buffer = bytes.TrimSuffix(buffer, []byte("\r"))
		return buffer, len(buffer) > maxJSONLine, nil
	}
}

// failedLine is the shape of an error's answer.
func failedLine(err error) any {
	var known *lineError
	if !errors.As(err, &known) {
		known = &lineError{"invalid", "", err.Error()}
	}
	return struct {
		Error *lineError `json:"error"`
	}{known}
}

// answerLine decodes one line strictly and asks f.
func answerLine[I, O any](line []byte, f func(I) (O, error)) (answer O, err error) {
	var question I
	if err := decodeStrictly(line, &question); err != nil {
		return answer, err
	}
	return f(question)
}

// decodeStrictly decodes one JSON object into target, a pointer to a struct.
func decodeStrictly(line []byte, target any) error {
	return checkShape(line, reflect.TypeOf(target).Elem(), target)
}

// checkShape refuses members that shape, a struct, does not have, and decodes
// the line into target, a pointer, which need not know them all. The first thing
// that is wrong is told with its path.
func checkShape(line []byte, shape reflect.Type, target any) error {
	if len(bytes.TrimSpace(line)) == 0 {
		return &lineError{"empty_line", "", "the line is empty: one JSON object is expected"}
	}
	err := strictjson.Rules{NoReplaced: true}.Check(line, shape)
	if err == nil {
		err = strictjson.Unmarshal(line, target)
	}
	var wrong *strictjson.Error
	switch {
	case err == nil:
		return nil
	case !errors.As(err, &wrong):
		return &lineError{"invalid_json", "", err.Error()}
	}
	p := wrong.Problems[0]
	answer := shapeErrors[p.Code]
	answer.Field = p.Path.Dotted()
	switch p.Code {
	case strictjson.NotJSON:
		answer.Text = p.Err.Error()
		if errors.Is(p.Err, io.EOF) || errors.Is(p.Err, io.ErrUnexpectedEOF) {
			answer.Text = "the line ends in the middle of the JSON object"
		}
	case strictjson.WrongType:
		answer.Text = fmt.Sprintf("%s stands where %s is expected", foundWord(p.Found), jsonWord(p.Want))
	}
	return &answer
}

var shapeErrors = map[strictjson.Code]lineError{
	strictjson.NotUTF8:   {Code: "invalid_utf8", Text: "the line is not valid UTF-8"},
	strictjson.NotJSON:   {Code: "invalid_json"},
	strictjson.NotObject: {Code: "not_an_object", Text: "the line is not a JSON object"},
	strictjson.Follows:   {Code: "invalid_json", Text: "something follows the JSON object"},
	strictjson.TooDeep:   {Code: "invalid_json", Text: "the value is nested too deeply"},
	strictjson.Unknown:   {Code: "unknown_member", Text: "the member is not known here"},
	strictjson.Repeated:  {Code: "repeated_member", Text: "the member is given twice"},
	strictjson.WrongType: {Code: "wrong_type"},
	strictjson.Replaced:  {Code: "invalid_utf8", Text: "a string holds a broken or replaced character"},
}

// foundWord and jsonWord name kinds of values as people who write JSON do; the
// first reads what encoding/json calls them ("number 1.5" where it is too much
// for its type).
func foundWord(found string) string {
	switch kind, _, _ := strings.Cut(found, " "); kind {
	case "object":
		return "an object"
	case "array":
		return "a list"
	case "bool":
		return "true or false"
	default:
		return "a " + found
	}
}

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
