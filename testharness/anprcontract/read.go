package anprcontract

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
)

// Small readers of answers. All take what is there and never panic.

func text(v any) string { t, _ := v.(string); return t }

// str walks objects by name to a string; a number in the path is an index.
func str(v any, path ...string) string { return text(at(v, path...)) }

func at(v any, path ...string) any {
	for _, name := range path {
		m, ok := v.(map[string]any)
		if !ok {
			return nil
		}
		v = m[name]
	}
	return v
}

func list(v any) []map[string]any {
	items, _ := v.([]any)
	var out []map[string]any
	for _, item := range items {
		if m, ok := item.(map[string]any); ok {
			out = append(out, m)
		}
	}
	return out
}

func (a answer) people() []map[string]any { return list(at(a.object, "listaSoggetti", "datiSoggetto")) }

// codes are those of both lists, of one kind (E, W) or of any.
func (a answer) codes(kind string) []string {
	var out []string
	for _, name := range []string{"listaErrori", "listaAnomalie"} {
		for _, e := range list(at(a.object, name)) {
			if kind == "" || str(e, "tipoErroreAnomalia") == kind {
				out = append(out, str(e, "codiceErroreAnomalia"))
			}
		}
	}
	return out
}

// The expectations. Each says what was expected and what came.

func expected(what string, a answer) error { return fmt.Errorf("expected %s, got %s", what, a) }

func found(a answer) error {
	if a.status != http.StatusOK || len(a.people()) == 0 {
		return expected("200 with a subject", a)
	}
	if len(a.codes("E")) > 0 {
		return expected("no error beside the subject", a)
	}
	return nil
}

func absent(a answer) error {
	if a.status != http.StatusNotFound || !slices.Contains(a.codes("E"), "EN122") {
		return expected("404 with the error EN122", a)
	}
	return nil
}

func appError(status int, code string) func(answer) error {
	return func(a answer) error {
		if a.status != status || !slices.Contains(a.codes("E"), code) {
			return expected(fmt.Sprintf("%d with the error %s", status, code), a)
		}
		return nil
	}
}

// refusedByApp is a 400 of the register with some blocking error.
func refusedByApp(a answer) error {
	if a.status != http.StatusBadRequest || len(a.codes("E")) == 0 || len(a.people()) > 0 {
		return expected("400 with an error in listaErrori", a)
	}
	return nil
}

func gateway(status int, title string) func(answer) error {
	return func(a answer) error {
		if a.status != status || str(a.object, "title") != title {
			return expected(fmt.Sprintf("%d %s", status, title), a)
		}
		return nil
	}
}

func opaque(a answer) error {
	return gateway(http.StatusBadRequest, "InteroperabilityInvalidRequest")(a)
}

// noVoucher is PDND's one refusal, whatever the cause.
func noVoucher(a answer) error {
	if a.status != http.StatusBadRequest || str(a.object, "access_token") != "" {
		return expected("400 without a voucher", a)
	}
	return nil
}

// notString finds a scalar that is no string.
func notString(v any, path string) string {
	switch v := v.(type) {
	case map[string]any:
		for name, member := range v {
			if bad := notString(member, path+"."+name); bad != "" {
				return bad
			}
		}
	case []any:
		for _, item := range v {
			if bad := notString(item, path+"[]"); bad != "" {
				return bad
			}
		}
	case string, nil:
	default:
		return strings.TrimPrefix(path, ".")
	}
	return ""
}

func number(v any) (int64, bool) {
	n, ok := v.(json.Number)
	if !ok {
		return 0, false
	}
	i, err := n.Int64()
	return i, err == nil
}
