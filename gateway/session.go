package gateway

import "time"

// SessionNote is what is kept of a session of the pages beside its data, so that
// its owner can see and end it.
type SessionNote struct {
	ID        string    // opaque; in the session's data too
	Owner     string    // whose: a door and an opaque id
	StartedAt time.Time //
	ExpiresAt time.Time // unless it is used before
	Level     int       // login level of a citizen, 0 for others
	Browser   string    // as it calls itself, cut
	Login     string    // reference of the login; empty behind the demo's door
}
