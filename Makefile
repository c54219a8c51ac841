# Everything that you do with snapferry's sources. `make` alone lists the targets.
# You need Go, a JDK 17 and Maven. Everything else is built into .lab/ the first time.

SHELL := /bin/bash
.DEFAULT_GOAL := help
BIN := .lab/bin

# KEEP=1: the demo leaves its servers running, with the Temporal UI to look at.
KEEP ?=
# Packages with tests that start real servers. LAB_TESTS have other tests, too. Of those packages only
# the tests whose names begin with TestLab run here: the others are unit tests.
LAB_PACKAGES := ./lab/...
LAB_TESTS := ./activities ./worker ./internal/objectstore/s3 ./internal/osstest
# The version that the commands print: the nearest tag and the commit. Set it to name a release.
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null)
LDFLAGS := $(if $(VERSION),-ldflags '-X github.com/snapferry/snapferry/internal/version.release=$(VERSION)')

.PHONY: help
help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  make %-13s %s\n", $$1, $$2}'

.PHONY: demo
demo: ## move live indices between real servers on this computer (KEEP=1 leaves them running)
	go run ./lab/cmd/lab demo $(if $(KEEP),--keep)

.PHONY: lab
lab: ## start the real servers and wait, so that you can try things by hand
	go run ./lab/cmd/lab up

.PHONY: test
test: tools unit-test lab-test ## run all tests: the unit tests, then those on real servers

# What failed is told once more at the very end: often only the last lines of an output are kept. $(call
# failed,files) does so, after a command that has written them.
failed = { echo "What failed, in short. All of it: $(1)"; \
	grep -hE -A 8 -- '--- FAIL|^panic: |(build|setup) failed' $(1) | cut -c 1-160 | tail -c 1500; exit 1; }

.PHONY: unit-test
unit-test: ## run the tests that need neither Java nor tools
	@mkdir -p .lab/log
	set -o pipefail; go test -race ./... 2>&1 | tee .lab/log/$@.log || $(call failed,.lab/log/$@.log)

# Up to three packages at a time, one of them of LAB_TESTS: each waits much, for nodes that start and for
# what it does to them. A failure of one half doesn't keep the other from its end.
.PHONY: lab-test lab-test-packages lab-test-parts
lab-test: tools ## run the tests on real servers only
	+@$(MAKE) --no-print-directory -k -j 2 lab-test-packages lab-test-parts || \
		$(call failed,.lab/log/lab-test-packages.log .lab/log/lab-test-parts.log)

lab-test-packages:
	@mkdir -p .lab/log
	set -o pipefail; go test -tags lab -count=1 -p 2 -timeout 3h $(LAB_PACKAGES) 2>&1 | tee .lab/log/$@.log

lab-test-parts:
	@mkdir -p .lab/log
	set -o pipefail; go test -tags lab -count=1 -p 1 -timeout 3h -run '^TestLab' $(LAB_TESTS) 2>&1 | tee .lab/log/$@.log

.PHONY: test-nodes
test-nodes: tools ## run the tests on clusters of three nodes: nodes die, shards move, disks fill (15 minutes)
	go test -tags lab -count=1 -timeout 2h ./lab/e2e -run '^TestNodes' -nodes

.PHONY: test-pairs
test-pairs: tools ## move the catalogue of odd indices between all pairs of versions, see docs/compatibility.md (13 minutes)
	go test -tags lab -count=1 -timeout 2h -run '^TestOddIndices$$' -v ./lab/e2e -pairs

.PHONY: test-deploy
test-deploy: tools $(BIN)/prometheus.stamp ## try alert rules and dashboard on a real Prometheus (a minute; the first time it builds one, for minutes)
	$(BIN)/promtool check rules deploy/prometheus/snapferry.rules.yml
	cd deploy/prometheus && $(CURDIR)/$(BIN)/promtool test rules snapferry.rules.test.yml
	go test -tags lab -count=1 -timeout 30m ./lab/e2e -run '^TestDashboard$$' -v \
		-prometheus $(abspath $(BIN))/prometheus

$(BIN)/prometheus.stamp: tools/prometheus/go.mod tools/prometheus/go.sum
	@mkdir -p $(BIN)
	@echo "building Prometheus and promtool v3.16.0 (minutes, the first time) ..."
	go build -C tools/prometheus -o $(CURDIR)/$(BIN)/ tool
	@touch $@

.PHONY: cover
cover: ## show how much of each package the unit tests reach, and write .lab/cover.html
	@mkdir -p .lab
	go test -coverprofile=.lab/cover.out ./...
	go tool cover -html=.lab/cover.out -o .lab/cover.html
	@go tool cover -func=.lab/cover.out | tail -1

.PHONY: golden
golden: ## write all golden files, docs/plan.schema.json and docs/compatibility.md again; review the difference
	go test -count=1 $$(git grep -l snapferry/internal/golden -- '*_test.go' | xargs -n1 dirname | sort -u | sed 's|^|./|') -update
	git diff --stat

