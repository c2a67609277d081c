package web

import (
	"bytes"
	"context"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"airegw/delivery"
	"airegw/gateway"
	"airegw/policies"
)

// act is one thing somebody does to a request, the same for a page and for the
// API: only the way the body is read differs.
type act struct {
	name string
	// json reads a body of the API and does the act.
	json func(ctx context.Context, d gateway.Desk, number string, body []byte) error
	// form reads a page's form and does the act.
	form func(ctx context.Context, d gateway.Desk, number string, f url.Values) error
}

// plain is an act without a body.
func plain(name string, do func(gateway.Desk, context.Context, string) error) act {
	return act{
		name: name,
		json: func(ctx context.Context, d gateway.Desk, number string, body []byte) error {
			if len(bytes.TrimSpace(body)) > 0 {
				err := gateway.DecodeStrict(body, &struct{}{})
				if err != nil {
					return err
				}
			}
			return do(d, ctx, number)
		},
		form: func(ctx context.Context, d gateway.Desk, number string, _ url.Values) error {
			return do(d, ctx, number)
		},
	}
}

// with is an act with a body of type T.
func with[T any](name string, read func(url.Values) (T, error), do func(context.Context, gateway.Desk, string, T) error) act {
	return act{
		name: name,
		json: func(ctx context.Context, d gateway.Desk, number string, body []byte) error {
			var v T
			err := gateway.DecodeStrict(body, &v)
			if err != nil {
				return err
			}
			return do(ctx, d, number, v)
		},
		form: func(ctx context.Context, d gateway.Desk, number string, f url.Values) error {
			v, err := read(f)
			if err != nil {
				return err
			}
			return do(ctx, d, number, v)
		},
	}
}

// Bodies of acts that have no type in package gateway.
type (
	reasonBody struct {
		Code   string `json:"code"`
		Detail string `json:"detail,omitempty"`
	}
	voidBody struct {
		Code string `json:"code"`
	}
	handoverBody struct {
		To    string `json:"to"`
		Check string `json:"check,omitempty"`
	}
	assentBody struct {
		Parent string `json:"parent"`
		Given  bool   `json:"given"`
		How    string `json:"how,omitempty"`
	}
)

// Codes an operator chooses among on the pages. The API takes others too: the
// gateway keeps whatever code it is given.
var (
	suspendCodes = []string{"documents_missing", "assent_missing", "photo_unfit", "identity_doubt"}
	refuseCodes  = []string{"identity_not_proven", "fingerprints_refused", "declaration_false", "withdrawn_at_counter"}
	voidCodes    = []string{"data_wrong", "photo_wrong", "citizen_changed_mind"}
	cancelCodes  = []string{"withdrawn", "moved_to_other_office", "no_longer_needed"}
)

