# Two commands are enough: `make demo` and `make test`. Both install what is missing on a bare Debian.
SHELL := /bin/bash
CARGO ?= cargo
.PHONY: help setup highs build demo test stress quick lint bench bench-actors bench-workflow bench-recovery bench-quantum simulate drill clean

help:
	@echo 'make demo      watch a whole optimisation run, from design space to deployed release'
	@echo 'make test      all tests (needs a Rust toolchain and nothing else)'
	@echo 'make stress    all tests beside busy loops, ROUNDS=3: which hold only on a quiet machine'
	@echo 'make quick     tests of the pure crates only, no HiGHS'
	@echo 'make lint      formatting and clippy'
	@echo 'make bench     start, recovery, journal and QAOA, all rounds printed'
	@echo 'make bench-actors    our actors beside kameo and ractor'
	@echo 'make bench-workflow  durable workflows per second, one client and 64'
	@echo 'make bench-enumeration  the feasible set beside CP-SAT, HiGHS, Gurobi and SCIP'
	@echo 'make bench-recovery  kill to next stage with 10,000 runs; disk use over 100,000'
	@echo 'make bench-quantum   QAOA evaluations beside QOKit, Qiskit Aer and qulacs'
	@echo 'make simulate  SEEDS=1000000 seeded runs of the run machine'
	@echo 'make drill     faults on purpose in the real programs, counted in a table; ONLY=F2,F12 for some'

setup:
	@./scripts/setup

highs: setup
	@./scripts/highs

build: highs
	$(CARGO) build --release --bins

demo: highs
	@./scripts/demo

test: highs
	@./scripts/test

stress: highs
	@./scripts/stress

quick:
	$(CARGO) test -p engine -p journal -p supervisors -p quantum

lint: highs
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets -- -D warnings

bench: highs
	$(CARGO) bench --bench daemon
	$(CARGO) bench -p journal --bench throughput
	$(CARGO) bench -p quantum --bench evaluation

# kameo and ractor are the peers' own crates; they stand in a workspace of their own.
ROUNDS ?= 5
bench-actors:
	cd benches/actors && CARGO_TARGET_DIR=$(CURDIR)/target/bench-actors $(CARGO) build --release
	cd benches/actors && $(CURDIR)/target/bench-actors/release/bench-actors $(ROUNDS)

bench-workflow: highs
	$(CARGO) bench --bench workflow

bench-recovery: highs
	$(CARGO) bench --bench recovery

SEEDS ?= 1000000
simulate:
	SEEDS=$(SEEDS) $(CARGO) test --release -p engine --test simulation -- --nocapture
	SEEDS=$(SEEDS) $(CARGO) run --release -p simulation

KILLS ?= 200
ROUNDS ?= 200
drill: highs
	DRILL=full KILLS=$(KILLS) ROUNDS=$(ROUNDS) $(CARGO) test --features failpoints --test drill
	$(CARGO) test -p journal --test it damage

clean:
	$(CARGO) clean

# Each package by itself: one that is not to be had is told and left out.
.PHONY: bench-enumeration
bench-enumeration: highs
	$(CARGO) build --release --bin executing-worker
	test -x target/bench-enumeration/venv/bin/python || python3 -m venv target/bench-enumeration/venv
	while read -r package; do target/bench-enumeration/venv/bin/pip install -q --disable-pip-version-check "$$package" \
	  || echo "$$package is not to be had here"; done < benches/enumeration/requirements.txt
	target/bench-enumeration/venv/bin/python benches/enumeration/bench.py

# The peers come from PyPI into a folder under target/, in the versions of requirements.txt.
BENCH_QUANTUM := target/bench-quantum
QUANTUM_ROUNDS ?= 5
bench-quantum:
	$(CARGO) build --release -p quantum --example evaluate
	test -x $(BENCH_QUANTUM)/venv/bin/python || python3 -m venv $(BENCH_QUANTUM)/venv
	@# One by one: a peer that cannot be installed must not keep the others out.
	while read -r peer; do \
	  $(BENCH_QUANTUM)/venv/bin/pip install --quiet "$$peer" || echo "$$peer: could not be installed"; \
	done < benches/quantum/requirements.txt
	$(BENCH_QUANTUM)/venv/bin/python benches/quantum/run.py target/release/examples/evaluate $(BENCH_QUANTUM) $(QUANTUM_ROUNDS)
