// Package outbound is the one way out: every call of the product to another
// system goes through a Client of this package, one per peer and service.
//
// Duty: total deadline and time per try, bounded answers, retries with backoff
// and jitter for what is idempotent, a breaker for a peer that flaps, a proxy
// per service, TLS with a named certificate authority and client certificate,
// a correlation id, one log record per call.
//
// Promise: an answer is returned only when it arrived whole and with a status
// the caller accepts; everything else is an *Error of a closed kind that says
// whether the peer may have seen the request. Success is never guessed.
//
// It refuses: redirects, plain http to anything but a loopback address,
// proxies from the environment, answers beyond the limit, and retrying a
// request that nobody declared idempotent (go-retryablehttp, wrapped here and
// nowhere else, would retry every POST). Bodies, query strings, paths and
// header values never reach the log.
package outbound
