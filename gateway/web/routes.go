package web

import (
	"net/http"
	"strings"
)

// Surface says what kind of answer a route gives.
type Surface string

// The surfaces. SurfaceAny is used for what no route matches.
const (
	SurfacePage   Surface = "page"
	SurfaceAPI    Surface = "api"
	SurfaceCore   Surface = "core" // its own listener, mutual TLS
	SurfaceStatic Surface = "static"
	SurfaceHealth Surface = "health"
	SurfaceCard   Surface = "card" // its own listener, asks for operators' cards
	// SurfaceFederation is for machines of the CIE federation: public, signed.
	SurfaceFederation Surface = "federation"
	SurfaceAny        Surface = "any"
)

// Caller is a set of kinds of caller.
type Caller uint8

// The kinds of caller. Public is anybody, signed in or not. A referent may do
// all an operator may, but is listed on its own.
const (
	Public Caller = 1 << iota
	Citizen
	Operator
	Referent
	MachineClient
	RuleOwner // approves rules for one of the two ministries; sees no request

	Desk      = Operator | Referent                 // people at an office
	Office    = Operator | Referent | MachineClient // whoever acts for one office
	Anyone    = Citizen | Office                    // whoever is somebody
	Everybody = Public | Anyone | RuleOwner
)

// String answers the names of the kinds in the set.
func (c Caller) String() string {
	var names []string
	for i, name := range []string{"public", "citizen", "operator", "referent", "client", "rule_owner"} {
		if c&(1<<i) != 0 {
			names = append(names, name)
		}
	}
	return strings.Join(names, "|")
}

// Route is one route, as data: what the engine is built from and what the
// isolation matrix is generated from.
type Route struct {
	Method  string
	Path    string
	Surface Surface
	Callers Caller
	Demo    bool // exists only behind the demo's door
}

// served is a route with its handler.
type served struct {
	Route
	handle handler
}

// Routes answers every route, with the demo's ones or without; those of the
// federation as an aggregator whose identifier is the host itself has them.
func Routes(demo bool) []Route {
	s := &Server{}
	if demo {
		s.opt.Demo = &DemoDoor{}
	}
	var out []Route
	for _, r := range append(s.routes(), s.federationRoutes("", nil, true)...) {
		out = append(out, r.Route)
	}
	return out
}

