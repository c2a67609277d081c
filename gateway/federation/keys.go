package federation

import (
	"os"
	"path/filepath"

	"airegw/gateway/jose"
)

// Keys are our three key pairs (D entity_configuration: federation and protocol
// keys differ).
type Keys struct {
	Federation  jose.Key // signs configuration, resolve answers, statements, marks
	CoreSign    jose.Key // signs request objects and client assertions
	CoreEncrypt jose.Key // opens UserInfo answers
}

// The key files in a folder, each a JWK of mode 0600.
const (
	FileFederation  = "federation.jwk"
	FileCoreSign    = "core-sig.jwk"
	FileCoreEncrypt = "core-enc.jwk"
)

func (k *Keys) files(suite Suite) []struct {
	name string
	alg  jose.Algorithm
	key  *jose.Key
} {
	return []struct {
		name string
		alg  jose.Algorithm
		key  *jose.Key
	}{
		{FileFederation, suite.Sign, &k.Federation},
		{FileCoreSign, suite.Sign, &k.CoreSign},
		{FileCoreEncrypt, suite.Encrypt, &k.CoreEncrypt},
	}
}

// GenerateKeys makes the three keys of DefaultSuite and writes them into a
// folder, which is made (0700) where it is missing. Nothing is ever overwritten:
// if any of the files exists, none is written (CodeKeyFile). On return the files
// are synced.
func GenerateKeys(dir string) (Keys, error) {
	var k Keys
	files := k.files(DefaultSuite)
	for _, f := range files {
		if _, err := os.Lstat(filepath.Join(dir, f.name)); err == nil {
			return Keys{}, refuse(CodeKeyFile, f.name, "exists already: keys are never overwritten")
		} else if !os.IsNotExist(err) {
			return Keys{}, &Error{Code: CodeKeyFile, Field: f.name, Err: err}
		}
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return Keys{}, &Error{Code: CodeKeyFile, Field: dir, Err: err}
	}
	for _, f := range files {
		key, err := jose.GenerateKey(f.alg)
		if err == nil {
			err = jose.SaveKey(filepath.Join(dir, f.name), key)
		}
		if err != nil {
			return Keys{}, &Error{Code: CodeKeyFile, Field: f.name, Err: err}
		}
		*f.key = key
	}
	return k, nil
}

// LoadKeys reads the three keys from a folder. A file that group or others may
// read is refused.
func LoadKeys(dir string) (Keys, error) {
	var k Keys
	for _, f := range k.files(DefaultSuite) {
		key, err := jose.LoadKey(filepath.Join(dir, f.name), f.alg)
		if err != nil {
			return Keys{}, &Error{Code: CodeKeyFile, Field: f.name, Err: err}
		}
		*f.key = key
	}
	return k, nil
}

// formerKeys are what is left of keys before.
type formerKeys struct {
	federation, coreSign []jose.PublicKey
	coreEncrypt          []jose.Key
}

// loadFormer reads folders of keys before: whichever of the three files each
// has, at least one. A key that is still the current one is left out.
func loadFormer(folders []string, current Keys) (formerKeys, error) {
	var out formerKeys
	for _, dir := range folders {
		var k Keys
		found := false
		for _, f := range k.files(DefaultSuite) {
			if _, err := os.Lstat(filepath.Join(dir, f.name)); os.IsNotExist(err) {
				continue
			}
			key, err := jose.LoadKey(filepath.Join(dir, f.name), f.alg)
			if err != nil {
				return formerKeys{}, &Error{Code: CodeKeyFile, Field: "former_keys", Reason: f.name, Err: err}
			}
			*f.key, found = key, true
		}
		if !found {
			return formerKeys{}, refuse(CodeKeyFile, "former_keys", "no key file in a folder")
		}
		if !k.Federation.IsZero() && k.Federation.KID() != current.Federation.KID() {
			out.federation = append(out.federation, k.Federation.Public())
		}
		if !k.CoreSign.IsZero() && k.CoreSign.KID() != current.CoreSign.KID() {
			out.coreSign = append(out.coreSign, k.CoreSign.Public())
		}
		if !k.CoreEncrypt.IsZero() && k.CoreEncrypt.KID() != current.CoreEncrypt.KID() {
			out.coreEncrypt = append(out.coreEncrypt, k.CoreEncrypt)
		}
	}
	return out, nil
}
