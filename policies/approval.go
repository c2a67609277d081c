package policies

import (
	"crypto"
	"errors"
	"io/fs"
	"slices"
	"strings"

	"airegw/gateway/fault"
	"airegw/gateway/jose"
)

// Owner is one of the two ministries that own the rules together (A8).
type Owner string

// The two owners.
const (
	OwnerInterior Owner = "interior"
	OwnerMAECI    Owner = "maeci"
)

// Owners lists both.
var Owners = [2]Owner{OwnerInterior, OwnerMAECI}

// approvalType is the typ of an approval's signature.
const approvalType = "airegw-rules+jws"

// approvalAlgs are the algorithms an approval may be signed with.
var approvalAlgs = []jose.Algorithm{jose.ES256}

// Codes of ApprovalError.
const (
	CodeApprovalMissing  = "rules.approval_missing"
	CodeApprovalInvalid  = "rules.approval_invalid"
	CodeApprovalNoKey    = "rules.approval_no_key"
	CodeApprovalSameKey  = "rules.approval_same_key"
	CodeApprovalSupposed = "rules.approval_supposed"
	CodeApprovalOwner    = "rules.approval_owner"
)

// ApprovalError says why a rule set is not approved by one of its owners.
type ApprovalError struct {
	Code  string
	Owner Owner
	Err   error
}

func (e *ApprovalError) Error() string {
	out := "approval of " + string(e.Owner) + ": " + e.Code
	if e.Err != nil {
		out += ": " + e.Err.Error()
	}
	return out
}

func (e *ApprovalError) Unwrap() error { return e.Err }

// Approve signs the set for one owner: a detached JWS (RFC 7515 appendix F)
// over Set.ApprovalPayload. A set made by With cannot be approved.
func (s *Set) Approve(owner Owner, key jose.Key) (string, error) {
	if err := s.approvable(owner); err != nil {
		return "", err
	}
	out, err := jose.SignDetached(key, approvalType, s.ApprovalPayload(owner))
	if err != nil {
		return "", &ApprovalError{CodeApprovalInvalid, owner, err}
	}
	return out, nil
}

// ApprovalPayload is what an owner signs: its own name and the content hash, a
// line each, so that one owner's approval cannot stand for the other's.
func (s *Set) ApprovalPayload(owner Owner) []byte {
	return []byte(string(owner) + "\n" + s.hash + "\n")
}

// VerifyApprovals checks that both owners approved exactly this set, each with
// a key configured for it, and that no key speaks for both. The error is an
// *ApprovalError naming the first owner that fails.
func (s *Set) VerifyApprovals(signatures map[Owner]string, keys map[Owner]jose.KeySet) error {
	for _, a := range keys[OwnerInterior].Keys() {
		for _, b := range keys[OwnerMAECI].Keys() {
			if (a.KID() == b.KID() || sameKey(a, b)) && !fault.Mutant("policies.same-key") {
				return &ApprovalError{CodeApprovalSameKey, OwnerMAECI, nil}
			}
		}
	}
	for _, o := range Owners {
		if fault.Mutant("policies.both-owners") && signatures[o] == "" {
			continue
		}
		if err := s.VerifyApproval(o, signatures[o], keys[o]); err != nil {
			return err
		}
	}
	return nil
}

// VerifyApproval checks one owner's approval of exactly this set. It does not
// know the other owner's keys: VerifyApprovals does. The error is an
// *ApprovalError.
func (s *Set) VerifyApproval(o Owner, signature string, keys jose.KeySet) error {
	if err := s.approvable(o); err != nil {
		return err
	}
	if keys.Len() == 0 {
		return &ApprovalError{CodeApprovalNoKey, o, nil}
	}
	if signature == "" {
		return &ApprovalError{CodeApprovalMissing, o, nil}
	}
	if _, err := jose.VerifyDetached(signature, s.ApprovalPayload(o), keys, approvalAlgs, []string{approvalType}); err != nil && !fault.Mutant("policies.signature") {
		return &ApprovalError{CodeApprovalInvalid, o, err}
	}
	return nil
}

func (s *Set) approvable(o Owner) error {
	if !slices.Contains(Owners[:], o) {
		return &ApprovalError{CodeApprovalOwner, o, nil}
	}
	if strings.HasPrefix(s.hash, "supposed-") {
		return &ApprovalError{CodeApprovalSupposed, o, nil}
	}
	return nil
}

// sameKey compares the keys themselves, since a kid is only a name.
func sameKey(a, b jose.PublicKey) bool {
	eq, ok := a.Raw().(interface{ Equal(crypto.PublicKey) bool })
	return ok && eq.Equal(b.Raw())
}

// ApprovalsDir is the folder beside the rule files where the two owners' keys
// and approvals may lie. It is no part of the content that they sign.
const ApprovalsDir = "approvals"

// CheckApprovals verifies the two owners' approvals of exactly this set, read
// from a folder: of each owner OWNER.jwks, a set of public keys (JWK Set), and
// OWNER.jws, the detached signature. It answers every defect with the file and
// line it is in; none when both hold.
func (s *Set) CheckApprovals(fsys fs.FS) LoadErrors {
	var l loader
	signatures, keys := map[Owner]string{}, map[Owner]jose.KeySet{}
	for _, o := range Owners {
		raw, err := fs.ReadFile(fsys, keyFileOf(o))
		if err == nil {
			keys[o], err = jose.ParseKeySet(raw)
		}
		if err != nil || keys[o].Len() == 0 {
			l.fail(keyFileOf(o), 1, CodeApprovalNoKey, because("no public key of the owner can be read", err))
		}
		raw, err = fs.ReadFile(fsys, signatureFileOf(o))
		signatures[o] = strings.TrimSpace(string(raw))
		if err != nil || signatures[o] == "" {
			l.fail(signatureFileOf(o), 1, CodeApprovalMissing, because("the owner has not signed this rule set", err))
		}
	}
	if len(l.errs) > 0 {
		return l.errs
	}
	for _, o := range Owners {
		if err := s.VerifyApproval(o, signatures[o], keys[o]); err != nil {
			l.fail(signatureFileOf(o), 1, codeOfApproval(err), err.Error())
		}
	}
	if len(l.errs) > 0 {
		return l.errs
	}
	if err := s.VerifyApprovals(signatures, keys); err != nil {
		l.fail(keyFileOf(OwnerMAECI), 1, codeOfApproval(err), "the same key speaks for both owners")
	}
	return l.errs
}

func because(what string, err error) string {
	if err == nil {
		return what
	}
	return what + ": " + err.Error()
}

func keyFileOf(o Owner) string       { return string(o) + ".jwks" }
func signatureFileOf(o Owner) string { return string(o) + ".jws" }

func codeOfApproval(err error) string {
	var e *ApprovalError
	if errors.As(err, &e) {
		return e.Code
	}
	return CodeApprovalInvalid
}
