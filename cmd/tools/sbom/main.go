// Command sbom prints, as CycloneDX 1.5 JSON, every module that is compiled into
// the airegw binary with its version and licence. It reads what the module
// cache holds: a module whose licence it cannot tell is an error, not a guess.
// Run in cmd/tools (make sbom).
package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sort"
	"strings"
)

type module struct{ path, version, dir string }

func main() {
	err := run()
	if err != nil {
		fmt.Fprintln(os.Stderr, "sbom:", err)
		os.Exit(1)
	}
}

func run() error {
	cmd := exec.Command("go", "list", "-deps", "-f", "{{with .Module}}{{.Path}}\t{{.Version}}\t{{.Dir}}{{end}}", "./cmd/airegw")
	cmd.Dir = filepath.Join("..", "..")
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return fmt.Errorf("list dependencies: %w", err)
	}
	seen := map[string]module{}
	for line := range bytes.Lines(out) {
		f := strings.Split(strings.TrimSpace(string(line)), "\t")
		if len(f) == 3 && f[1] != "" {
			seen[f[0]] = module{f[0], f[1], f[2]}
		}
	}
	type license struct {
		License struct {
			ID string `json:"id"`
		} `json:"license"`
	}
	type component struct {
		Type     string    `json:"type"`
		Name     string    `json:"name"`
		Version  string    `json:"version"`
		PURL     string    `json:"purl"`
		Licenses []license `json:"licenses"`
	}
	var components []component
	var unknown []string
	for _, m := range seen {
		id, err := licenseOf(m.dir)
		if err != nil {
			unknown = append(unknown, m.path+": "+err.Error())
			continue
		}
		var l license
		l.License.ID = id
		components = append(components, component{"library", m.path, m.version, "pkg:golang/" + m.path + "@" + m.version, []license{l}})
	}
	if len(unknown) > 0 {
		sort.Strings(unknown)
		return fmt.Errorf("licences not told:\n%s", strings.Join(unknown, "\n"))
	}
	sort.Slice(components, func(i, j int) bool { return components[i].Name < components[j].Name })
	enc := json.NewEncoder(os.Stdout)
	enc.SetIndent("", "  ")
	return enc.Encode(map[string]any{
		"bomFormat": "CycloneDX", "specVersion": "1.5", "version": 1,
		"metadata":   map[string]any{"component": map[string]string{"type": "application", "name": "airegw"}},
		"components": components,
	})
}

// marks are words that only one licence's text has, the longer texts first.
var marks = []struct{ id, words string }{
	{"MPL-2.0", "Mozilla Public License"},
	{"Apache-2.0", "Apache License"},
	{"ISC", "Permission to use, copy, modify, and/or distribute this software"},
	{"MIT", "Permission is hereby granted, free of charge"},
	{"BSD-3-Clause", "Neither the name"},
	{"BSD-3-Clause", "names of its contributors may"},
	{"BSD-2-Clause", "Redistribution and use in source and binary forms"},
	{"Unlicense", "This is free and unencumbered software"},
}

func licenseOf(dir string) (string, error) {
	files, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil {
		return "", err
	}
	for _, f := range files {
		name := strings.ToUpper(filepath.Base(f))
		if !strings.HasPrefix(name, "LICEN") && !strings.HasPrefix(name, "COPYING") {
			continue
		}
		text, err := os.ReadFile(f)
		if err != nil {
			continue
		}
		flat := strings.Join(strings.Fields(string(text)), " ")
		for _, m := range marks {
			if strings.Contains(flat, m.words) {
				return m.id, nil
			}
		}
	}
	return "", fmt.Errorf("no licence text recognised in %s", filepath.Base(dir))
}