// routes is the whole outside of the gateway.
func (s *Server) routes() []served {
	const (
		get, post = http.MethodGet, http.MethodPost
		page, api = SurfacePage, SurfaceAPI
		one       = "/api/v1/requests/:number"
		desk      = "/operator/requests/:number"
		mine      = "/citizen/requests/:number"
	)
	all := []served{
		// Health, static files, the contract.
		{Route{get, "/status", SurfaceHealth, Everybody, false}, s.status},
		{Route{get, "/api/v1/status", SurfaceHealth, Everybody, false}, s.status},
		{Route{get, "/api/v1/openapi.yaml", SurfaceStatic, Everybody, false}, s.contract},
		{Route{get, "/assets/:version/*path", SurfaceStatic, Everybody, false}, s.asset},

		// The issuance core.
		{Route{post, "/core/v1/events", SurfaceCore, Everybody, false}, s.coreEvent},

		// API: requests.
		{Route{post, "/api/v1/requests", api, Anyone, false}, s.apiSubmit},
		{Route{get, "/api/v1/requests", api, Anyone, false}, s.apiList},
		{Route{get, one, api, Anyone, false}, s.apiOpen},
		{Route{get, one + "/checklist", api, Office, false}, s.apiChecklist},
		{Route{post, one + "/delivery", api, Anyone, false}, s.apiAct(actDelivery)},
		{Route{post, one + "/cancellation", api, Anyone, false}, s.apiAct(actCancellation)},
		{Route{post, one + "/tracker", api, Anyone, false}, s.apiTracker},
		{Route{post, one + "/assent", api, Anyone, false}, s.apiAct(actAssent)},
		{Route{get, one + "/label", api, Anyone, false}, s.apiLabel},
		{Route{get, "/api/v1/rates", api, Office, false}, s.apiRates},
		{Route{post, "/api/v1/rates", api, Office, false}, s.apiEnterRate},
		{Route{get, "/api/v1/track/:number", api, Everybody, false}, s.apiTrack},

		// API: counter work, in the order in which it is done.
		{Route{post, one + "/counter/presence", api, Office, false}, s.apiAct(actPresence)},
		{Route{post, one + "/counter/documents", api, Office, false}, s.apiAct(actDocuments)},
		{Route{post, one + "/counter/declaration", api, Office, false}, s.apiAct(actDeclaration)},
		{Route{post, one + "/counter/assent", api, Office, false}, s.apiAct(actAssent)},
		{Route{post, one + "/counter/enquiry", api, Office, false}, s.apiAct(actEnquiry)},
		{Route{post, one + "/counter/capture", api, Office, false}, s.apiAct(actCapture)},
		{Route{post, one + "/counter/fee", api, Office, false}, s.apiAct(actFee)},
		{Route{post, one + "/counter/suspend", api, Office, false}, s.apiAct(actSuspend)},
		{Route{post, one + "/counter/resume", api, Office, false}, s.apiAct(actResume)},
		{Route{post, one + "/counter/refuse", api, Office, false}, s.apiAct(actRefuse)},
		{Route{post, one + "/counter/prepare", api, Office, false}, s.apiAct(actPrepare)},
		{Route{post, one + "/counter/print", api, Office, false}, s.apiPrint},
		{Route{post, one + "/counter/confirm", api, Office, false}, s.apiAct(actConfirm)},
		{Route{post, one + "/counter/void", api, Office, false}, s.apiAct(actVoid)},
		{Route{post, one + "/counter/sign", api, Office, false}, s.apiAct(actSign)},
		{Route{post, one + "/counter/handover", api, Office, false}, s.apiAct(actHandover)},
		{Route{post, one + "/counter/reship", api, Office, false}, s.apiAct(actReship)},
		{Route{post, one + "/counter/movement", api, Office, false}, s.apiAct(actMovement)},
		{Route{post, one + "/counter/duplicate", api, Office, false}, s.apiAct(actDuplicate)},
		{Route{post, one + "/counter/destroy", api, Office, false}, s.apiAct(actDestroy)},
		{Route{post, one + "/counter/recheck", api, Office, false}, s.apiAct(actRecheck)},
		{Route{post, one + "/counter/unpark", api, Office, false}, s.apiAct(actUnpark)},
		{Route{post, one + "/counter/reopen", api, Office, false}, s.apiAct(actReopen)},

		// API: lost and stolen cards, told and signed by the offices configured.
		{Route{post, "/api/v1/card-notices", api, Everybody, false}, s.apiCardNotice},

		// API: registries.
		{Route{get, "/api/v1/registry/comuni", api, Everybody, false}, s.apiComuni},
		{Route{get, "/api/v1/registry/posts", api, Everybody, false}, s.apiPosts},

		// Pages for everybody.
		{Route{get, "/", page, Everybody, false}, s.pageHome},
		{Route{get, "/track", page, Everybody, false}, s.pageTrackForm},
		{Route{post, "/track", page, Everybody, false}, s.pageTrack},
		{Route{get, "/lookup/offices", page, Everybody, false}, s.pageOffices},
		{Route{post, "/lookup/label", page, Citizen | Desk, false}, s.pageLabelPreview},
		{Route{post, "/logout", page, Everybody, false}, s.pageLogout},

		// Pages of an office.
		{Route{get, "/operator", page, Desk, false}, s.pageDashboard},
		{Route{post, "/operator", page, Desk, false}, s.pageDashboard}, // a search: personal data stay out of addresses
		{Route{get, "/operator/requests/new", page, Desk, false}, s.pageNewAtDesk},
		{Route{post, "/operator/requests", page, Desk, false}, s.pageSubmit},
		{Route{get, desk, page, Desk, false}, s.pageRequest},
		{Route{get, desk + "/label", page, Desk, false}, s.pageLabel},
		{Route{get, "/operator/rates", page, Desk, false}, s.pageRates},
		{Route{post, "/operator/rates", page, Desk, false}, s.pageEnterRate},
		{Route{get, desk + "/why/:option", page, Desk, false}, s.pageWhy},
		{Route{post, desk + "/print", page, Desk, false}, s.pagePrint},
		{Route{post, desk + "/tracker", page, Desk, false}, s.pageTrackerCode},
		{Route{post, desk + "/delivery", page, Desk, false}, s.pageAct(actDelivery)},
		{Route{post, desk + "/cancellation", page, Desk, false}, s.pageAct(actCancellation)},
		{Route{post, desk + "/assent", page, Desk, false}, s.pageAct(actAssent)},
		{Route{post, desk + "/presence", page, Desk, false}, s.pageAct(actPresence)},
		{Route{post, desk + "/documents", page, Desk, false}, s.pageAct(actDocuments)},
		{Route{post, desk + "/declaration", page, Desk, false}, s.pageAct(actDeclaration)},
		{Route{post, desk + "/enquiry", page, Desk, false}, s.pageAct(actEnquiry)},
		{Route{post, desk + "/capture", page, Desk, false}, s.pageAct(actCapture)},
		{Route{post, desk + "/fee", page, Desk, false}, s.pageAct(actFee)},
		{Route{post, desk + "/suspend", page, Desk, false}, s.pageAct(actSuspend)},
		{Route{post, desk + "/resume", page, Desk, false}, s.pageAct(actResume)},
		{Route{post, desk + "/refuse", page, Desk, false}, s.pageAct(actRefuse)},
		{Route{post, desk + "/prepare", page, Desk, false}, s.pageAct(actPrepare)},
		{Route{post, desk + "/confirm", page, Desk, false}, s.pageAct(actConfirm)},
		{Route{post, desk + "/void", page, Desk, false}, s.pageAct(actVoid)},
		{Route{post, desk + "/sign", page, Desk, false}, s.pageAct(actSign)},
		{Route{post, desk + "/handover", page, Desk, false}, s.pageAct(actHandover)},
		{Route{post, desk + "/reship", page, Desk, false}, s.pageAct(actReship)},
		{Route{post, desk + "/movement", page, Desk, false}, s.pageAct(actMovement)},
		{Route{post, desk + "/duplicate", page, Desk, false}, s.pageAct(actDuplicate)},
		{Route{post, desk + "/destroy", page, Desk, false}, s.pageAct(actDestroy)},
		{Route{post, desk + "/recheck", page, Desk, false}, s.pageAct(actRecheck)},
		{Route{post, desk + "/unpark", page, Desk, false}, s.pageAct(actUnpark)},
		{Route{post, desk + "/reopen", page, Desk, false}, s.pageAct(actReopen)},

		// Pages of a citizen.
		{Route{get, "/citizen", page, Citizen, false}, s.pageMine},
		{Route{get, "/citizen/data.json", page, Citizen, false}, s.pageOwnData},
		{Route{get, "/citizen/requests/new", page, Citizen, false}, s.pageNewOwn},
		{Route{post, "/citizen/requests", page, Citizen, false}, s.pageSubmit},
		{Route{get, mine, page, Citizen, false}, s.pageRequest},
		{Route{get, mine + "/label", page, Citizen, false}, s.pageLabel},
		{Route{get, mine + "/why/:option", page, Citizen, false}, s.pageWhy},
		{Route{post, mine + "/delivery", page, Citizen, false}, s.pageAct(actDelivery)},
		{Route{post, mine + "/cancellation", page, Citizen, false}, s.pageAct(actCancellation)},
		{Route{post, mine + "/assent", page, Citizen, false}, s.pageAct(actAssent)},
		{Route{post, mine + "/tracker", page, Citizen, false}, s.pageTrackerCode},

		// Pages of the two owners of the rules.
		{Route{get, "/rules", page, RuleOwner, false}, s.pageRules},
		{Route{post, "/rules", page, RuleOwner, false}, s.pageUploadRules},
		{Route{get, "/rules/:hash", page, RuleOwner, false}, s.pageRuleSet},
		{Route{post, "/rules/:hash/approve", page, RuleOwner, false}, s.pageApproveRules},
	}
	all = append(all, s.loginRoutes()...)
	all = append(all, s.citizenRoutes()...)
	all = append(all, s.correctionRoutes()...)
	all = append(all, s.correctionAPI()...)
	all = append(all, s.noticeRoutes()...)
	all = append(all, s.reconciliationRoutes()...)
	all = append(all, s.officeCardRoutes()...)
	all = append(all, s.cardRoutes()...)
	if m := s.opt.Federation; m != nil {
		all = append(all, s.memberRoutes(m)...)
	}
	if s.opt.Demo != nil {
		all = append(all, served{Route{post, pathLogin, page, Everybody, true}, s.pageEnter})
	}
	return all
}
