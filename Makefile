# The verbs of this project, the same for people and CI. A fresh clone needs Python 3.11, Rust (cargo), make and a C
# compiler; everything else is installed into .venv, at the versions and hashes of requirements/*.txt.

PYTHON ?= $(shell command -v python3.11 || command -v python3)
DATA ?= .data
LISTEN ?= 127.0.0.1:8080
PORT ?= 9091
SEEDS ?= 200
FIRST ?= 1
NODES ?= mixed
STEPS ?= 1500
TESTS ?= tests
PYTEST_ARGS ?=
WORKERS ?= 1
BENCH_ARGS ?=
MINUTES ?= 10
SECONDS ?= 60

BIN := .venv/bin
MANIFEST := crate/Cargo.toml
CRATE := $(MANIFEST) crate/Cargo.lock $(shell find crate/src -name '*.rs' 2>/dev/null)
CHECKED := $(wildcard src tests benchmarks examples tools)

# A stamp alone proves nothing when what it stands for was deleted.
ifeq ($(wildcard $(BIN)/python),)
FORCE_VENV := force
endif
ifeq ($(wildcard src/dkv/_native*.so),)
FORCE_NATIVE := force
endif

.PHONY: help run cluster build test test-crate check-windows lint fmt types sim soak fuzz bench proto docs lock compat dist audit clean force
.DELETE_ON_ERROR:

help:
	@echo 'make run     build, and serve on $(LISTEN) with the data in $(DATA)/'
	@echo 'make cluster three nodes on loopback, to look at and to break; Ctrl-C stops them  PORT=$(PORT)'
	@echo 'make build   install the tools and build the native module (about two minutes the first time)'
	@echo 'make test    build, and run all tests       TESTS=tests/unit  PYTEST_ARGS="-k expiry"  WORKERS=2'
	@echo 'make test-crate  the tests inside of the native module'
	@echo 'make check-windows  compile the native module for Windows'
	@echo 'make lint    everything CI checks without running the server'
	@echo 'make fmt     format Python and Rust'
	@echo 'make types   mypy, the stub of the native module against the built one, and that users see types everywhere'
	@echo 'make sim     simulated clusters             SEEDS=$(SEEDS) FIRST=$(FIRST) NODES=$(NODES)'
	@echo 'make soak    the long forms of the tests that attack a server  MINUTES=$(MINUTES)'
	@echo 'make fuzz    search for bytes that break a decoder             SECONDS=$(SECONDS)'
	@echo 'make compat  independent clients and recorded wire bytes'
	@echo 'make bench   compare with etcd and redis    BENCH_ARGS=--quick'
	@echo 'make bench-NAME   one of benchmarks/NAME.py: growth, expiry, ...'
	@echo 'make docs    run what the docs show'
	@echo 'make proto   write src/dkv/wire/ from proto/'
	@echo 'make lock    resolve requirements/*.in into *.txt; the only verb that chooses versions'
	@echo 'make dist    wheel and tarball below dist/  GOOS=linux GOARCH=amd64'
	@echo 'make audit   licences and advisories of what the locks name'
	@echo 'make clean   remove what was built'

run: build
	@echo 'Starting on $(LISTEN), data in $(DATA)/. Stop with Ctrl-C. Once it says that it serves, in another terminal:'
	@echo '    ./bin/dkvctl -a $(LISTEN) --set hello world'
	@echo '    ./bin/dkvctl -a $(LISTEN) --get hello'
	@exec ./bin/dkvsrv --db-folder $(DATA) --listen-addr $(LISTEN)

cluster: build
	@$(BIN)/python tools/cluster.py --data $(DATA) --port $(PORT)

build: .build/native

