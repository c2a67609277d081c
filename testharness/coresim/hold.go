package coresim

import (
	"fmt"
	"time"
)

// Hold makes the core hold an order as it stands before the submission, prepared
// and its forms confirmed, without a message about it: body is what prepare would
// have carried for that client, and must be as good. It answers the order's number
// and the digest of the body. It is for tests of what comes after.
func (s *Sim) Hold(client string, body []byte) (nun, digest string, err error) {
	var b prepareBody
	text, r := decodeBody(body, &b)
	if r == nil {
		r = b.validate(s.now().Format(time.DateOnly))
	}
	if r != nil {
		return "", "", fmt.Errorf("hold an order: %w", r)
	}
	digest = digestOf(text)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.gateways[client] == nil || s.orders[b.OrderKey] != nil {
		return "", "", fmt.Errorf("hold an order: %s is not known, or %s is", client, b.OrderKey)
	}
	o, err := s.take(client, b.OrderKey, digest, text)
	if err == nil {
		err = s.confirm(o)
	}
	if err != nil {
		return "", "", err
	}
	return o.nun, digest, s.journal.Flush()
}
