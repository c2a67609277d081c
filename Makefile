# What people and machines do with this repository. `make demo` and `make test`
# need nothing done before: they install what is missing (npm packages; Debian's
# chromium when root) or say exactly what to install.

SHELL := /bin/bash
GO ?= go
VERSION := $(shell sed -n 's/^## \[\([0-9][^]]*\)\].*/\1/p' CHANGELOG.md | head -n 1)
LDFLAGS := -s -w -X main.version=$(or $(VERSION),dev)
TOOL := $(GO) tool -modfile=cmd/tools/go.mod
ASSETS := gateway/web/assets/vendor/.built

.DEFAULT_GOAL := help
.PHONY: help demo test build bench soak lint fmt vuln sbom assets registries clean chromium postgres provider

help: ## List the targets
	@awk -F':.*## ' '/^[a-z]+:.*## /{printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: build ## The main job on this machine: gateway, simulators, a page to open (./data keeps it)
	bin/airegw demo --dir data

build: bin/airegw ## The one binary, bin/airegw

bin/airegw: $(ASSETS) FORCE
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '$(LDFLAGS)' -o bin/airegw ./cmd/airegw

FORCE:

assets: $(ASSETS) ## Fetch AgID's web kit and fonts (npm) into the folder that is embedded

$(ASSETS): gateway/web/assets/package-lock.json gateway/web/assets/copy.mjs
	@command -v npm >/dev/null || { echo "airegw: npm is missing; install Node.js 20 or later (Debian: apt-get install nodejs npm)" >&2; exit 1; }
	cd gateway/web/assets && npm ci --no-audit --no-fund --loglevel=error && npm run --silent build
	@touch $@

provider: testharness/oidcprovider/node_modules/.installed ## Fetch the independent OpenID Provider of the login tests (npm)

testharness/oidcprovider/node_modules/.installed: testharness/oidcprovider/package-lock.json
	@command -v npm >/dev/null || { echo "airegw: npm is missing; install Node.js 20 or later (Debian: apt-get install nodejs npm)" >&2; exit 1; }
	cd testharness/oidcprovider && npm ci --no-audit --no-fund --loglevel=error
	@touch $@

registries: ## Generate the tables of comuni and states again from their npm packages
	cd cmd/tools/registrygen && npm ci --no-audit --no-fund --loglevel=error
	cd cmd/tools && $(GO) run ./registrygen

test: ## Everything CI runs
	@.ci/test

chromium:
	@command -v chromium >/dev/null || command -v chromium-browser >/dev/null || { \
	  if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	    echo "installing Debian's chromium for the browser tests" >&2; \
	    apt-get update -qq >/dev/null && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq chromium >/dev/null; \
	  else echo "airegw: chromium is missing; the browser tests need it (Debian: apt-get install chromium)" >&2; exit 1; fi; }

postgres:
	@ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || command -v initdb >/dev/null || { \
	  if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	    echo "installing Debian's postgresql for the store's tests, which start a throw-away cluster of their own" >&2; \
	    apt-get update -qq >/dev/null && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends postgresql >/dev/null; \
	  else echo "airegw: postgresql is missing; the store's tests need it (Debian: apt-get install postgresql)" >&2; exit 1; fi; }

lint: ## gofumpt, go vet, staticcheck, golangci-lint, module files
	@.ci/test lint

fmt: ## Format the Go code
	$(TOOL) gofumpt -w $$(git ls-files '*.go')

bench: build ## Durable submissions per second over HTTP, beside the machine's own limit
	bin/airegw bench submit --json

soak: ## Faults for SOAK_MINUTES (default 40): kills, bad lines, overload, hostile peers, replicas; report in build/soak.json
	mkdir -p build
	$(GO) test -c -o build/soak.test ./testharness/crash
	cd testharness/crash && SOAK_MINUTES=$${SOAK_MINUTES:-40} SOAK_REPORT=$(CURDIR)/build/soak.json $(CURDIR)/build/soak.test -test.timeout 0 -test.v \
	  -test.run 'TestAKilledLoad|TestABadLine|TestThreeTimes|TestAHostile|TestReplicas|TestADiskThatIsFull|TestASlowDisk|TestABackupUnderLoad'

vuln: ## Known vulnerabilities (needs the vulnerability database, which build machines may not reach)
	$(TOOL) govulncheck ./...

sbom: ## Every module in the binary with its licence, as CycloneDX JSON in build/sbom.json
	mkdir -p build && cd cmd/tools && $(GO) run ./sbom > ../../build/sbom.json

clean: ## Remove what was built and the demo's data
	rm -rf bin build data gateway/web/assets/node_modules
	find gateway/web/assets/vendor -mindepth 1 ! -name .gitkeep -delete 2>/dev/null || true