.build/venv: requirements/run.txt requirements/dev.txt $(FORCE_VENV)
	@test -n '$(PYTHON)' || { echo 'Python 3.11 or newer is needed, and no python3 was found.' >&2; exit 1; }
	@'$(PYTHON)' -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	    { echo 'Python 3.11 or newer is needed; $(PYTHON) is older. Try: make PYTHON=/path/to/python3.11' >&2; exit 1; }
	@command -v cargo >/dev/null || { echo 'Rust is needed, and no cargo was found.' >&2; exit 1; }
	@echo 'Building: the tools into .venv, then the native module. The first time takes about two minutes.'
	@rm -rf .venv .build
	@'$(PYTHON)' -m venv .venv
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-input --require-hashes \
	    -r requirements/run.txt -r requirements/dev.txt
	@mkdir -p .build && touch $@

# pip refuses hashes for a folder, so the package itself is put in place by maturin: compiled into src/dkv, and src/ on
# the path of the venv.
.build/native: .build/venv pyproject.toml $(CRATE) $(FORCE_NATIVE)
	@echo 'Building the native module from crate/ (about two minutes from nothing, seconds after a change).'
	@VIRTUAL_ENV='$(CURDIR)/.venv' $(BIN)/maturin develop --release --locked >.build/native.log 2>&1 || \
	    { cat .build/native.log >&2; exit 1; }
	@touch $@

# With WORKERS=2, as in CI, in so many processes, a file in one of them.
SPREAD := $(if $(filter-out 1,$(WORKERS)),-n $(WORKERS) --dist loadfile --no-loadscope-reorder)

test: $(if $(SPREAD),.build/spread,build)
	@$(BIN)/python -m pytest $(TESTS) $(SPREAD) $(PYTEST_ARGS)

.build/spread: requirements/spread.txt | build
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-input --require-hashes -r $<
	@touch $@

# Not part of `make test`, as it links Python's library, which not every Python comes with.
test-crate: build
	@PYO3_PYTHON='$(CURDIR)/$(BIN)/python' cargo test --quiet --locked --manifest-path $(MANIFEST)

# The crate for Windows, as far as a compiler sees it; no linker is needed. Not in CI: the target comes over the network.
check-windows:
	@rustup target add x86_64-pc-windows-gnu
	@cargo clippy --quiet --locked --manifest-path $(MANIFEST) --target x86_64-pc-windows-gnu --all-targets -- -D warnings

lint: build types
	@$(BIN)/ruff check $(CHECKED)
	@$(BIN)/ruff format --check --quiet $(CHECKED) || { echo 'Not formatted: run make fmt.' >&2; exit 1; }
	@$(BIN)/lint-imports --no-logo
	@if [ -f tools/make_wire.py ]; then $(BIN)/python tools/make_wire.py --check; fi
	@$(BIN)/python tools/check_tree.py
	@cargo fmt --manifest-path $(MANIFEST) --check
	@cargo clippy --quiet --locked --manifest-path $(MANIFEST) --all-targets -- -D warnings

