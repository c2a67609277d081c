package app

import "testing"

// FuzzConfig: no configuration, however broken, ends the program that reads it;
// one that is read can be written and is read again.
func FuzzConfig(f *testing.F) {
	f.Add([]byte("environment: simulation\nlisten: 127.0.0.1:0\nbase_url: http://127.0.0.1\ndatabase: {path: a.db, keys: k}\n"))
	f.Add([]byte("register: {client_id: x, services: {C030: {base_url: 'https://x', audience: a, purpose: p, per_day: -1}}}\n"))
	f.Add([]byte("federation:\n  entity_id: https://x\noperators: [{id: a, issuer: 'http://x', offices: [roma]}]\n"))
	f.Add([]byte("clients: [{id: a}, {id: a}]\nretention: {login_days: 3}\nlimits: {api_per_second: -1}\n"))
	f.Add([]byte("sad: {}\nconsular: {url: x}\ncards: {}\nrules: {}\n"))
	f.Add([]byte("a: &a [*a]\n"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		c, err := ParseConfig(raw)
		if err != nil {
			return
		}
		_ = c.Check()
		text, err := c.YAML()
		if err != nil {
			return // what cannot be written is not what a file can say
		}
		if _, err := ParseConfig(text); err != nil {
			t.Fatalf("written again it is refused: %v\n%s", err, text)
		}
	})
}
