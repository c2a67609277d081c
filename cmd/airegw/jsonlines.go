package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
	"slices"
	"strings"
	"unicode/utf8"
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
// encoding/json alone would take members in any case, let a repeated member win
// and replace broken characters silently; here each is an error with its path.
func decodeStrictly(line []byte, target any) error {
	switch {
	case len(bytes.TrimSpace(line)) == 0:
		return &lineError{"empty_line", "", "the line is empty: one JSON object is expected"}
	case !utf8.Valid(line):
		return &lineError{"invalid_utf8", "", "the line is not valid UTF-8"}
	}
	walk := memberWalk{decoder: json.NewDecoder(bytes.NewReader(line))}
	walk.decoder.UseNumber()
	if err := walk.value(reflect.TypeOf(target).Elem(), ""); err != nil {
		return err
	}
	if _, err := walk.decoder.Token(); !errors.Is(err, io.EOF) {
		return &lineError{"invalid_json", "", "something follows the JSON object"}
	}
	if trimmed := bytes.TrimLeft(line, " \t\r"); trimmed[0] != '{' {
		return &lineError{"not_an_object", "", "the line is not a JSON object"}
	}
	if err := json.Unmarshal(line, target); err != nil {
		var wrongType *json.UnmarshalTypeError
		if errors.As(err, &wrongType) {
			return &lineError{"wrong_type", wrongType.Field, fmt.Sprintf("a %s stands where a %s is expected", wrongType.Value, wrongType.Type)}
		}
		return &lineError{"invalid_json", "", err.Error()}
	}
	return nil
}

// memberWalk reads the tokens of one value beside the type it will be decoded
// into, to find what encoding/json forgives.
type memberWalk struct{ decoder *json.Decoder }

func (w memberWalk) token() (json.Token, error) {
	token, err := w.decoder.Token()
	if err != nil {
		text := err.Error()
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			text = "the line ends in the middle of the JSON object"
		}
		return nil, &lineError{"invalid_json", "", text}
	}
	if text, ok := token.(string); ok && strings.ContainsRune(text, utf8.RuneError) {
		return nil, &lineError{"invalid_utf8", "", "a string holds a broken or replaced character"}
	}
	return token, nil
}

func (w memberWalk) value(shape reflect.Type, path string) error {
	token, err := w.token()
	if err != nil {
		return err
	}
	for shape != nil && shape.Kind() == reflect.Pointer {
		shape = shape.Elem()
	}
	switch token {
	case json.Delim('{'):
		return w.object(shape, path)
	case json.Delim('['):
		var element reflect.Type
		if shape != nil && (shape.Kind() == reflect.Slice || shape.Kind() == reflect.Array) {
			element = shape.Elem()
		}
		for i := 0; w.decoder.More(); i++ {
			if err := w.value(element, fmt.Sprintf("%s[%d]", path, i)); err != nil {
				return err
			}
		}
		_, err = w.token()
		return err
	}
	return nil
}

func (w memberWalk) object(shape reflect.Type, path string) error {
	var seen []string
	for w.decoder.More() {
		token, err := w.token()
		if err != nil {
			return err
		}
		name, ok := token.(string)
		if !ok {
			return &lineError{"invalid_json", path, "a member has no name"}
		}
		member := strings.TrimPrefix(path+"."+name, ".")
		if slices.Contains(seen, name) {
			return &lineError{"repeated_member", member, "the member is given twice"}
		}
		seen = append(seen, name)
		var inner reflect.Type
		if shape != nil {
			switch shape.Kind() {
			case reflect.Struct:
				if inner, ok = memberType(shape, name); !ok {
					return &lineError{"unknown_member", member, "the member is not known here"}
				}
			case reflect.Map:
				inner = shape.Elem()
			}
		}
		if err := w.value(inner, member); err != nil {
			return err
		}
	}
	_, err := w.token()
	return err
}

// memberType finds the field of a struct that carries exactly this JSON name.
func memberType(shape reflect.Type, name string) (reflect.Type, bool) {
	for _, field := range reflect.VisibleFields(shape) {
		tag, _, _ := strings.Cut(field.Tag.Get("json"), ",")
		if field.Anonymous && tag == "" || !field.IsExported() || tag == "-" {
			continue
		}
		if tag == "" {
			tag = field.Name
		}
		if tag == name {
			return field.Type, true
		}
	}
	return nil, false
}
