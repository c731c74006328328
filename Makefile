# What the README names: make, make test. BUILD.md says more.

GO ?= go
# The lock is put on all threads at once, which Go can do only without cgo.
export CGO_ENABLED = 0

.PHONY: build
build: bin/sentry

.PHONY: bin/sentry
bin/sentry:
	$(GO) build -trimpath -o $@ ./cmd/sentry

# Everything that CI checks. Packages run one after another: each may use both processors of a small machine. Slow tests
# run on the first platform alone; test-all runs them on each.
TEST_TIMEOUT = 19m
.PHONY: test
test: setup svm-files build
	$(GO) build ./...
	$(GO) vet ./...
	$(GO) build -o bin/count ./test/count
	@bin/count $(GO) test -json -p 1 -timeout $(TEST_TIMEOUT) ./...

# The same under the race detector, which needs cgo; programs in sandboxes are for race-guests.
.PHONY: race
race: setup
	$(GO) build -o bin/count ./test/count
	@CGO_ENABLED=1 bin/count $(GO) test -json -race -p 1 -timeout 30m $$($(GO) list ./... | grep -v -e /sandbox$$ -e /test/)

# Programs in sandboxes whose sentry is under the race detector; the first report ends its sandbox and with it the test. Such a sentry
# confines nothing, so no other target makes it.
RACE_GUESTS = TestGuest/.*/.*/dynamic|TestFork$$|TestWild|TestGoProgram|TestFatalSignals|TestForkBombs|TestKilled|TestStorm
RACE_PLATFORMS = systrap,ptrace
.PHONY: race-guests
race-guests: setup
	CGO_ENABLED=1 $(GO) build -race -trimpath -o bin/sentry-race ./cmd/sentry
	$(GO) build -o bin/count ./test/count
	@SENTRY=$(CURDIR)/bin/sentry-race SENTRY_PLATFORMS=$(RACE_PLATFORMS) GORACE="halt_on_error=1 atexit_sleep_ms=0" SENTRY_STORM=20s \
		bin/count $(GO) test -json -count=1 -timeout 30m -run '$(RACE_GUESTS)' ./test

# Random forks, execs, signals, traces and waits for a while, under the race detector. -stress.seed repeats what was printed.
STRESS_TIME = 10m
.PHONY: stress
stress:
	CGO_ENABLED=1 $(GO) test -race -v -timeout 30m -run 'TestStress$$' ./sentry/kernel -stress.time=$(STRESS_TIME)

.PHONY: test-all
test-all: export SENTRY_TEST_ALL = 1
test-all: TEST_TIMEOUT = 60m
test-all: test race race-guests stress

# The KVM platform on an emulated processor with SVM and nested paging, in a virtual machine that boots Debian's kernel: "test" runs
# a smoke part of it, a minute, and "test-svm" all. Once a download of some 60 MB; without it the test is skipped.
SVM_CACHE ?= $(HOME)/.cache/gosentry-svm
export SENTRY_SVM = $(SVM_CACHE)
.PHONY: svm-files
svm-files:
	@timeout 300 sh test/svm/fetch.sh $(SVM_CACHE) || echo "svm-files: no QEMU or no kernel could be had; the test with SVM is skipped"

.PHONY: test-svm
test-svm: svm-files
	@SENTRY_TEST_ALL=1 $(GO) test -count=1 -timeout 60m -v ./test/svm

# The figures of that emulated machine: only their ratios mean something.
.PHONY: bench-svm
bench-svm: svm-files
	@SENTRY_SVM_FIGURES=1 $(GO) test -count=1 -timeout 60m -v -run TestFigures ./test/svm

.PHONY: bench
bench: setup build
	$(GO) run ./test/bench

# Whether a platform is slower than another one: PAIRS rounds of a row on either in turn, the ratio, and between what it lies.
PAIRS ?= 24
PLATFORMS ?= systrap,ptrace
.PHONY: bench-pairs
bench-pairs: setup build
	$(GO) run ./test/bench -pairs $(PAIRS) -platforms $(PLATFORMS) -only "$(ROWS)"

# Programs that tests run; without root it only says what is missing.
.PHONY: setup
setup:
	@sh test/setup.sh

.PHONY: clean
clean:
	rm -rf bin
