# The tasks of windlass. `make help` lists them; CI runs `make test` and nothing else.
# Needs Rust, a C compiler (for the bundled SQLite) and, for the tests, redis-server, PostgreSQL and PgBouncer; with Go also those against Asynq.
# `make soak` needs Go; `make bench-peers` Go, Node with npm, and both servers. Results go to $CARGO_TARGET_DIR or target/.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

CARGO ?= cargo
SEEDS ?= 20000
HISTORIES ?= 2000
STEPS ?= 200000
ROUNDS ?= 5
# A store of somebody else: a workspace of its own, built into the same place so that most of it is there already.
OUTSIDE := examples/outside-store
# An application with a lock of its own: sqlx's default features bring more into one than windlass needs.
AXUM := examples/axum-postgres
MINUTES ?= 10

export RUSTDOCFLAGS := -D warnings

.PHONY: help
help: ## List the tasks
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

.PHONY: test
test: setup fmt-check clippy doc check outside axum package ## Everything that must hold; what CI runs

.PHONY: setup
setup: ## Install what is missing, or say what is
	@bench/setup.sh

.PHONY: fmt
fmt: ## Format the code
	$(CARGO) fmt --all
	$(CARGO) fmt --manifest-path $(OUTSIDE)/Cargo.toml
	$(CARGO) fmt --manifest-path $(AXUM)/Cargo.toml

.PHONY: fmt-check
fmt-check:
	$(CARGO) fmt --all -- --check
	$(CARGO) fmt --manifest-path $(OUTSIDE)/Cargo.toml -- --check
	$(CARGO) fmt --manifest-path $(AXUM)/Cargo.toml -- --check

# The library alone in its smallest shapes, then everything with everything.
.PHONY: clippy
clippy: ## Lint, without warnings, in each combination of features
	$(CARGO) clippy --locked -p windlass --no-default-features -- -D warnings
	$(CARGO) clippy --locked -p windlass --all-targets -- -D warnings
	$(CARGO) clippy --locked -p windlass --all-targets --features sqlite -- -D warnings
	$(CARGO) clippy --locked --workspace --all-targets --all-features -- -D warnings

.PHONY: doc
doc: ## Build the reference, without warnings
	$(CARGO) doc --locked --workspace --all-features --no-deps

.PHONY: check
check: ## Run all tests: unit, conformance, simulation, binary, examples, documents
	$(CARGO) test --locked --workspace --all-features

.PHONY: api
api: ## Write the public surface down anew (crates/windlass/tests/api/api.txt)
	WINDLASS_UPDATE_API=1 $(CARGO) test --locked -p windlass --all-features --test api the_public_surface

.PHONY: outside
outside: ## Hold a store from outside the workspace to the conformance suite
	$(CARGO) test --locked --manifest-path $(OUTSIDE)/Cargo.toml --target-dir $${CARGO_TARGET_DIR:-target}

.PHONY: axum
axum: ## Run the example on axum and sqlx against a Postgres
	$(CARGO) test --locked --manifest-path $(AXUM)/Cargo.toml --target-dir $${CARGO_TARGET_DIR:-target}

.PHONY: package
package: ## Check that the crates can be packaged
	$(CARGO) package --locked --no-verify --allow-dirty -p windlass-macros -p windlass

.PHONY: demo
demo: ## See it run
	$(CARGO) run --locked --release -- demo

.PHONY: soak
soak: ## Long simulation and comparison of the stores, fights with Go, a million rows, kill -9 of real workers (SEEDS, HISTORIES, STEPS, MINUTES)
	WINDLASS_SIM_SEEDS=$(SEEDS) $(CARGO) test --locked --release -p windlass --features testing --test simulation
	PROPTEST_CASES=$(HISTORIES) $(CARGO) test --locked --release -p windlass --features testing,sqlite,redis,postgres --test differential
	WINDLASS_OUTAGE_SECONDS=60 $(CARGO) test --locked --release -p windlass --features testing,redis --test redis_faults
	WINDLASS_OUTAGE_SECONDS=60 WINDLASS_RESTARTS=50 $(CARGO) test --locked --release -p windlass --features conformance,postgres --test postgres_faults
	WINDLASS_SLOW_MICROS=5000 $(CARGO) test --locked --release -p windlass --features testing,redis --test redis_faults -- --test-threads=1 expiry
	WINDLASS_KILLS=200 $(CARGO) test --locked --release -p windlass --all-features --test transactions killed
	WINDLASS_FENCE_STEPS=$(STEPS) $(CARGO) test --locked --release -p windlass --features testing,redis --test interop fence
	WINDLASS_CRON_FULL=1 PROPTEST_CASES=100000 $(CARGO) test --locked --release -p windlass --lib schedule
	WINDLASS_POWER_CUTS=all $(CARGO) test --locked --release -p windlass --features testing,sqlite --test power
	MINUTES=$(MINUTES) MS=100 bench/chaos.sh
	MINUTES=$(MINUTES) MS=100 STORE=redis bench/chaos.sh
	MINUTES=$(MINUTES) MS=100 STORE=postgres bench/chaos.sh
	bench/disturbed.sh
	STORE=redis bench/disturbed.sh
	STORE=postgres bench/disturbed.sh
	bench/fleet.sh
	bench/shared.sh
	bench/million.sh
	STORE=postgres bench/million.sh

.PHONY: bench
bench: ## Measure ours, in alternating rounds; WRITE=1 keeps it in bench/RESULTS.md (ROUNDS)
	ROUNDS=$(ROUNDS) bench/ours.sh

.PHONY: bench-pool
bench-pool: ## Measure WorkerPool beside tokio::spawn, in one process
	$(CARGO) run --locked --release -p windlass-bench-pool

.PHONY: bench-peers
bench-peers: ## Measure ours beside Asynq, BullMQ, River, Graphile Worker and apalis, where they can be built; WRITE=1 keeps it (ROUNDS)
	ROUNDS=$(ROUNDS) bench/peers.sh

.PHONY: bench-flat
bench-flat: ## Measure that a job costs the same behind a backlog of a million, and on Postgres beside five million that have ended (ROUNDS)
	ROUNDS=$(ROUNDS) STORE=redis bench/flat.sh
	ROUNDS=$(ROUNDS) STORE=sqlite bench/flat.sh
	ROUNDS=$(ROUNDS) STORE=postgres bench/flat.sh
	ROUNDS=$(ROUNDS) bench/history.sh

.PHONY: clean
clean: ## Remove what was built
	$(CARGO) clean
