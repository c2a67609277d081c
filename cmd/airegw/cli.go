package main

import "github.com/alecthomas/kong"

const description = `The gateway for the electronic identity card (CIE) of Italians abroad (AIRE).

Start with:  airegw demo          everything on loopback, a page to open
then:        airegw demo --tour   ten citizens through the whole life of a request

Output for machines: --json on stdout; logs on stderr. Exit codes: 0 done, 1 the thing asked about is bad, 2 usage.`

// cli lists every command. The names are a public contract: they are never
// renamed, only added to.
type cli struct {
	Version  kong.VersionFlag `help:"Print the version and exit."`
	Registry registryCmd      `cmd:"" help:"Comuni, foreign states, fiscal codes and the consular network."`
}

// registryCmd groups the look-ups in the registries the binary ships.
type registryCmd struct {
	Comuni comuniCmd         `cmd:"" help:"Italian comuni, present and former: by code or by a name typed badly."`
	States statesCmd         `cmd:"" help:"Foreign states and territories with their ISO, ISTAT and catastale (Z) codes."`
	CF     cfCmd             `cmd:"" name:"cf" help:"Check a fiscal code: structure, checksum, omocodia, place of birth."`
	Posts  postsCmd          `cmd:"" help:"The Italian consular network."`
	Post   postCmd           `cmd:"" help:"The competent post for a foreign address."`
	Import registryImportCmd `cmd:"" help:"Read official tables, check them and report what they change."`
}
