# Users need Go and root. `make help` lists the targets.
GO ?= go
PREFIX ?= /usr/local
# What "..." does not find, being below testdata.
TOOLS := ./testdata/bench ./testdata/e2e ./testdata/kernels

.PHONY: build
build: ## Build bin/swolld, and bin/swoll-dump, which is kubectl-swoll, too.
	CGO_ENABLED=0 $(GO) build -trimpath -o bin/ ./cmd/swolld ./cmd/swoll-dump
	@ln -sf swoll-dump bin/kubectl-swoll

.PHONY: demo
demo: build ## Show the main job: a program dies, and its last calls are there (root).
	@sh testdata/demo.sh bin

.PHONY: test
test: packages ## Run all tests, installing what they need (root; Debian's packages).
	$(GO) test -timeout 20m ./...
	$(GO) test ./testdata/bench

.PHONY: test-e2e
test-e2e: packages ## Run the tests on a real Kubernetes node, built and started for them (root).
	$(GO) test -count=1 -timeout 25m ./testdata/e2e

.PHONY: test-kernels
test-kernels: packages ## Run the core's tests in other kernels, emulated.
	$(GO) run ./testdata/kernels

.PHONY: race
race: ## Run the tests that share memory between goroutines under the race detector.
	$(GO) test -race -timeout 20m ./api/... ./client/... ./ringstore/... ./recorder/...

.PHONY: fuzz
fuzz: ## Fuzz the readers of bytes that others write, for FUZZTIME (30s) each.
	sh testdata/fuzz.sh $(or $(FUZZTIME),30s)

.PHONY: lint
lint: ## Check format, vet and staticcheck.
	@unformatted=$$(gofmt -l $$(git ls-files '*.go')); if [ -n "$$unformatted" ]; then echo "gofmt would change: $$unformatted"; exit 1; fi
	$(GO) vet ./... $(TOOLS)
	$(GO) tool staticcheck ./... $(TOOLS)

.PHONY: generate
generate: packages ## Regenerate bindings, objects and tables (clang and libbpf-dev).
	$(GO) generate ./... ./testdata/bench

.PHONY: bench
bench: build ## Print the cost table: what recording costs, beside what others cost (root).
	$(GO) run ./testdata/bench -swolld bin/swolld

.PHONY: packages
packages: ## Install the Debian packages that tests and generators need.
	@sh testdata/packages.sh

.PHONY: install
install: build ## Install the programs below PREFIX.
	install -D -m 0755 bin/swolld $(DESTDIR)$(PREFIX)/sbin/swolld
	install -D -m 0755 bin/swoll-dump $(DESTDIR)$(PREFIX)/bin/swoll-dump
	ln -sf swoll-dump $(DESTDIR)$(PREFIX)/bin/kubectl-swoll

.PHONY: clean
clean: ## Remove what was built.
	rm -rf bin

.PHONY: help
help: ## List the targets.
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "%-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