# Not straight into workflows/testdata/replay: a history that a release has written must stay there for
# ever. Copy a new one beside it, under a name of its own.
HISTORIES ?= .lab/histories

.PHONY: histories
histories: tools ## record workflow histories for the replay tests into .lab/histories (35 minutes)
	@mkdir -p $(HISTORIES)
	go test -tags lab -count=1 -timeout 40m ./lab/e2e -histories $(abspath $(HISTORIES))
	go test -tags lab -count=1 -timeout 25m ./lab/benchwindow -run '^TestLabWindow$$' -histories $(abspath $(HISTORIES))
	go test -tags lab -count=1 -timeout 25m ./activities -run '^TestLab(RecordGuards|EveryEventReachesEachKindOfReceiver)$$' \
		-guard-histories $(abspath $(HISTORIES))

.PHONY: tools
tools: ## build the Temporal server, the S3 server and the Elasticsearch nodes (minutes, the first time)
	go run ./lab/cmd/lab tools

.PHONY: build
build: ## build worker and starter into .lab/bin (VERSION=v1.2.3 names the release)
	go build $(LDFLAGS) -o $(BIN)/worker ./worker
	go build $(LDFLAGS) -o $(BIN)/starter ./starter

.PHONY: fmt
fmt: lint-tools ## format the Go code with gofumpt
	$(BIN)/golangci-lint fmt

.PHONY: lint
lint: lint-tools ## check form, mistakes and layers: golangci-lint, vet, staticcheck, workflowcheck
	@odd=$$(grep -l '^//go:build lab' $(addsuffix /*_test.go,$(LAB_TESTS)) | xargs grep -HE '^func Test' | grep -vE 'func Test(Lab|Main)'); \
		if [ -n "$$odd" ]; then echo "make lab-test never runs these, since their names don't begin with TestLab:"; echo "$$odd"; exit 1; fi
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
	go build -C tools/lint -o $(CURDIR)/$(BIN)/ tool
	@touch $@

# How many migrations a campaign has, and the seed of the first.
RUNS ?= 10
SEED ?= 1

.PHONY: chaos
chaos: tools ## run migrations while everything around them fails (RUNS=n SEED=s, a minute a run): .lab/chaos.json
	go build -o $(BIN)/chaos ./lab/chaos
	$(BIN)/chaos --runs $(RUNS) --seed $(SEED)

# More flags for the benchmark, such as BENCH='--sets E --profile profiles'.
BENCH ?=

.PHONY: bench
bench: bench-tools ## compare the copy with rclone on the same servers: a table, and .lab/bench.json (45 minutes)
	$(BIN)/bench $(BENCH)

.PHONY: bench-quick
bench-quick: bench-tools ## run two cases of the benchmark on a tenth of the data (2 minutes)
	$(BIN)/bench --quick $(BENCH)

# More flags for the benchmark of the frozen window, such as BENCH_WINDOW='--quick --latencies 20'.
BENCH_WINDOW ?=

.PHONY: bench-window
bench-window: tools bench-tools ## compare the frozen window with a shell script's: a table, and .lab/bench-window.json (35 minutes)
	go build -o $(BIN)/benchwindow ./lab/benchwindow
	$(BIN)/benchwindow $(BENCH_WINDOW)

# More flags for this benchmark, such as BENCH_SCALE='--what payloads --indices 2000'.
BENCH_SCALE ?=

.PHONY: bench-scale
bench-scale: tools bench-tools ## measure what grows with indices and documents: tables, and .lab/bench-scale.json (an hour)
	go build -o $(BIN)/benchscale ./lab/benchscale
	$(BIN)/benchscale $(BENCH_SCALE)

.PHONY: bench-tools
bench-tools: $(BIN)/rclone.stamp
	go build -o $(BIN)/bench ./lab/bench

$(BIN)/rclone.stamp: tools/rclone/go.mod tools/rclone/go.sum
	@mkdir -p $(BIN)
	@echo "building rclone v1.76.0 (3 minutes, the first time) ..."
	go build -C tools/rclone -o $(CURDIR)/$(BIN)/rclone github.com/rclone/rclone
	@touch $@

.PHONY: fuzz
fuzz: ## fuzz the decoders of plans and of the snapshot format, one minute each
	go test ./migration -fuzz FuzzDecode -fuzztime 1m
	go test ./internal/repository -fuzz FuzzParseRoot -fuzztime 1m
	go test ./internal/repository -fuzz FuzzParseShardSnapshot -fuzztime 1m
	go test ./internal/repository -fuzz FuzzSmile -fuzztime 1m

.PHONY: clean
clean: ## remove the data of the demo and the lab; built tools stay
	rm -rf .lab/demo .lab/up
