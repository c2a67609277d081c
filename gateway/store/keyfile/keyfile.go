// Package keyfile reads the file with a database's keys.
//
// Duty: say what the file holds, or what is wrong with it. Promise: no error
// quotes the file, which holds secrets. It refuses unknown members, trailing
// data, a wrong size, a repeated id, equal keys. It knows no database, so that
// it can be searched for faults without one.
package keyfile

import (
	"encoding/base64"
	"errors"
	"fmt"
	"regexp"

	"airegw/gateway/strictjson"
)

// KeySize is the size of every key in bytes (AES-256, HMAC-SHA-256).
const KeySize = 32

// File is the JSON of the key file. The digest key never changes (every digest
// in the database hangs on it); column keys are added, the last one encrypts and
// the others still decrypt.
type File struct {
	Version    int      `json:"version"`
	DigestKey  Key      `json:"digest_key"`
	ColumnKeys []Column `json:"column_keys"`
}

// Column is a key that encrypts columns.
type Column struct {
	ID  string `json:"id"`
	Key Key    `json:"key"`
}

// Key is KeySize bytes, in JSON as strict base64.
type Key []byte

// MarshalText writes base64.
func (k Key) MarshalText() ([]byte, error) { return []byte(base64.StdEncoding.EncodeToString(k)), nil }

// UnmarshalText reads strict base64 of any size; Parse judges the size.
func (k *Key) UnmarshalText(text []byte) error {
	raw, err := base64.StdEncoding.Strict().DecodeString(string(text))
	if err != nil {
		return errNotBase64
	}
	*k = raw
	return nil
}

var errNotBase64 = errors.New("not base64")

var columnID = regexp.MustCompile(`^[a-z0-9][a-z0-9_-]{0,31}$`)

// Parse reads a key file.
func Parse(raw []byte) (File, error) {
	var f File
	err := strictjson.Rules{}.Decode(raw, &f)
	if err != nil {
		// The decoder's text could quote the file.
		if errors.Is(err, errNotBase64) {
			return File{}, errors.New("a key is not base64")
		}
		return File{}, errors.New("not the JSON of a key file")
	}
	if f.Version != 1 {
		return File{}, fmt.Errorf("version %d, want 1", f.Version)
	}
	if len(f.ColumnKeys) == 0 {
		return File{}, errors.New("column_keys is empty")
	}
	if len(f.DigestKey) != KeySize {
		return File{}, fmt.Errorf("digest_key: %d bytes, want %d", len(f.DigestKey), KeySize)
	}
	ids, keys := map[string]bool{}, map[string]bool{string(f.DigestKey): true}
	for i, c := range f.ColumnKeys {
		switch {
		case !columnID.MatchString(c.ID):
			return File{}, fmt.Errorf("column_keys[%d].id: lower-case letters, digits, - and _ only", i)
		case ids[c.ID]:
			return File{}, fmt.Errorf("column_keys[%d].id: %q twice", i, c.ID)
		case len(c.Key) != KeySize:
			return File{}, fmt.Errorf("column_keys[%d].key: %d bytes, want %d", i, len(c.Key), KeySize)
		case keys[string(c.Key)]:
			return File{}, fmt.Errorf("column_keys[%d].key: the same key twice", i)
		}
		ids[c.ID], keys[string(c.Key)] = true, true
	}
	return f, nil
}
