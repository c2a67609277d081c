// Package issuance is the client of the issuance core's order contract
// (core.openapi.yaml in this folder): prepare, confirm the forms, submit, look
// up, change the delivery, cancel, and read what happens to an order, pulled
// as a feed or pushed as an event.
//
// Promise: success is only the exact answer the contract states — status,
// media type, a signature by a configured key of the core, typ, iss, aud, time,
// the `req` that binds it to our question, a body that fits, the order asked
// about. A verdict of the core is Refused or Conflict, and only when it is
// signed. Everything else is Unclear: the caller looks the order up by its key
// before it repeats a submission, a cancellation or a delivery change, which
// this package therefore never retries by itself.
//
// It refuses: to send a body the contract would not take (bad keys, text that
// is not NFC or holds control characters, more than 256 KiB), to show a
// PIN/PUK half to a log or a format verb, to know anything of the gateway's
// domain: its structs are the wire's, the gateway adapts.
package issuance
