package app

import (
	"strings"
	"testing"

	"airegw/gateway/store"
)

func TestTheDialogueOfAComuneIsConfiguredByItsSevenSettings(t *testing.T) {
	t.Parallel()
	read := func(text string) string {
		t.Helper()
		c, err := ParseConfig([]byte("environment: " + store.Simulation + "\nsad:\n" + text))
		if err != nil {
			return err.Error()
		}
		err = c.Check() // the rest is missing: only our section is looked at
		var own []string
		for _, line := range strings.Split(err.Error(), "\n") {
			if strings.HasPrefix(line, "sad") {
				own = append(own, line)
			}
		}
		return strings.Join(own, "\n")
	}
	for text, want := range map[string]string{
		`  "058091": {connection: http, address: 127.0.0.1, port: 8090, path: /apr, constants: S/N}`:                 "",
		`  "058091": {connection: ftp, upload: up, download: down, constants: VERO/FALSO}`:                           "",
		`  "058091": {connection: http, address: 127.0.0.1, port: 8090, constants: S/N}`:                             "sad.058091.path:",
		`  "058091": {connection: ftp, upload: up, constants: S/N}`:                                                  "sad.058091.download:",
		`  "058091": {connection: ftp, upload: up, download: down, constants: SfN}`:                                  "sad.058091.constants:",
		`  "058091": {connection: smtp, constants: S/N}`:                                                             "sad.058091.connection:",
		`  "058091": {connection: http, address: 10.0.0.1, port: 80, path: /, constants: S/N}`:                       "sad.058091.address:",
		`  "999999": {connection: ftp, upload: up, download: down, constants: S/N}`:                                  "sad.999999:",
		`  "058091": {connection: http, address: 127.0.0.1, port: 8090, path: /apr, constants: S/N, password: hush}`: "password",
	} {
		if got := read(text); want == "" && got != "" || !strings.Contains(got, want) {
			t.Errorf("%s\n  %s", text, got)
		}
	}
}
