// Package jose signs, verifies, encrypts and decrypts compact JWS and JWE.
//
// Duty: be the only place in the product that knows the JOSE library (jwx v2,
// deprecated upstream), so that moving to another one is a change of this
// package alone.
//
// Promise: nothing is accepted that the caller did not list. Algorithms and
// `typ` values are allow-lists, a key is chosen by `kid` and must fit the
// algorithm, `iat` and `exp` are required and held against the instant the
// caller passes in, issuer and audience are compared unless the caller says in
// so many words that the token has none. Header and claim names are constants
// of this package or tags of Go structs, never strings from outside
// (GHSA-4cf7-xm37-g63h: jwx v2 does not escape claim names; we never hand it
// any).
//
// It refuses: alg none and every symmetric algorithm, critical headers,
// compressed JWE, RSA keys under 2048 bits, private members in a foreign key
// set, key files that others may read, tokens and key sets beyond a fixed size.
package jose
