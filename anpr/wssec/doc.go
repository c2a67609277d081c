// Package wssec is the security of the SOAP doors of ANPR
// (specs/anpr-pdnd-modi.md §4.1): a WS-Security signature with an embedded
// X.509 token over Timestamp and Body, a SAML 2.0 assertion about the operator
// signed with the site's certificate, and the station id signed with the
// station's own certificate (CMS).
//
// Duty: make such a message from a request element, and check one.
//
// Promise: what Check returns are the very bytes the signature covers; nothing
// else of the message may be processed. Canonicalisation is the module's
// (goxmldsig), never ours.
//
// It refuses, each with its own code: a document type, an entity, a processing
// instruction, a message too large, too deep or with too many namespaces;
// attributes or ids given twice; a reference to anything but the Timestamp in
// the Security header and the Body of the Envelope (signature wrapping);
// algorithms that are not of a suite the caller allows; transforms other than
// exclusive canonicalisation; a certificate the caller does not trust; a
// Timestamp or an assertion out of its time.
package wssec
