package main

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// A name that says "I read what others wrote", and an argument it can be in.
var (
	readerName = regexp.MustCompile(`^(?i:parse|read|decode|import|verify|peek|decrypt|unmarshal|judge|advice|retryAfter|explain)`)
	foreign    = regexp.MustCompile(`^(\[\]byte|string|\[\]string|io\.Reader|url\.Values|json\.RawMessage|http\.Header|fs\.FS|\*gin\.Context)$`)
)

func TestEveryReaderOfForeignInputHasItsFuzzTarget(t *testing.T) {
	t.Parallel()
	root := filepath.Join("..", "..")
	readers, targets := map[string]bool{}, map[string]bool{}
	for _, top := range []string{"gateway", "anpr", "consulate", "delivery", "policies", "cmd/airegw"} {
		err := filepath.WalkDir(filepath.Join(root, top), func(path string, d fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			if d.IsDir() && slices.Contains([]string{"node_modules", "vendor", "testdata"}, d.Name()) {
				return fs.SkipDir
			}
			if d.IsDir() || !strings.HasSuffix(path, ".go") {
				return nil
			}
			file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
			if err != nil {
				return err
			}
			dir, err := filepath.Rel(root, filepath.Dir(path))
			for _, decl := range file.Decls {
				f, ok := decl.(*ast.FuncDecl)
				switch {
				case !ok:
				case strings.HasSuffix(path, "_test.go"):
					if strings.HasPrefix(f.Name.Name, "Fuzz") {
						targets[dir+"."+f.Name.Name] = true
					}
				case readerName.MatchString(f.Name.Name) && slices.ContainsFunc(f.Type.Params.List, takesForeign):
					readers[dir+"."+f.Name.Name] = true
				}
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	named := map[string]bool{}
	for reader, target := range searchedBy {
		if !strings.Contains(target, ".") {
			dir, _, _ := strings.Cut(reader, ".")
			target = dir + "." + target
		}
		named[target] = true
		if !readers[reader] {
			t.Errorf("%s is listed and is no reader any more", reader)
		}
		if !targets[target] {
			t.Errorf("%s is searched by %s, which does not exist", reader, target)
		}
	}
	for reader := range notForeign {
		if !readers[reader] {
			t.Errorf("%s is excepted and is no reader any more", reader)
		}
	}
	for reader := range readers {
		if searchedBy[reader] == "" && notForeign[reader] == "" {
			t.Errorf("%s reads what others wrote: name the fuzz target that searches it, or why none need", reader)
		}
	}
	for target := range targets {
		if !named[target] && beside[target] == "" {
			t.Errorf("%s searches no reader of the table", target)
		}
	}
}

func takesForeign(f *ast.Field) bool { return foreign.MatchString(typeName(f.Type)) }

func typeName(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.Ident:
		return e.Name
	case *ast.SelectorExpr:
		return typeName(e.X) + "." + e.Sel.Name
	case *ast.StarExpr:
		return "*" + typeName(e.X)
	case *ast.ArrayType:
		return "[]" + typeName(e.Elt)
	}
	return ""
}

// searchedBy names the fuzz target of each reader; without a package, of its own.
var searchedBy = map[string]string{
	"anpr.ImportComuni":                   "FuzzImportComuni",
	"anpr.ParseFiscalCode":                "FuzzParseFiscalCode",
	"anpr.ParseRecord":                    "FuzzStored",
	"anpr.UnmarshalJSON":                  "FuzzReadAnswer",
	"anpr.advice":                         "FuzzStored",
	"anpr.decodeAnswer":                   "FuzzReadAnswer",
	"anpr.parseProvisional":               "FuzzParseFiscalCode",
	"anpr.read":                           "FuzzReadSOAPAnswer",
	"anpr.readAnswer":                     "FuzzReadAnswer",
	"anpr.readArchive":                    "FuzzImportComuni",
	"anpr.readSOAP":                       "FuzzReadSOAPAnswer",
	"anpr.readTree":                       "FuzzReadSOAPAnswer",
	"anpr.readVoucher":                    "FuzzReadVoucher",
	"anpr/wssec.ParseCertificates":        "FuzzParseIdentity",
	"anpr/wssec.ParseIdentity":            "FuzzParseIdentity",
	"anpr/wssec.parse":                    "FuzzCheckerReadsAnythingWithoutTrouble",
	"anpr/wssec.readStation":              "FuzzCheckerReadsAnythingWithoutTrouble",
	"cmd/airegw.decodeJWS":                "FuzzArguments",
	"cmd/airegw.decodeStrictly":           "FuzzLines",
	"cmd/airegw.explainLines":             "FuzzLines",
	"cmd/airegw.readComuniArchive":        "anpr.FuzzImportComuni",
	"cmd/airegw.readFederation":           "FuzzArguments",
	"cmd/airegw.readGiven":                "FuzzLines",
	"cmd/airegw.readInstant":              "FuzzArguments",
	"cmd/airegw.readOfficialTable":        "consulate.FuzzImportPosts",
	"cmd/airegw.readRules":                "policies.FuzzLoad",
	"consulate.ImportDistricts":           "FuzzImportDistricts",
	"consulate.ImportPosts":               "FuzzImportPosts",
	"consulate.readOfficial":              "FuzzImportPosts",
	"delivery.ExplainDue":                 "FuzzExplain",
	"delivery.ExplainLabel":               "FuzzExplain",
	"gateway.DecodeInput":                 "FuzzDecodeInput",
	"gateway.DecodeStrict":                "FuzzDecodeStrict",
	"gateway.ParseOffice":                 "gateway/login.FuzzOperatorClaims",
	"gateway.readCardNotice":              "gateway/jose.FuzzVerify",
	"gateway/app.ParseConfig":             "FuzzConfig",
	"gateway/app.ReadConfig":              "FuzzConfig",
	"gateway/app.Verify":                  "gateway/issuance.FuzzVerifyEvent",
	"gateway/federation.ParsePolicy":      "FuzzPolicy",
	"gateway/federation.ParseStatement":   "FuzzStatement",
	"gateway/federation.ParseTypePolicy":  "FuzzPolicy",
	"gateway/federation.ReadAnchorKeys":   "FuzzFiles",
	"gateway/federation.VerifyChain":      "FuzzChain",
	"gateway/federation.decodeObject":     "FuzzStatement",
	"gateway/federation.decodeTree":       "FuzzStatement",
	"gateway/federation.parseClaims":      "FuzzStatement",
	"gateway/federation.read":             "FuzzChain",
	"gateway/federation.readKeySet":       "gateway/jose.FuzzParseKeySet",
	"gateway/federation.readMarks":        "FuzzFiles",
	"gateway/federation.readStatus":       "FuzzFiles",
	"gateway/federation.verifyMark":       "FuzzChain",
	"gateway/issuance.UnmarshalJSON":      "FuzzVerifyEvent",
	"gateway/issuance.VerifyEvent":        "FuzzVerifyEvent",
	"gateway/issuance.decodeStrict":       "FuzzDecodeStrict",
	"gateway/jose.Decrypt":                "FuzzDecrypt",
	"gateway/jose.ParseKeySet":            "FuzzParseKeySet",
	"gateway/jose.ParsePrivateKey":        "FuzzParsePrivateKey",
	"gateway/jose.Peek":                   "FuzzVerify",
	"gateway/jose.UnmarshalJSON":          "FuzzParseKeySet",
	"gateway/jose.Verify":                 "FuzzVerify",
	"gateway/jose.VerifyBytes":            "FuzzVerify",
	"gateway/jose.VerifyDetached":         "FuzzVerify",
	"gateway/jose.parseHeader":            "FuzzVerify",
	"gateway/jose.parseJWS":               "FuzzVerify",
	"gateway/jose.verify":                 "FuzzVerify",
	"gateway/login.VerifySignature":       "gateway/jose.FuzzVerify",
	"gateway/login.judge":                 "FuzzOperatorClaims",
	"gateway/login.verifyIDToken":         "gateway/jose.FuzzVerify",
	"gateway/login/person.Read":           "FuzzRead",
	"gateway/messages.parse":              "FuzzParse",
	"gateway/outbound.retryAfter":         "FuzzRetryAfter",
	"gateway/sad.read":                    "FuzzReadAnswer",
	"gateway/sad.readAnswer":              "FuzzReadAnswer",
	"gateway/store.parseKeys":             "gateway/store/keyfile.FuzzParse",
	"gateway/store/keyfile.Parse":         "FuzzParse",
	"gateway/store/keyfile.UnmarshalText": "FuzzParse",
	"gateway/strictjson.Decode":           "FuzzRead",
	"gateway/strictjson.Unmarshal":        "FuzzRead",
	"gateway/strictjson.read":             "FuzzRead",
	"gateway/web.readCapture":             "FuzzForms",
	"gateway/web.readDelivery":            "FuzzForms",
	"gateway/web.readFee":                 "FuzzForms",
	"gateway/web.readInput":               "FuzzForms",
	"gateway/web.readReason":              "FuzzForms",
	"gateway/web.readResidence":           "FuzzForms",
	"gateway/web.readUpload":              "FuzzUpload",
	"policies.ExplainExpiry":              "FuzzFacts",
	"policies.ExplainSituation":           "FuzzSituation",
	"policies.ParseDate":                  "FuzzTexts",
	"policies.ParseFacts":                 "FuzzFacts",
	"policies.ParseSituation":             "FuzzSituation",
	"policies.UnmarshalJSON":              "FuzzFacts",
	"policies.VerifyApproval":             "gateway/jose.FuzzVerify",
	"policies.parse":                      "FuzzLoad",
	"policies.parseGiven":                 "FuzzSituation",
	"policies.parseInstant":               "FuzzTexts",
	"policies.parseRate":                  "FuzzTexts",
	"policies.parseScope":                 "FuzzTexts",
	"policies.parseYAML":                  "FuzzLoad",
	"policies.readFiles":                  "FuzzLoad",
	"policies.readRule":                   "FuzzLoad",
	"policies.readStrictly":               "FuzzFacts",
}

// notForeign says why a reader needs no search.
var notForeign = map[string]string{
	"cmd/airegw.readAddress":         "a file with one line, taken whole by the driver",
	"cmd/airegw.readLine":            "splits lines and looks into none; FuzzLines counts them",
	"consulate.parsePostcodePattern": "reads our own table",
	"consulate.readTable":            "reads our own table",
	"gateway.read":                   "reads events of our own, out of the database",
	"gateway/app.ReadSecret":         "a file with one line, compared only",
	"gateway/fault.readPoints":       "only in test builds",
	"gateway/issuance.retryAfter":    "a whole number within bounds, or nothing",
	"gateway/sad.ParseConstants":     "one of six words, exactly",
	"gateway/sad.readBounded":        "reads bytes and looks into none",
	"gateway/store.Read":             "reads bytes and looks into none",
	"gateway/store.readClearances":   "its text is our own SQL",
}

// beside are targets that search something else than a reader, by what.
var beside = map[string]string{
	"anpr.FuzzFindComuni":            "a search",
	"consulate.FuzzCompetent":        "addresses as people write them",
	"delivery.FuzzAddress":           "addresses as people write them",
	"gateway/issuance.FuzzCanonical": "the form over which digests are made",
	"gateway/messages.FuzzLanguage":  "Accept-Language",
	"gateway/web.FuzzFold":           "a search",
	"gateway/web.FuzzNumberShape":    "numbers in addresses",
}