types: build
	@$(BIN)/mypy
	@MYPYPATH=src:benchmarks $(BIN)/mypy $(wildcard benchmarks/*.py)
	@$(BIN)/python -m mypy.stubtest dkv._native --concise --mypy-config-file pyproject.toml --allowlist tools/stubtest.allow
	@PATH='$(CURDIR)/$(BIN)':"$$PATH" pyright --verifytypes dkv --ignoreexternal >.build/verifytypes.log || \
	    { cat .build/verifytypes.log >&2; exit 1; }

fmt: .build/venv
	@$(BIN)/ruff check --fix --quiet $(CHECKED)
	@$(BIN)/ruff format --quiet $(CHECKED)
	@cargo fmt --manifest-path $(MANIFEST)

sim: build
	@$(BIN)/python -m dkv.testing.sim --seeds $(SEEDS) --first $(FIRST) --steps $(STEPS) --nodes $(NODES)

# MINUTES of random faults on a cluster of processes. Then a third of that time each for mutated frames, for connections
# that come and go, and for simulations; and kills, a hundred in ten minutes, with backups and restores under way, which
# take as long as they take.
soak: build
	@echo 'Soak: random faults on a cluster, $(MINUTES) min; hostile clients, kills and restores, longer; simulations, a third.'
	@FAULT_SECONDS=$$(( $(MINUTES) * 60 )) $(BIN)/python -m pytest tests/integration/cluster/test_random_faults.py -rs \
	    --durations=1 $(PYTEST_ARGS)
	@SOAK_MINUTES=$$(( ($(MINUTES) + 2) / 3 )) $(BIN)/python -m pytest tests/integration/hostile \
	    tests/integration/test_kill_minus_nine.py tests/integration/test_backup_and_restore.py -rs --durations=8 --timeout=$$(( $(MINUTES) * 60 + 300 )) $(PYTEST_ARGS)
	@$(BIN)/python -m dkv.testing.sim --seeds 1000000 --seconds $$(( $(MINUTES) * 20 ))

fuzz: .build/fuzz
	@$(BIN)/python -m dkv.testing.fuzz --seconds $(SECONDS) $(FUZZ_ARGS)

.build/fuzz: requirements/fuzz.txt | build
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-input --require-hashes -r $<
	@touch $@

# What the pages show is run: the tutorial, the way of an upgrade, the table of metrics, dashboard and alerts.
docs: build
	@$(BIN)/python -m pytest tests/integration/test_tutorial.py tests/integration/test_dist.py \
	    tests/integration/test_dashboards.py $(PYTEST_ARGS)

# Tools in Go that call the server in make compat. make test uses them when they are there, and installs nothing.
GO_BIN := .build/go-bin
GRPCURL := v1.9.4
GHZ := v0.93.0
HEALTH_PROBE := v0.4.61
GO_TOOLS := github.com/fullstorydev/grpcurl/cmd/grpcurl@$(GRPCURL) github.com/bojand/ghz/cmd/ghz@$(GHZ) \
    github.com/grpc-ecosystem/grpc-health-probe@$(HEALTH_PROBE)
GO_STAMP := $(GO_BIN)/.installed-$(GRPCURL)-$(GHZ)-$(HEALTH_PROBE)

$(GO_STAMP): | build
	@if command -v go >/dev/null; then \
	    echo 'Installing the Go tools into $(GO_BIN) (a few minutes the first time).'; \
	    for tool in $(GO_TOOLS); do GOBIN='$(CURDIR)/$(GO_BIN)' go install $$tool || exit 1; done; \
	    touch $@; \
	else echo 'No go was found: the tests of Go clients are skipped.'; fi

compat: build $(GO_STAMP)
	@$(BIN)/python -m pytest tests/compatibility tests/integration/test_wire_grpcio.py -rs $(PYTEST_ARGS)

bench: build
	@$(BIN)/python benchmarks/run.py $(BENCH_ARGS)

# One file of benchmarks/ each: growth, expiry, ...
bench-%: build
	@$(BIN)/python benchmarks/$*.py $(BENCH_ARGS)

proto: .build/venv
	@$(BIN)/python tools/make_wire.py

# Nothing about where packages come from may enter the locks: no index, no folder, no header with a command line.
LOCK := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
    --no-emit-index-url --no-emit-find-links --no-header

lock:
	@test -x $(BIN)/uv || $(MAKE) .build/venv
	@$(LOCK) $(LOCK_ARGS) requirements/run.in -o requirements/run.txt
	@$(LOCK) $(LOCK_ARGS) requirements/dev.in -o requirements/dev.txt
	@$(LOCK) $(LOCK_ARGS) requirements/fuzz.in -o requirements/fuzz.txt
	@$(LOCK) $(LOCK_ARGS) requirements/spread.in -o requirements/spread.txt
	@if grep -nE '://|--index|--find-links|@ file' requirements/*.txt; then \
	    echo 'The locks name a place: they must not.' >&2; exit 1; fi

# GOOS and GOARCH as in the original's Makefile. Native code: only the platform that this is can be built.
dist: build
	@$(BIN)/python tools/make_dist.py

# Not in CI: advisories come over the network, and a new one is nobody's commit.
audit: build
	@$(BIN)/python tools/audit.py

clean:
	@rm -rf .venv .build dist crate/target .mypy_cache .ruff_cache .pytest_cache .import_linter_cache src/dkv/_native*.so
