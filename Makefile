# Everything that is done with snapferry's sources. `make` alone lists the targets.
# Needs Go, a JDK 17 and Maven; everything else is built into .lab/ the first time.

SHELL := /bin/bash
.DEFAULT_GOAL := help
BIN := .lab/bin

# KEEP=1 leaves the demo's parts up, with the Temporal UI to look at.
KEEP ?=
# Packages with tests that start real components, one after another. In those that have other tests, too, their names
# begin with TestLab: the others are unit tests, and run as such.
LAB_PACKAGES := ./lab/...
LAB_TESTS := ./activities ./internal/objectstore/s3 ./internal/osstest

.PHONY: help
help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'

.PHONY: demo
demo: ## move live indices from a real source to a real target on this computer (KEEP=1 leaves all of it up)
	go run ./lab/cmd/lab demo $(if $(KEEP),--keep)

.PHONY: lab
lab: ## bring up the real components and wait, to try things by hand
	go run ./lab/cmd/lab up

.PHONY: test
test: tools unit-test lab-test ## all tests: the unit tests, then those on real components

.PHONY: unit-test
unit-test: ## the tests that need neither Java nor tools
	go test -race ./...

.PHONY: lab-test
lab-test: tools ## the tests that start real components
	go test -tags lab -count=1 -p 1 -timeout 3h $(LAB_PACKAGES)
	go test -tags lab -count=1 -p 1 -timeout 3h -run '^TestLab' $(LAB_TESTS)

.PHONY: tools
tools: ## build the Temporal dev server, the S3 server and the Elasticsearch nodes (minutes, the first time)
	go run ./lab/cmd/lab tools

.PHONY: build
build: ## build worker and starter into .lab/bin
	go build -o $(BIN)/worker ./worker
	go build -o $(BIN)/starter ./starter

.PHONY: lint
lint: lint-tools ## gofmt, vet, staticcheck and the layers (golangci-lint), and workflowcheck
	@unformatted=$$(git ls-files '*.go' | xargs gofmt -l); if [ -n "$$unformatted" ]; then echo "gofmt would change:"; echo "$$unformatted"; exit 1; fi
	go vet ./...
	go vet -tags lab ./...
	$(BIN)/staticcheck -tags lab ./...
	$(BIN)/golangci-lint run --build-tags lab ./...
	$(BIN)/workflowcheck ./workflows/...

.PHONY: lint-tools
lint-tools: $(BIN)/lint-tools.stamp

$(BIN)/lint-tools.stamp: tools/lint/go.mod tools/lint/go.sum
	@mkdir -p $(BIN)
	@echo "building golangci-lint, staticcheck and workflowcheck (minutes, the first time) ..."
	go build -C tools/lint -o $(CURDIR)/$(BIN)/ github.com/golangci/golangci-lint/v2/cmd/golangci-lint go.temporal.io/sdk/contrib/tools/workflowcheck honnef.co/go/tools/cmd/staticcheck
	@touch $@

# Sets of the benchmarks to run and what else is to be said, such as BENCH='--sets E --profile /tmp/profiles'.
BENCH ?=

.PHONY: bench
bench: bench-tools ## compare the copy with rclone on the same servers: table, and .lab/bench.json (up to 45 minutes)
	$(BIN)/bench $(BENCH)

.PHONY: bench-quick
bench-quick: bench-tools ## two of its cases on a tenth of the data (two minutes)
	$(BIN)/bench --quick $(BENCH)

# What else is to be said to the benchmark of the frozen window, such as BENCH_WINDOW='--quick --latencies 20'.
BENCH_WINDOW ?=

.PHONY: bench-window
bench-window: tools bench-tools ## compare the frozen window with a shell script's: table, and .lab/bench-window.json (up to 25 minutes)
	go build -o $(BIN)/benchwindow ./lab/benchwindow
	$(BIN)/benchwindow $(BENCH_WINDOW)

.PHONY: bench-tools
bench-tools: $(BIN)/rclone.stamp
	go build -o $(BIN)/bench ./lab/bench

$(BIN)/rclone.stamp: tools/rclone/go.mod tools/rclone/go.sum
	@mkdir -p $(BIN)
	@echo "building rclone v1.76.0 (3 minutes, the first time) ..."
	go build -C tools/rclone -o $(CURDIR)/$(BIN)/rclone github.com/rclone/rclone
	@touch $@

.PHONY: fuzz
fuzz: ## fuzz the decoders of plans and of the snapshot format, a minute each
	go test ./migration -fuzz FuzzDecode -fuzztime 1m
	go test ./internal/repository -fuzz FuzzParseRoot -fuzztime 1m
	go test ./internal/repository -fuzz FuzzParseShardSnapshot -fuzztime 1m
	go test ./internal/repository -fuzz FuzzSmile -fuzztime 1m

.PHONY: clean
clean: ## remove the data of the demo and the lab; tools stay built
	rm -rf .lab/demo .lab/up
