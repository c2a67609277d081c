package app

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"airegw/anpr"
	"airegw/consulate"
	"airegw/delivery"
	"airegw/gateway"
	"airegw/gateway/issuance"
	"airegw/policies"
)

// core shows the client of the issuance core to the gateway: requests become
// bodies of the contract, the core's verdicts become *gateway.CoreVerdict. The
// only thing it decides is the translation.
type core struct{ client *issuance.Client }

// Compose answers the body of prepare. It reads only what no longer changes
// once the order is open.
func (c *core) Compose(r *gateway.Request, key string, actor gateway.Actor) (json.RawMessage, error) {
	if r.Register == nil || r.Decision == nil || r.Counter.Capture == nil {
		return nil, errors.New("an order needs register, decision and capture")
	}
	office, err := wireOffice(r.Office, r)
	if err != nil {
		return nil, err
	}
	person := r.Register.Applicant.Person
	applicant, err := wireApplicant(person, r.Counter.Capture.HeightCM)
	if err != nil {
		return nil, err
	}
	to, err := wireDelivery(r, r.Delivery, deliveryAddress(r), r.Office)
	if err != nil {
		return nil, err
	}
	decision := r.Decision.Decision
	body := issuance.PrepareOrder{
		OrderKey: key, Channel: string(r.Channel), Resident: false, Office: office,
		Actor: wireActor(actor, r), Applicant: applicant, Reason: wireReason(r.Input.Reason), Expiry: decision.Expiry.String(),
		PrintNote: "none", Parents: []issuance.Parent{}, Captures: wireCaptures(*r.Counter.Capture), Delivery: to,
		Contacts: issuance.Contacts{Email: r.Input.Contacts.Email, Mobile: r.Input.Contacts.Phone},
	}
	if decision.PrintNote != "" {
		body.PrintNote = "not_valid_for_travel"
	}
	if p := r.Input.PreviousCard; p != nil && p.Number != "" {
		body.PreviousCard = &issuance.PreviousCard{Number: p.Number, Kind: p.Kind}
	}
	for i, named := range r.Input.Parents {
		parent := issuance.Parent{Role: "parent", FiscalCode: named.FiscalCode, Surname: named.Surname, GivenName: named.GivenName, Assent: "not_given"}
		if i < len(r.Register.Parents) && r.Register.Parents[i].Found {
			p := r.Register.Parents[i].Person
			parent.Surname, parent.GivenName = p.Surname, p.GivenName
		}
		if a, ok := r.Counter.Assents[named.FiscalCode]; ok && a.Given {
			parent.Assent, parent.AssentAt = "given", issuance.At(a.At)
		}
		body.Parents = append(body.Parents, parent)
	}
	return json.Marshal(body)
}

// wireReason: the contract knows no refresh of the certificates alone (70 and
// over); to the core it is a renewal.
func wireReason(r policies.Reason) string {
	if r == policies.ReasonCertificateRefresh {
		return string(policies.ReasonExpiry)
	}
	return string(r)
}

func wireActor(a gateway.Actor, r *gateway.Request) issuance.Actor {
	station := a.Station
	if station == "" && r.Counter.Capture != nil {
		station = r.Counter.Capture.Station
	}
	return issuance.Actor{Operator: a.ID, Station: station}
}

// wireOffice names an office as the contract does: a comune by its ISTAT code, a
// post by its seven digits and its name as the register writes it (EC100). A
// post that took over from another before it had digits of its own goes by the
// ones the register still has for the applicant.
func wireOffice(o gateway.Office, r *gateway.Request) (issuance.Office, error) {
	if o.Kind == gateway.OfficeComune {
		return issuance.Office{Kind: "comune", Code: o.Code, Name: o.Name()}, nil
	}
	post, ok := consulate.PostByKey(o.Code)
	if ok && post.ANPRCode != "" {
		return issuance.Office{Kind: "post", Code: post.ANPRCode, Name: post.RegisterName}, nil
	}
	if competent, known := r.CompetentPost(); ok && known && competent.Key == post.Key {
		named := r.Register.Applicant.Person.Post
		return issuance.Office{Kind: "post", Code: named.Code, Name: named.Description}, nil
	}
	return issuance.Office{}, fmt.Errorf("post %s has no ANPR code", o.Code)
}

