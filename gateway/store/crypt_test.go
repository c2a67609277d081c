package store

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"airegw/gateway/store/keyfile"
)

func keyText(b byte) string {
	return base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{b}, keyfile.KeySize))
}

func keyJSON(ids ...string) string {
	var columns []string
	for i, id := range ids {
		columns = append(columns, fmt.Sprintf(`{"id":%q,"key":%q}`, id, keyText(byte(i+1))))
	}
	return fmt.Sprintf(`{"version":1,"digest_key":%q,"column_keys":[%s]}`, keyText(0), strings.Join(columns, ","))
}

func TestAKeyFileIsReadStrictly(t *testing.T) {
	t.Parallel()
	good := keyJSON("k1", "k2")
	_, err := parseKeys([]byte(good), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"empty":           ``,
		"not JSON":        `hello`,
		"unknown member":  strings.Replace(good, `"version"`, `"extra":1,"version"`, 1),
		"two values":      good + good,
		"other version":   strings.Replace(good, `"version":1`, `"version":2`, 1),
		"no column keys":  keyJSON(),
		"short key":       strings.Replace(good, keyText(1), "AAAA", 1),
		"not base64":      strings.Replace(good, keyText(1), "!!!!", 1),
		"the same id":     keyJSON("k1", "k1"),
		"the same key":    strings.Replace(good, keyText(2), keyText(1), 1),
		"the digest key":  strings.Replace(good, keyText(2), keyText(0), 1),
		"an id with path": keyJSON("../k"),
	} {
		_, err := parseKeys([]byte(text), rand.Reader)
		if err == nil {
			t.Errorf("%s was read", name)
			continue
		}
		if strings.Contains(err.Error(), keyText(1)) {
			t.Errorf("%s: the error quotes a key", name)
		}
	}
}

func TestAKeyFileOthersCanReadIsRefused(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "keys.json")
	_, err := loadKeys(path, false, rand.Reader)
	if err == nil {
		t.Fatal("an absent file was read")
	}
	_, err = loadKeys(path, true, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("%v %v", info.Mode(), err)
	}
	var f keyfile.File
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	err = json.Unmarshal(raw, &f)
	if err != nil || len(f.ColumnKeys) != 1 || bytes.Equal(f.DigestKey, f.ColumnKeys[0].Key) {
		t.Fatalf("%v", err)
	}
	err = os.Chmod(path, 0o640)
	if err != nil {
		t.Fatal(err)
	}
	_, err = loadKeys(path, true, rand.Reader)
	if err == nil {
		t.Fatal("a file its group can read was read")
	}
}

func TestAColumnOpensOnlyWhereItWasSealed(t *testing.T) {
	t.Parallel()
	k, err := parseKeys([]byte(keyJSON("k1", "k2")), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	plain := []byte("personal")
	id, sealed, err := k.seal("events", "R1/1", "private", plain)
	if err != nil || id != "k2" {
		t.Fatalf("the newest key encrypts: %q %v", id, err)
	}
	got, err := k.open(id, "events", "R1/1", "private", sealed)
	if err != nil || !bytes.Equal(got, plain) {
		t.Fatalf("%q %v", got, err)
	}
	for _, place := range [][4]string{
		{"k2", "events", "R1/2", "private"},
		{"k2", "outbox", "R1/1", "private"},
		{"k2", "events", "R1/1", "data"},
		{"k1", "events", "R1/1", "private"},
		{"k3", "events", "R1/1", "private"},
		{"k2", "eventsR", "1/1", "private"},
	} {
		_, err = k.open(place[0], place[1], place[2], place[3], sealed)
		if err == nil {
			t.Errorf("opened as %v", place)
		}
	}
	for i := range sealed {
		forged := bytes.Clone(sealed)
		forged[i] ^= 1
		_, err = k.open(id, "events", "R1/1", "private", forged)
		if err == nil {
			t.Fatalf("opened with byte %d flipped", i)
		}
	}
	_, err = k.open(id, "events", "R1/1", "private", sealed[:5])
	if err == nil {
		t.Error("a cut column opened")
	}
}

func TestRotatedKeysStillOpenOldColumns(t *testing.T) {
	t.Parallel()
	before, err := parseKeys([]byte(keyJSON("k1")), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	after, err := parseKeys([]byte(keyJSON("k1", "k2")), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	id, sealed, err := before.seal("events", "r", "private", []byte("x"))
	if err != nil {
		t.Fatal(err)
	}
	plain, err := after.open(id, "events", "r", "private", sealed)
	if err != nil || string(plain) != "x" {
		t.Fatalf("%q %v", plain, err)
	}
	if before.person("A") != after.person("A") {
		t.Error("a new column key moved the digests")
	}
}

func TestDigestsOfTwoPurposesCannotBeMatched(t *testing.T) {
	t.Parallel()
	k, err := parseKeys([]byte(keyJSON("k1")), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]purpose{}
	for _, p := range purposes {
		d := k.digest(p, "VALUE")
		if len(d) != 2*digestSize || seen[d] != "" {
			t.Errorf("%s and %s share %s", p, seen[d], d)
		}
		seen[d] = p
	}
	if k.tracker("R1", "CODE") == k.tracker("R2", "CODE") {
		t.Error("equal codes of two requests can be matched")
	}
	if k.digest(forPerson, "") != "" {
		t.Error("nothing has a digest")
	}
}

func TestSurnamesAreFoundHoweverTyped(t *testing.T) {
	t.Parallel()
	for typed, want := range map[string]string{
		"D’Agostino": "DAGOSTINO", "d'agostino": "DAGOSTINO", "D AGOSTINO": "DAGOSTINO", "Nicolò": "NICOLO",
		"NICOLO'": "NICOLO", "Müller-Łoś": "MULLERŁOS", "": "", "-'": "",
	} {
		if got := normalSurname(typed); got != want {
			t.Errorf("%q is %q, want %q", typed, got, want)
		}
	}
}
