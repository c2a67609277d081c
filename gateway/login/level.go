package login

// Level is how sure the provider is of the person (same URIs for SPID and CIE).
// Level 1: user name and password. Level 2: a second factor (app, code). Level
// 3: the card with its PIN.
type Level int

// The levels.
const (
	Level1 Level = 1
	Level2 Level = 2
	Level3 Level = 3
)

var acrs = map[Level]string{
	Level1: "https://www.spid.gov.it/SpidL1",
	Level2: "https://www.spid.gov.it/SpidL2",
	Level3: "https://www.spid.gov.it/SpidL3",
}

// ACR is the level's URI, "" for no level.
func (l Level) ACR() string { return acrs[l] }

// levelOf ranks an acr; 0 for one that no text knows.
func levelOf(acr string) Level {
	for l, uri := range acrs {
		if uri == acr {
			return l
		}
	}
	return 0
}

// Act is something a citizen does that asks for a level.
type Act string

// The acts. View covers all that a session needs by itself: my data, my
// requests, a new request.
const (
	ActView       Act = "view"
	ActReportLoss Act = "report_loss"
	ActConsent    Act = "consent" // the second parent's assent, and its withdrawal
)

// LevelFor answers the level an act needs (issue of "Entra con CIE": view L2,
// report of loss L2, second parent's consent L3); an unknown act needs the
// highest.
func LevelFor(a Act) Level {
	switch a {
	case ActView, ActReportLoss:
		return Level2
	}
	return Level3
}
