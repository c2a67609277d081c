package main

import "github.com/alecthomas/kong"

const description = `The gateway for the electronic identity card (CIE) of Italians abroad (AIRE).

Start with "airegw demo": everything on loopback, and a page to open. Then, in another terminal, "airegw demo --tour": ten citizens through the whole life of a request.

Output for machines: --json on stdout; logs on stderr. Exit codes: 0 done, 1 the thing asked about is bad, 2 usage.`

// cli lists every command. The names are a public contract: they are never
// renamed, only added to.
type cli struct {
	Version    kong.VersionFlag `help:"Print the version and exit."`
	Demo       demoCmd          `cmd:"" help:"The main job on this machine: gateway, simulators, an embedded database, a page to open."`
	Serve      serveCmd         `cmd:"" help:"Serve with a configuration file."`
	Sim        simCmd           `cmd:"" help:"The simulators alone."`
	Submit     submitCmd        `cmd:"" help:"Submit requests from a JSON Lines file through the API."`
	Explain    explainCmd       `cmd:"" help:"What the rules answer and why: for a country, a request, or situations line by line."`
	Policies   policiesCmd      `cmd:"" help:"The country rules: check, test, compare, show."`
	Registry   registryCmd      `cmd:"" help:"Comuni, foreign states, fiscal codes and the consular network."`
	Register   registerCmd      `cmd:"" help:"The link to ANPR and PDND: daily tracing, public keys, quota."`
	Federation federationCmd    `cmd:"" help:"The CIE OpenID Connect Federation: keys, our Entity Configuration, trust chains, metadata policy."`
	Contract   contractCmd      `cmd:"" help:"Contract kits: does an endpoint keep what its specification says?"`
	Audit      auditCmd         `cmd:"" help:"The audit trail."`
	Bench      benchCmd         `cmd:"" help:"Measure this machine with this binary; every loop is bounded in count and time."`
	Config     configCmd        `cmd:"" help:"Configuration files."`
	Backup     backupCmd        `cmd:"" help:"Copies of the database, proven when they are restored."`
	Migrate    migrateCmd       `cmd:"" help:"Move a database from SQLite to PostgreSQL."`
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
