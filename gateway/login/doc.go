// Package login lets people in: citizens by "Entra con CIE", as a relying party
// of the CIE federation; operators by plain OpenID Connect at the provider of
// their own administration.
//
// Duty: send the browser to the provider with a signed request, judge what comes
// back, say who is there and at which level, keep the evidence of each login,
// revoke its access token at logout. Sessions and cookies are web's.
//
// Promise: an Identity is returned only when every check held: the answer
// belongs to an attempt this browser began and nobody finished, the provider is
// the one asked, each token is signed by a key its superior vouches for, meant
// for us, of this login, in its time, never seen before, at the level asked.
// Each failing check has a Code of its own; every failure is an *Error with one
// of five classes for people and a reference code that the log and the
// transaction register repeat. Ten tabs of one browser may log in at once.
//
// It refuses: to begin without a valid trust chain, a missing `iss`, an answer
// with code and error, plain JSON UserInfo, a second subject, a fiscal code in
// any other form than the claim's, an operator whom the provider may not speak
// for. The provider's error_description never reaches a person.
//
// Sources: spid-cie-oidc-docs ("D"), AgID's test catalogues, OpenID Connect Core,
// RFC 7636, 9068, 9207; decisions where they disagree stand beside the code.
package login
