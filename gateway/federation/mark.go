package federation

import (
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"time"

	"airegw/gateway/fault"
	"airegw/gateway/jose"
)

// Mark is a trust mark that passed static validation.
type Mark struct {
	ID        string
	Issuer    string
	Subject   string
	JWT       string
	IssuedAt  time.Time
	ExpiresAt time.Time // zero = the mark names no end
}

// announcedMarks reads trust_marks in every spelling of the name. Something that
// is no list counts as none and an entry that is none is kept empty, so that it
// shows as refused: a mark can only add trust, so nothing is lost by leniency.
func announcedMarks(v any) ([]AnnouncedMark, error) {
	list, _ := v.([]any)
	if len(list) > maxMarks {
		return nil, refuse(CodeTooLarge, "trust_marks", "more marks than any entity may have")
	}
	var out []AnnouncedMark
	for _, e := range list {
		entry, _ := e.(map[string]any)
		jwt, _ := entry["trust_mark"].(string)
		out = append(out, AnnouncedMark{ID: markName(entry), JWT: jwt})
	}
	return out, nil
}

// markName reads a mark's name: `id` in the Italian profile, trust_mark_id in
// later drafts, trust_mark_type in the final text (entra-con-cie §2.7). Where
// several are given they must agree, else the mark has no name.
func markName(members map[string]any) string {
	name := ""
	for _, member := range []string{"id", "trust_mark_id", "trust_mark_type"} {
		v, ok := members[member]
		if !ok {
			continue
		}
		s, _ := v.(string)
		if s == "" || name != "" && name != s {
			return ""
		}
		name = s
	}
	return name
}

// markIssuers reads the anchor's table of who may give which mark, in both
// spellings: for a mark in the right one the old one is not asked. An entry that
// is no list of texts gives nobody the right.
func markIssuers(claims map[string]any) (map[string][]string, error) {
	out := map[string][]string{}
	for _, member := range []string{"trust_mark_issuers", "trust_marks_issuers"} {
		table, _ := claims[member].(map[string]any)
		if len(table) > maxMarkIssuers {
			return nil, refuse(CodeTooLarge, member, "more marks than any federation has")
		}
		for id, v := range table {
			name := bareMark(id)
			if _, known := out[name]; known {
				continue
			}
			issuers, _ := texts(v, maxMarkIssuers)
			out[name] = issuers
		}
	}
	return out, nil
}

// bareMark drops the final slash that mark names have or lack (D trust_marks:
// `<TA>/<role>/<profile>[/]`).
func bareMark(id string) string { return strings.TrimSuffix(id, "/") }

// markRole tells whether a mark is for the entity type: its name holds the role
// as a path segment.
func markRole(id, entityType string) bool {
	return slices.Contains(strings.Split(bareMark(id), "/"), entityType)
}

// verifyMark is the static validation of D trust_marks, in this order: a signed
// mark that names its issuer; the issuer is one the anchor lets give it; its
// key comes through the federation; typ, alg, signature; name; subject; times.
// issuerKeys gives the federation keys of an entity with a valid chain.
func verifyMark(m AnnouncedMark, subject string, issuers map[string][]string, issuerKeys func(string) (jose.KeySet, error), now time.Time, skew time.Duration) (Mark, error) {
	refused := func(c Code, reason string, err error) (Mark, error) {
		return Mark{}, &Error{Code: c, Step: "trust mark", Entity: subject, Field: m.ID, Reason: reason, Err: err}
	}
	if m.ID == "" || m.JWT == "" {
		return refused(CodeMarkMalformed, "an entry without name or mark", nil)
	}
	var payload json.RawMessage
	var claims map[string]any
	_, _, _, err := jose.Peek(m.JWT, &payload)
	if err == nil {
		claims, err = decodeObject(payload)
	}
	if err != nil {
		return refused(CodeMarkMalformed, "", err)
	}
	issuer, _ := claims["iss"].(string)
	if issuer == "" {
		return refused(CodeMarkClaim, "iss is missing", nil)
	}
	// An empty list means "anybody" in the final text; nobody in this profile
	// means it, so it gives nobody the right.
	if !slices.Contains(issuers[bareMark(m.ID)], issuer) && !fault.Mutant("federation.mark-issuer") {
		return refused(CodeMarkIssuer, "the anchor does not list this issuer for this mark", nil)
	}
	keys, err := issuerKeys(issuer)
	if err != nil {
		return refused(CodeMarkKey, "", err)
	}
	v, err := jose.Verify(m.JWT, keys, jose.Expect{
		Algs: Algorithms, Typ: []string{jose.TypeTrustMark},
		Now: now, Skew: skew, Issuer: issuer, NoAudience: true, NoExpiry: true,
	}, nil)
	if fault.Mutant("federation.mark-signature") && markCode(err) == CodeMarkSignature {
		v.Subject, err = subject, nil
	}
	if err != nil {
		return refused(markCode(err), "", err)
	}
	if markName(claims) != m.ID {
		return refused(CodeMarkID, "the mark has another name than its entry", nil)
	}
	if v.Subject != subject && !fault.Mutant("federation.mark-subject") {
		return refused(CodeMarkSubject, "given to somebody else", nil)
	}
	return Mark{ID: m.ID, Issuer: issuer, Subject: subject, JWT: m.JWT, IssuedAt: v.IssuedAt, ExpiresAt: v.ExpiresAt}, nil
}

func markCode(err error) Code {
	var j *jose.Error
	if !errors.As(err, &j) {
		return CodeMarkMalformed
	}
	switch j.Code {
	case jose.CodeTypRefused:
		return CodeMarkTyp
	case jose.CodeAlgRefused:
		return CodeMarkAlg
	case jose.CodeUnknownKey, jose.CodeKidMissing:
		return CodeMarkKey
	case jose.CodeSignature:
		return CodeMarkSignature
	case jose.CodeExpired:
		return CodeMarkExpired
	case jose.CodeFutureIat, jose.CodeNotYetValid:
		return CodeMarkFuture
	case jose.CodeClaimMissing, jose.CodeClaimInvalid:
		return CodeMarkClaim
	}
	return CodeMarkMalformed
}
