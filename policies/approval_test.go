package policies

import (
	"errors"
	"testing"
	"testing/fstest"

	"airegw/gateway/jose"
)

func TestASetNeedsTheApprovalOfBothOwnersWithKeysOfTheirOwn(t *testing.T) {
	t.Parallel()
	s := Shipped()
	key := func() jose.Key {
		k, err := jose.GenerateKey(jose.ES256)
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	interior, maeci, stranger := key(), key(), key()
	keys := map[Owner]jose.KeySet{
		OwnerInterior: jose.NewKeySet(interior.Public()),
		OwnerMAECI:    jose.NewKeySet(maeci.Public()),
	}
	sign := func(set *Set, o Owner, k jose.Key) string {
		sig, err := set.Approve(o, k)
		if err != nil {
			t.Fatal(err)
		}
		return sig
	}
	a, b := sign(s, OwnerInterior, interior), sign(s, OwnerMAECI, maeci)
	if err := s.VerifyApprovals(map[Owner]string{OwnerInterior: a, OwnerMAECI: b}, keys); err != nil {
		t.Fatal(err)
	}
	files := tinySet(t)
	files["90-extra.yaml"] = &fstest.MapFile{Data: []byte(extraRule)}
	other, err := Load(files)
	if err != nil {
		t.Fatal(err)
	}
	supposed, err := s.With([]Given{{Country: "AR", Option: DeliveryConsulate, Allowed: true}})
	if err != nil {
		t.Fatal(err)
	}
	both := map[Owner]string{OwnerInterior: a, OwnerMAECI: b}
	shared := map[Owner]jose.KeySet{OwnerInterior: jose.NewKeySet(interior.Public()), OwnerMAECI: jose.NewKeySet(interior.Public())}
	for name, c := range map[string]struct {
		set   *Set
		sigs  map[Owner]string
		keys  map[Owner]jose.KeySet
		code  string
		owner Owner
	}{
		"one signature":          {s, map[Owner]string{OwnerInterior: a}, keys, CodeApprovalMissing, OwnerMAECI},
		"none":                   {s, nil, keys, CodeApprovalMissing, OwnerInterior},
		"one owner twice":        {s, map[Owner]string{OwnerInterior: a, OwnerMAECI: a}, keys, CodeApprovalInvalid, OwnerMAECI},
		"signatures exchanged":   {s, map[Owner]string{OwnerInterior: b, OwnerMAECI: a}, keys, CodeApprovalInvalid, OwnerInterior},
		"one key for both":       {s, map[Owner]string{OwnerInterior: a, OwnerMAECI: sign(s, OwnerMAECI, interior)}, shared, CodeApprovalSameKey, OwnerMAECI},
		"a stranger's key":       {s, map[Owner]string{OwnerInterior: a, OwnerMAECI: sign(s, OwnerMAECI, stranger)}, keys, CodeApprovalInvalid, OwnerMAECI},
		"no key configured":      {s, both, map[Owner]jose.KeySet{OwnerInterior: keys[OwnerInterior]}, CodeApprovalNoKey, OwnerMAECI},
		"the rules have changed": {other, both, keys, CodeApprovalInvalid, OwnerInterior},
		"supposed rules":         {supposed, both, keys, CodeApprovalSupposed, OwnerInterior},
	} {
		err := c.set.VerifyApprovals(c.sigs, c.keys)
		var ae *ApprovalError
		if !errors.As(err, &ae) || ae.Code != c.code || ae.Owner != c.owner {
			t.Errorf("%s: got %v", name, err)
		}
	}
	if _, err := supposed.Approve(OwnerInterior, interior); err == nil {
		t.Error("supposed rules can be approved")
	}
	if _, err := s.Approve("mef", interior); err == nil {
		t.Error("a third ministry can approve")
	}
}

func TestEachDefectOfTheApprovalsIsNamedWithFileAndLine(t *testing.T) {
	t.Parallel()
	s := Shipped()
	good := fstest.MapFS{}
	write := func(files fstest.MapFS, name string, content []byte) { files[name] = &fstest.MapFile{Data: content} }
	keys := map[Owner]jose.Key{}
	for _, o := range Owners {
		key, err := jose.GenerateKey(jose.ES256)
		if err != nil {
			t.Fatal(err)
		}
		keys[o] = key
		jwks, err := jose.NewKeySet(key.Public()).MarshalJSON()
		if err != nil {
			t.Fatal(err)
		}
		jws, err := s.Approve(o, key)
		if err != nil {
			t.Fatal(err)
		}
		write(good, string(o)+".jwks", jwks)
		write(good, string(o)+".jws", []byte(jws+"\n"))
	}
	if defects := s.CheckApprovals(good); len(defects) > 0 {
		t.Fatal(defects)
	}
	for name, c := range map[string]struct {
		change     func(fstest.MapFS)
		file, code string
		n          int
	}{
		"nothing":             {func(f fstest.MapFS) { clear(f) }, "interior.jwks", CodeApprovalNoKey, 4},
		"signature missing":   {func(f fstest.MapFS) { delete(f, "maeci.jws") }, "maeci.jws", CodeApprovalMissing, 1},
		"signature empty":     {func(f fstest.MapFS) { write(f, "maeci.jws", []byte(" \n")) }, "maeci.jws", CodeApprovalMissing, 1},
		"key missing":         {func(f fstest.MapFS) { delete(f, "interior.jwks") }, "interior.jwks", CodeApprovalNoKey, 1},
		"no key in the set":   {func(f fstest.MapFS) { write(f, "interior.jwks", []byte(`{"keys":[]}`)) }, "interior.jwks", CodeApprovalNoKey, 1},
		"the other's word":    {func(f fstest.MapFS) { f["interior.jws"] = f["maeci.jws"] }, "interior.jws", CodeApprovalInvalid, 1},
		"one key for both":    {func(f fstest.MapFS) { sameKeyForBoth(t, s, f, keys[OwnerInterior]) }, "maeci.jwks", CodeApprovalSameKey, 1},
		"signature of a text": {func(f fstest.MapFS) { write(f, "interior.jws", []byte("a..b")) }, "interior.jws", CodeApprovalInvalid, 1},
	} {
		files := fstest.MapFS{}
		for n, f := range good {
			files[n] = f
		}
		c.change(files)
		defects := s.CheckApprovals(files)
		if len(defects) != c.n || defects[0].File != c.file || defects[0].Line != 1 || defects[0].Code != c.code {
			t.Errorf("%s: %v", name, defects)
		}
	}
	other := tinySet(t)
	other["90-extra.yaml"] = &fstest.MapFile{Data: []byte(extraRule)}
	changed, err := Load(other)
	if err != nil {
		t.Fatal(err)
	}
	if defects := changed.CheckApprovals(good); len(defects) != 2 || defects[0].Code != CodeApprovalInvalid {
		t.Errorf("a set that was changed after it was signed: %v", defects)
	}
}

func sameKeyForBoth(t *testing.T, s *Set, files fstest.MapFS, key jose.Key) {
	t.Helper()
	jws, err := s.Approve(OwnerMAECI, key)
	if err != nil {
		t.Fatal(err)
	}
	files["maeci.jwks"] = files["interior.jwks"]
	files["maeci.jws"] = &fstest.MapFile{Data: []byte(jws)}
}