func wireApplicant(p anpr.Person, height int) (issuance.Applicant, error) {
	if len(p.Post.Code) != 7 || p.AIREComune.ISTAT == "" {
		return issuance.Applicant{}, errors.New("the record lacks post or comune of AIRE registration")
	}
	place := issuance.BirthPlace{Country: "IT", ComuneISTAT: p.BirthPlace.ComuneISTAT, Name: p.BirthPlace.ComuneName}
	if p.BirthPlace.ComuneISTAT == "" {
		place = issuance.BirthPlace{Country: iso2(p.BirthPlace.StateISTAT), Name: firstText(p.BirthPlace.Locality, p.BirthPlace.StateName, p.BirthPlace.Exceptional)}
	}
	return issuance.Applicant{
		FiscalCode: p.FiscalCode, IDANPR: p.IDANPR, Surname: p.Surname, GivenName: p.GivenName, Sex: p.Sex, BirthDate: p.BirthDate,
		BirthPlace: place, Citizenship: "ITA", HeightCM: height, Residence: wireRegisterAddress(p.Address),
		AIRE: &issuance.AIRE{ComuneISTAT: p.AIREComune.ISTAT, PostCode: p.Post.Code},
	}, nil
}

func iso2(stateISTAT string) string {
	if s, ok := anpr.StateByISTAT(stateISTAT); ok {
		return s.ISO2
	}
	return ""
}

func firstText(texts ...string) string {
	for _, t := range texts {
		if t != "" {
			return t
		}
	}
	return ""
}

func wireRegisterAddress(a anpr.Address) issuance.Address {
	out := issuance.Address{
		CareOf: a.CareOf, Street: a.Street, Number: a.Number, Notes: a.Notes, Postcode: a.Postcode,
		Place: firstText(a.Locality, a.ComuneName), ComuneISTAT: a.ComuneISTAT, Province: a.Province, Country: "IT",
	}
	if a.Foreign {
		out.Country = iso2(a.StateISTAT)
	}
	return out
}

func wireCaptures(c gateway.Capture) issuance.Captures {
	out := issuance.Captures{PhotoRef: c.Photo, SignatureRef: c.Signature, FingerprintRefs: []issuance.Fingerprint{}, Exemptions: []issuance.Exemption{}}
	for _, f := range c.Fingerprints {
		out.FingerprintRefs = append(out.FingerprintRefs, issuance.Fingerprint{Hand: f.Hand, Finger: f.Finger, Quality: f.Quality, Ref: f.Ref})
	}
	code := map[string]string{"under_12": "under_12", "temporary": "temporary_impediment", "permanent": "permanent_impediment"}[c.Exemption]
	if code == "" {
		return out
	}
	if len(out.FingerprintRefs) < 2 {
		out.Exemptions = append(out.Exemptions, issuance.Exemption{What: "fingerprints", Code: code})
	}
	if out.SignatureRef == "" {
		out.Exemptions = append(out.Exemptions, issuance.Exemption{What: "signature", Code: code})
	}
	return out
}

// deliveryAddress is the frozen address, or the one that would be frozen now.
func deliveryAddress(r *gateway.Request) *delivery.Address {
	if r.Address != nil {
		return r.Address
	}
	return r.DeliveryAddress()
}

func wireDelivery(r *gateway.Request, choice gateway.DeliveryChoice, address *delivery.Address, office gateway.Office) (issuance.Delivery, error) {
	out := issuance.Delivery{Kind: string(choice.Option)}
	if d := choice.Delegate; d != nil {
		out.Delegate = &issuance.Delegate{FiscalCode: d.FiscalCode, Surname: d.Surname, GivenName: d.GivenName}
	}
	switch choice.Option {
	case policies.DeliveryITAddress, policies.DeliveryForeignResidence:
		if address == nil {
			return out, errors.New("no address to deliver to")
		}
		out.Address = wireAddress(*address)
	case policies.DeliveryComunePickup:
		o, err := wireOffice(office, r)
		if err != nil {
			return out, err
		}
		out.Office = &o
	case policies.DeliveryConsulate:
		post, ok := r.CompetentPost()
		if !ok {
			return out, errors.New("no competent post")
		}
		o, err := wireOffice(gateway.Office{Kind: gateway.OfficePost, Code: post.Key}, r)
		if err != nil {
			return out, err
		}
		out.Office = &o
	default:
		return out, fmt.Errorf("unknown delivery %q", choice.Option)
	}
	return out, nil
}

// heldDelivery is the way back: where the core sends a card of which nothing else
// is known here. An address is as wireAddress told it: street, and number with unit.
func heldDelivery(d issuance.Delivery) gateway.DeliveryChoice {
	out := gateway.DeliveryChoice{Option: policies.DeliveryOption(d.Kind)}
	if to := d.Delegate; to != nil {
		out.Delegate = &gateway.Delegate{FiscalCode: to.FiscalCode, Surname: to.Surname, GivenName: to.GivenName}
	}
	if a := d.Address; a != nil {
		out.Address = &delivery.Address{
			CareOf: a.CareOf, Street: a.Street, HouseNumber: a.Number, Postcode: a.Postcode, Locality: a.Place, Region: a.Province, ISO2: a.Country,
		}
	}
	return out
}