// The acts.
var (
	actPresence = plain("presence", gateway.Desk.RecordPresence)
	actEnquiry  = plain("enquiry", gateway.Desk.OpenEnquiry)
	actResume   = plain("resume", gateway.Desk.Resume)
	actPrepare  = plain("prepare", gateway.Desk.PrepareForms)
	actConfirm  = plain("confirm", gateway.Desk.ConfirmForms)
	actSign     = plain("sign", gateway.Desk.Sign)
	actRecheck  = plain("recheck", gateway.Desk.Recheck)
	actUnpark   = plain("unpark", gateway.Desk.Unpark)
	actReopen   = plain("reopen", gateway.Desk.Reopen)

	actDocuments = with("documents", func(f url.Values) (gateway.Documents, error) {
		return gateway.Documents{Identity: text(f, "identity"), Evidence: clean(f["evidence"])}, nil
	}, func(ctx context.Context, d gateway.Desk, n string, v gateway.Documents) error {
		return d.RecordDocuments(ctx, n, v)
	})

	actDeclaration = with("declaration", func(f url.Values) (gateway.Declaration, error) {
		switch f.Get("no_obstacles") {
		case "yes":
			return gateway.Declaration{NoObstacles: true, Letters: "bcdefg"}, nil
		case "no":
			return gateway.Declaration{Letters: "bcdefg"}, nil
		}
		return gateway.Declaration{}, missing("/no_obstacles")
	}, func(ctx context.Context, d gateway.Desk, n string, v gateway.Declaration) error {
		return d.RecordDeclaration(ctx, n, v)
	})

	actAssent = with("assent", func(f url.Values) (assentBody, error) {
		b := assentBody{Parent: text(f, "parent"), How: text(f, "how")}
		switch f.Get("given") {
		case "yes":
			b.Given = true
		case "no":
		default:
			return b, missing("/given")
		}
		return b, nil
	}, func(ctx context.Context, d gateway.Desk, n string, v assentBody) error {
		return d.GiveAssent(ctx, n, v.Parent, v.Given, v.How)
	})

	actCapture = with("capture", readCapture, func(ctx context.Context, d gateway.Desk, n string, v gateway.Capture) error {
		return d.RecordCapture(ctx, n, v)
	})

	actFee = with("fee", readFee, func(ctx context.Context, d gateway.Desk, n string, v gateway.Fee) error {
		return d.RecordFee(ctx, n, v)
	})

	actSuspend = with("suspend", readReason, func(ctx context.Context, d gateway.Desk, n string, v reasonBody) error {
		return d.Suspend(ctx, n, v.Code, v.Detail)
	})
	actRefuse = with("refuse", readReason, func(ctx context.Context, d gateway.Desk, n string, v reasonBody) error {
		return d.Refuse(ctx, n, v.Code, v.Detail)
	})
	actCancellation = with("cancellation", readReason, func(ctx context.Context, d gateway.Desk, n string, v reasonBody) error {
		return d.Cancel(ctx, n, v.Code, v.Detail)
	})
	actVoid = with("void", func(f url.Values) (voidBody, error) {
		b := voidBody{text(f, "code")}
		if b.Code == "" {
			return b, missing("/code")
		}
		return b, nil
	}, func(ctx context.Context, d gateway.Desk, n string, v voidBody) error {
		return d.VoidOrder(ctx, n, v.Code)
	})

	actHandover = with("handover", func(f url.Values) (handoverBody, error) {
		return handoverBody{text(f, "to"), text(f, "check")}, nil
	}, func(ctx context.Context, d gateway.Desk, n string, v handoverBody) error {
		return d.HandOver(ctx, n, v.To, v.Check)
	})

	actDelivery = with("delivery", func(f url.Values) (gateway.DeliveryChoice, error) {
		return readDelivery(f, ""), nil
	}, deliver)
)

// chosenLate are the states in which the core must be asked for a change of
// delivery; before them the choice is the gateway's own record.
var chosenLate = []gateway.State{
	gateway.StateSigned, gateway.StateRelayed, gateway.StateCertified, gateway.StateInProduction,
	gateway.StateProductionDefect, gateway.StateShipped,
}

// deliver chooses or changes the delivery, whichever the state calls for. The
// gateway checks the state again under its own lock.
func deliver(ctx context.Context, d gateway.Desk, number string, v gateway.DeliveryChoice) error {
	row, err := summary(ctx, d, number)
	if err != nil {
		return err
	}
	if slices.Contains(chosenLate, row.State) {
		return d.ChangeDelivery(ctx, number, v)
	}
	return d.ChooseDelivery(ctx, number, v)
}

// summary answers the line of one request, or NotFound.
func summary(ctx context.Context, d gateway.Desk, number string) (gateway.Row, error) {
	rows, err := d.List(ctx, gateway.Criteria{Number: number, Limit: 1})
	if err != nil {
		return gateway.Row{}, err
	}
	if len(rows) != 1 {
		return gateway.Row{}, gateway.NewError(gateway.NotFound, "not_found")
	}
	return rows[0], nil
}

func text(f url.Values, name string) string { return strings.TrimSpace(f.Get(name)) }

// clean drops empty values.
func clean(values []string) []string {
	var out []string
	for _, v := range values {
		if v = strings.TrimSpace(v); v != "" {
			out = append(out, v)
		}
	}
	return out
}

