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