func wireAddress(a delivery.Address) *issuance.Address {
	out := &issuance.Address{
		CareOf: a.CareOf, Street: firstText(a.Street, a.StreetLine), Number: strings.TrimSpace(a.HouseNumber + " " + a.Unit),
		Postcode: a.Postcode, Place: a.Locality, Province: a.Region, Country: a.ISO2,
	}
	if a.ISO2 == "IT" {
		// The comune's code, when the name says which it is.
		if current, _ := anpr.FindComuni(a.Locality); len(current) == 1 {
			out.ComuneISTAT = current[0].ISTAT
			out.Province = current[0].ProvinceCode
		}
	}
	return out
}

// Prepare sends a composed body.
func (c *core) Prepare(ctx context.Context, key string, body json.RawMessage) (gateway.Prepared, error) {
	var order issuance.PrepareOrder
	err := json.Unmarshal(body, &order)
	if err != nil || order.OrderKey != key {
		return gateway.Prepared{}, fmt.Errorf("stored order %s does not read: %w", key, err)
	}
	p, err := c.client.Prepare(ctx, order)
	if err != nil {
		return gateway.Prepared{}, verdict(err)
	}
	return gateway.Prepared{
		NUN: p.NUN, Digest: p.PrepareDigest, Halves: gateway.Halves{PIN: string(p.PINFirstHalf), PUK: string(p.PUKFirstHalf)},
	}, nil
}

// ConfirmForms tells the core that the forms are good.
func (c *core) ConfirmForms(ctx context.Context, o gateway.Order, at time.Time, actor gateway.Actor) error {
	_, err := c.client.ConfirmForms(ctx, issuance.ConfirmForms{
		OrderKey: o.Key, NUN: o.NUN, ConfirmedAt: issuance.At(at), Prints: o.Prints,
		Actor: issuance.Actor{Operator: actor.ID, Station: firstText(actor.Station, "api")},
	})
	return verdict(err)
}

// ComposeSubmission answers the body of the submission.
func (c *core) ComposeSubmission(r *gateway.Request, actor gateway.Actor) (json.RawMessage, error) {
	o := r.Order()
	if o == nil || r.Register == nil || r.Decision == nil || r.Counter.Fee == nil {
		return nil, errors.New("a submission needs order, register, decision and fee")
	}
	call, ok := r.Register.Applicant.LastCall()
	if !ok {
		return nil, errors.New("the register's evidence is missing")
	}
	fee := issuance.Fee{Status: "exempt"}
	if r.Counter.Fee.Means != "exempt" {
		fee = issuance.Fee{Status: "paid", AmountCents: int64(r.Counter.Fee.Cents), Currency: "EUR"}
	}
	signature := "handwritten"
	if r.Counter.Capture != nil && r.Counter.Capture.Signature == "" {
		signature = "cannot_sign"
	}
	return json.Marshal(issuance.Submission{
		OrderKey: o.Key, NUN: o.NUN, PrepareDigest: o.Digest,
		Form: issuance.Form{Serial: o.Key, SignedAt: issuance.At(o.SignedAt), Signature: signature},
		Fee:  fee,
		RegisterCheck: issuance.RegisterCheck{
			OperationID: firstText(call.RegisterOperationID, call.OperationID), TransactionID: call.TransactionID,
			CheckedAt: issuance.At(r.Register.At), AnswerDigest: r.Register.Applicant.AnswerDigest(),
		},
		Decision: issuance.Decision{
			RulesDigest: wireDigest(r.Decision.Decision.RuleSet), FactsDigest: wireDigest(r.Decision.Decision.FactsDigest), DecidedAt: issuance.At(r.Decision.At),
		},
		Actor: wireActor(actor, r),
	})
}

// wireDigest writes a digest as the contract does.
func wireDigest(d string) string { return "sha-256:" + strings.TrimPrefix(d, "sha256:") }

// Submit sends the act that makes a card.
func (c *core) Submit(ctx context.Context, key string, body json.RawMessage) (gateway.Receipt, error) {
	var s issuance.Submission
	err := json.Unmarshal(body, &s)
	if err != nil || s.OrderKey != key {
		return gateway.Receipt{}, fmt.Errorf("stored submission of %s does not read: %w", key, err)
	}
	r, err := c.client.Submit(ctx, s)
	if err != nil {
		return gateway.Receipt{}, verdict(err)
	}
	return gateway.Receipt{ID: r.ReceiptID, AcceptedAt: r.AcceptedAt.Time(), Digest: r.SubmissionDigest}, nil
}