// missing is the error of a form whose mandatory choice was not made.
func missing(field string) error { return wrong(field, "choice_missing") }

func wrong(field, code string) error {
	return &gateway.Error{Kind: gateway.Invalid, Code: "invalid_input", Problems: []gateway.Problem{{Field: field, Code: code}}}
}

func readReason(f url.Values) (reasonBody, error) {
	b := reasonBody{text(f, "code"), text(f, "detail")}
	if b.Code == "" {
		return b, missing("/code")
	}
	if len(b.Detail) > 500 {
		return b, wrong("/detail", "text_too_long")
	}
	return b, nil
}

// readCapture reads references: in the demo the page fills them as a station
// would. Biometrics never pass through here (DESIGN §4).
func readCapture(f url.Values) (gateway.Capture, error) {
	c := gateway.Capture{
		Station: text(f, "station"), Photo: text(f, "photo"), Signature: text(f, "signature"), Exemption: text(f, "exemption"),
	}
	if h := text(f, "height_cm"); h != "" {
		n, err := strconv.Atoi(h)
		if err != nil || n < 30 || n > 260 {
			return c, wrong("/height_cm", "height_impossible")
		}
		c.HeightCM = n
	}
	for _, hand := range []string{"right", "left"} {
		ref := text(f, "print_"+hand)
		if ref == "" {
			continue
		}
		quality, err := strconv.Atoi(text(f, "quality_"+hand))
		if err != nil || quality < 0 || quality > 100 {
			return c, wrong("/fingerprints", "quality_impossible")
		}
		c.Fingerprints = append(c.Fingerprints, gateway.Fingerprint{Hand: hand, Finger: text(f, "finger_"+hand), Quality: quality, Ref: ref})
	}
	return c, nil
}

// readFee reads an amount in euro, with comma or point.
func readFee(f url.Values) (gateway.Fee, error) {
	fee := gateway.Fee{Means: text(f, "means"), Exemption: text(f, "exemption")}
	euro, cents, _ := strings.Cut(strings.ReplaceAll(text(f, "euro"), ",", "."), ".")
	if euro == "" && cents == "" {
		if fee.Means != "exempt" {
			return fee, wrong("/cents", "fee_amount")
		}
		return fee, nil
	}
	whole, err := strconv.Atoi(euro)
	if err != nil || whole < 0 || whole > 1000 || len(cents) > 2 {
		return fee, wrong("/cents", "fee_amount")
	}
	part := 0
	if cents != "" {
		part, err = strconv.Atoi((cents + "0")[:2])
		if err != nil || part < 0 {
			return fee, wrong("/cents", "fee_amount")
		}
	}
	fee.Cents = whole*100 + part
	return fee, nil
}

// readDelivery reads a delivery choice whose fields begin with a prefix (the
// JSON pointer of the choice in its document).
func readDelivery(f url.Values, prefix string) gateway.DeliveryChoice {
	get := func(name string) string { return text(f, prefix+name) }
	choice := gateway.DeliveryChoice{Option: policies.DeliveryOption(get("/option"))}
	if choice.Option == policies.DeliveryITAddress {
		choice.Address = readAddress(get)
	}
	if get("/delegate/surname") != "" || get("/delegate/given_name") != "" || get("/delegate/fiscal_code") != "" {
		choice.Delegate = &gateway.Delegate{
			Surname: get("/delegate/surname"), GivenName: get("/delegate/given_name"), FiscalCode: get("/delegate/fiscal_code"),
		}
	}
	return choice
}

func readAddress(get func(string) string) *delivery.Address {
	return &delivery.Address{
		ISO2:        "IT",
		Street:      get("/address/street"),
		HouseNumber: get("/address/house_number"),
		Unit:        get("/address/unit"),
		CareOf:      get("/address/care_of"),
		Postcode:    get("/address/postcode"),
		Locality:    get("/address/locality"),
		Region:      get("/address/region"),
	}
}
