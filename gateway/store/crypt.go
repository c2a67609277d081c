package store

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"unicode"

	"golang.org/x/text/unicode/norm"

	"airegw/gateway/fault"
	"airegw/gateway/store/keyfile"
)

// purpose names what a keyed digest or a MAC is for. Each has a key of its own,
// so that equal inputs under two purposes cannot be matched.
type purpose string

// The purposes.
const (
	forPerson    purpose = "person"
	forSurname   purpose = "surname"
	forTracker   purpose = "tracker"
	forNamespace purpose = "key namespace"
	forKey       purpose = "idempotency key"
	forSession   purpose = "session token"
	forJTI       purpose = "jti"
	forPrivate   purpose = "event private"
	forAudit     purpose = "audit block"
	forCheck     purpose = "key check"
	forLogin     purpose = "login state"
	forCard      purpose = "card"
)

var purposes = []purpose{
	forPerson, forSurname, forTracker, forNamespace, forKey, forSession, forJTI, forPrivate, forAudit, forCheck, forLogin, forCard,
}

// keyring encrypts columns and computes keyed digests. It is safe for
// concurrent use. A column key serves at most 2^32 columns (random nonces,
// NIST SP 800-38D §8.3): rotate long before.
type keyring struct {
	columns map[string]cipher.AEAD
	newest  string
	digests map[purpose][]byte
	random  io.Reader
}

// parseKeys makes a keyring of a key file.
func parseKeys(raw []byte, random io.Reader) (*keyring, error) {
	f, err := keyfile.Parse(raw)
	if err != nil {
		return nil, err
	}
	k := &keyring{columns: map[string]cipher.AEAD{}, digests: map[purpose][]byte{}, random: random}
	for i, c := range f.ColumnKeys {
		block, err := aes.NewCipher(c.Key)
		if err != nil {
			return nil, fmt.Errorf("column_keys[%d].key: %w", i, err)
		}
		k.columns[c.ID], err = cipher.NewGCM(block)
		if err != nil {
			return nil, fmt.Errorf("column_keys[%d].key: %w", i, err)
		}
		k.newest = c.ID
	}
	for _, p := range purposes {
		k.digests[p], err = hkdf.Key(sha256.New, f.DigestKey, nil, "airegw store v1 "+string(p), keyfile.KeySize)
		if err != nil {
			return nil, fmt.Errorf("derive the key of %s: %w", p, err)
		}
	}
	return k, nil
}

// loadKeys reads the key file, which nobody but its owner may read. With
// create an absent file is made with new keys, mode 0600, durably.
func loadKeys(path string, create bool, random io.Reader) (*keyring, error) {
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) && create {
		err = createKeys(path, random)
		if err != nil {
			return nil, fmt.Errorf("create key file: %w", err)
		}
		info, err = os.Stat(path)
	}
	if err != nil {
		return nil, fmt.Errorf("key file: %w", err)
	}
	if info.Mode().Perm()&0o077 != 0 && !fault.Mutant("store.keys-mode") {
		return nil, fmt.Errorf("key file %s: mode %04o lets others read it, want 0600", path, info.Mode().Perm())
	}
	raw, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("key file: %w", err)
	}
	k, err := parseKeys(raw, random)
	if err != nil {
		return nil, fmt.Errorf("key file %s: %w", path, err)
	}
	return k, nil
}

func createKeys(path string, random io.Reader) error {
	var secret [2 * keyfile.KeySize]byte
	_, err := io.ReadFull(random, secret[:])
	if err != nil {
		return err
	}
	raw, err := json.MarshalIndent(keyfile.File{
		Version:    1,
		DigestKey:  secret[:keyfile.KeySize],
		ColumnKeys: []keyfile.Column{{ID: "k1", Key: secret[keyfile.KeySize:]}},
	}, "", "  ")
	if err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(append(raw, '\n'))
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close(), syncDir(filepath.Dir(path)))
}

// digestSize is how much of the HMAC a digest keeps, in bytes: 128 bits never
// meet by chance in a country's requests, and half the index is half the pages.
const digestSize = 16

// digest answers the keyed digest of a value for a purpose, in hexadecimal;
// "" for the empty value, which is never stored.
func (k *keyring) digest(p purpose, value string) string {
	if value == "" {
		return ""
	}
	m := hmac.New(sha256.New, k.digests[p])
	m.Write([]byte(value))
	var sum [sha256.Size]byte
	return hex.EncodeToString(m.Sum(sum[:0])[:digestSize])
}

// person answers the digest of a fiscal code.
func (k *keyring) person(fiscalCode string) string {
	return k.digest(forPerson, strings.ToUpper(strings.TrimSpace(fiscalCode)))
}

// surname answers the digest of a surname as it is searched: case, accents,
// apostrophes and spaces do not count.
func (k *keyring) surname(surname string) string {
	return k.digest(forSurname, normalSurname(surname))
}

// tracker answers the digest of a tracker code of one request. The request is
// part of it, so that equal codes of two requests cannot be matched.
func (k *keyring) tracker(requestID, code string) string {
	if code == "" {
		return ""
	}
	return k.digest(forTracker, requestID+"\x00"+strings.ToUpper(strings.TrimSpace(code)))
}

func normalSurname(s string) string {
	var b strings.Builder
	for _, r := range norm.NFKD.String(strings.ToUpper(s)) {
		if unicode.IsLetter(r) {
			b.WriteRune(r)
		}
	}
	return b.String()
}

// seal encrypts a column. table, row and column are bound to it: moved
// elsewhere it does not open. Empty stays nil, with an empty key id.
func (k *keyring) seal(table, row, column string, plain []byte) (keyID string, sealed []byte, err error) {
	if len(plain) == 0 {
		return "", nil, nil
	}
	aead := k.columns[k.newest]
	sealed = make([]byte, aead.NonceSize(), aead.NonceSize()+len(plain)+aead.Overhead())
	_, err = io.ReadFull(k.random, sealed)
	if err != nil {
		return "", nil, fmt.Errorf("nonce: %w", err)
	}
	return k.newest, aead.Seal(sealed, sealed, plain, place(k.newest, table, row, column)), nil
}

// open decrypts a column sealed for the same table, row and column.
func (k *keyring) open(keyID, table, row, column string, sealed []byte) ([]byte, error) {
	if len(sealed) == 0 {
		return nil, nil
	}
	aead := k.columns[keyID]
	if aead == nil {
		return nil, fmt.Errorf("%s.%s: no column key %q", table, column, keyID)
	}
	if len(sealed) < aead.NonceSize() {
		return nil, fmt.Errorf("%s.%s: cut", table, column)
	}
	plain, err := aead.Open(nil, sealed[:aead.NonceSize()], sealed[aead.NonceSize():], place(keyID, table, row, column))
	if err != nil {
		return nil, fmt.Errorf("%s.%s: does not open with key %q", table, column, keyID)
	}
	return plain, nil
}

// place answers what a sealed column is bound to: moved elsewhere it does not
// open.
func place(keyID, table, row, column string) []byte {
	if fault.Mutant("store.context") {
		return nil
	}
	return binding(keyID, table, row, column)
}

// binding answers the additional data of a column; every part has its length
// before it, so that no two columns share one.
func binding(parts ...string) []byte {
	var b []byte
	for _, p := range parts {
		b = binary.BigEndian.AppendUint32(b, uint32(len(p)))
		b = append(b, p...)
	}
	return b
}
