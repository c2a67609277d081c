package login

import (
	"io"
)

const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"

// alphanumerics draws n characters of [A-Za-z0-9], each equally likely:
// base64url's - and _ are not alphanumeric, as state and nonce must be.
func alphanumerics(random io.Reader, n int) (string, error) {
	return draw(random, alphabet, n)
}

// draw picks n characters of a set; bytes that would favour some are dropped.
func draw(random io.Reader, set string, n int) (string, error) {
	limit := 256 - 256%len(set)
	out := make([]byte, 0, n)
	buffer := make([]byte, n+n/2)
	for len(out) < n {
		if _, err := io.ReadFull(random, buffer); err != nil {
			return "", err
		}
		for _, b := range buffer {
			if int(b) < limit && len(out) < n {
				out = append(out, set[int(b)%len(set)])
			}
		}
	}
	return string(out), nil
}

// reference draws a code that people can read out: no letters that look like
// digits, in two groups, as in "K7MQ-2XRA9T". 50 bits: two logins never meet in
// a register of 24 months.
func reference(random io.Reader) (string, error) {
	s, err := draw(random, "ABCDEFGHJKMNPQRSTVWXYZ23456789", 11)
	if err != nil {
		return "", err
	}
	return s[:4] + "-" + s[4:], nil
}