// Lookup asks what the core holds.
func (c *core) Lookup(ctx context.Context, key string) (gateway.CoreOrder, error) {
	o, err := c.client.Lookup(ctx, key)
	if err != nil {
		return gateway.CoreOrder{}, verdict(err)
	}
	held := gateway.CoreOrder{
		NUN: o.NUN, State: o.State, LastSeq: int(o.LastSeq), Changes: map[string]bool{}, PrepareDigest: o.PrepareDigest, Delivery: heldDelivery(o.Delivery),
	}
	if o.Receipt != nil {
		held.Receipt = &gateway.Receipt{ID: o.Receipt.ReceiptID, AcceptedAt: o.Receipt.AcceptedAt.Time(), Digest: o.Receipt.SubmissionDigest}
	}
	for _, ch := range o.Changes {
		held.Changes[ch.ChangeKey] = ch.Outcome == issuance.OutcomeAccepted
	}
	return held, nil
}

// Cancel asks for no card to come of an order.
func (c *core) Cancel(ctx context.Context, key, changeKey, code string, actor gateway.Actor) (bool, error) {
	o, err := c.client.Cancel(ctx, issuance.Cancellation{
		OrderKey: key, ChangeKey: changeKey, Reason: code, Actor: issuance.Actor{Operator: firstText(actor.ID, "citizen"), Station: firstText(actor.Station, "portal")},
	})
	return o.Outcome == issuance.OutcomeAccepted, verdict(err)
}

// ChangeDelivery asks for another delivery of an accepted order.
func (c *core) ChangeDelivery(ctx context.Context, r *gateway.Request, changeKey string, to gateway.DeliveryChoice, address *delivery.Address, actor gateway.Actor) (bool, error) {
	d, err := wireDelivery(r, to, address, r.Office)
	if err != nil {
		return false, err
	}
	o, err := c.client.ChangeDelivery(ctx, issuance.DeliveryChange{
		OrderKey: r.Order().Key, ChangeKey: changeKey, Delivery: d,
		Actor: issuance.Actor{Operator: firstText(actor.ID, "citizen"), Station: firstText(actor.Station, "portal")},
	})
	return o.Outcome == issuance.OutcomeAccepted, verdict(err)
}

// Feed reads a page of the core's events.
func (c *core) Feed(ctx context.Context, after string) ([]gateway.CoreEvent, string, bool, error) {
	page, err := c.client.Feed(ctx, after, 200)
	if err != nil {
		return nil, "", false, verdict(err)
	}
	events := make([]gateway.CoreEvent, 0, len(page.Events))
	for _, e := range page.Events {
		events = append(events, coreEvent(e))
	}
	return events, page.Next, page.More, nil
}

// Verify checks a pushed event; its own clock is the client's.
func (c *core) Verify(jws []byte, _ time.Time) (gateway.CoreEvent, error) {
	e, err := c.client.VerifyEvent(string(jws))
	if err != nil {
		return gateway.CoreEvent{}, err
	}
	return coreEvent(e), nil
}

func coreEvent(e issuance.Event) gateway.CoreEvent {
	d := gateway.CoreDetails{Reason: e.Details.Reason, Tracking: e.Details.Tracking, Carrier: e.Details.Carrier, Until: e.Details.Until}
	if e.Details.Office != nil {
		d.Office = e.Details.Office.Kind + ":" + e.Details.Office.Code
	}
	if e.Details.Remake != nil {
		d.Remake = *e.Details.Remake
	}
	return gateway.CoreEvent{
		EventID: e.EventID, OrderKey: e.OrderKey, Seq: int(e.Seq), NUN: e.NUN, Type: e.Type, At: e.At.Time(), Details: d,
	}
}

// verdict translates the client's errors: only what the core signed as final is
// a verdict; our own body that breaks the contract is one too, since repeating
// it changes nothing.
func verdict(err error) error {
	switch issuance.KindOf(err) {
	case "":
		return nil
	case issuance.KindRefused, issuance.KindConflict, issuance.KindUnknownOrder, issuance.KindInvalid:
		var e *issuance.Error
		code := "refused"
		if errors.As(err, &e) && e.Code != "" {
			code = e.Code
		}
		return &gateway.CoreVerdict{Code: code, Err: err}
	default:
		return err
	}
}
