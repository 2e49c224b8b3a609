# Everything a contributor runs. `make setup` needs only Python >= 3.11, git and make.
PYTHON ?= $(shell for p in python3.13 python3.12 python3.11 python3 python; do \
  command -v $$p >/dev/null 2>&1 && $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo $$p; break; }; done)
BIN := .venv/bin

.PHONY: setup demo test histories mutants peers-loss backpressure faults soak check docs bench bench-peers bench-growth \
  bench-plots bench-many lock clean

setup: .venv/.stamp

.venv/.stamp: requirements.lock pyproject.toml
	@test -n "$(PYTHON)" || { echo "Headrace needs Python >= 3.11 on the PATH"; exit 1; }
	@echo "Making .venv with $(PYTHON), and what requirements.lock names: about half a minute"
	@$(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-build-isolation --no-deps -e .
	@touch $@

demo: setup
	$(BIN)/headrace demo

# The tests that must reach every line of domain and steps; CI measures these alone, for measuring costs half as
# much again (COVERED is then `env COVERAGE_PROCESS_START=pyproject.toml`).
COVERING := tests/unit tests/properties tests/conformance $(wildcard tests/integration/test_steps*.py) \
  $(wildcard tests/integration/test_verify*.py) $(addprefix tests/integration/test_,drift.py restored_source.py \
  refused_elsewhere.py moves_interrupted.py web_records.py scheduler.py prove_isolation.py cli_rejected.py \
  cli_backfill.py listening.py webhooks.py record_exchange.py events_of_moves.py)

# The rest waits more than it computes: three at a time, the long ones first.
test: setup
	$(COVERED) $(BIN)/python -m pytest -n 2 --dist loadfile $(COVERING)
	$(BIN)/python -m pytest -n 3 --dist loadfile --no-loadscope-reorder tests/soak tests $(COVERING:%=--ignore=%)

# Two thousand; `make test` runs fewer. Says how many of them crashed between journal and merge.
histories: setup
	HEADRACE_HISTORIES=2000 $(BIN)/python -m pytest tests/properties/test_histories.py -n 2 -rP --show-capture=stdout

# Breaks one rule of the code at a time; a test must notice each. NAME= runs those with this word in their name.
mutants: setup
	$(BIN)/python -m tests.mutants $(NAME)

# Rows that the cursors of others lose under late commits, prepared transactions and ties, and that Headrace does.
peers-loss: setup
	$(BIN)/python -m tests.faults.peers_loss $(if $(SECONDS),--seconds $(SECONDS)) $(if $(SEED),--seed $(SEED))

# A store that is away for two minutes under a writer: SECONDS=n.
backpressure: setup
	HEADRACE_STOPPED_S=$(or $(SECONDS),120) $(BIN)/python -m pytest tests/acceptance/test_backpressure.py -rP

# Ten minutes of faults of every kind under writers, and then the oracle: SEED=n, SECONDS=600.
faults: setup
	$(BIN)/python -m tests.faults $(if $(SECONDS),--seconds $(SECONDS)) $(if $(SEED),--seed $(SEED))

# Half an hour of everything, each process and server restarted in turn; then the oracle, leaks and memory: SECONDS=1800.
soak: setup
	$(BIN)/python -m tests.soak $(if $(SECONDS),--seconds $(SECONDS)) $(if $(SEED),--seed $(SEED))

check: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/deptry .
	$(BIN)/codespell

# The site of docs/, in build/docs; a warning fails it, and a reference that is not what the models say.
docs: setup
	$(BIN)/python docs/make_reference.py --check
	$(BIN)/python -m sphinx --quiet --fail-on-warning --keep-going --builder html docs build/docs

# The targets of Headrace, each beside its reference: some 25 minutes on a quiet machine. Goes on where it was
# interrupted. BENCH="--work W1 W2 --rounds 3" for less, BENCH=--help for all; results lie in bench-results/.
bench: setup
	$(BIN)/python -m benchmarks $(BENCH)

# The peers beside Headrace, each installed into an environment of its own as benchmarks/peers/*.txt pin it.
bench-peers: setup
	PYTHON=$(BIN)/python benchmarks/peers/install.sh
	$(BIN)/python -m benchmarks --suite peers --rounds 3 $(BENCH)

# How time and memory grow with rows, feeds, properties and load; what the plots are drawn from.
bench-growth: setup
	$(BIN)/python -m benchmarks --suite growth --rounds 3 $(BENCH)

# What was measured becomes what docs/performance.md shows: its tables and pictures, and benchmarks/results/.
bench-plots: setup
	$(BIN)/python -m benchmarks.published

# A hundred thousand customers of a thousand data sources.
bench-many: setup
	$(BIN)/python -m benchmarks.many

lock:
	$(BIN)/pip-compile --quiet --generate-hashes --no-emit-index-url --no-emit-find-links --no-emit-trusted-host \
	  --no-emit-options --strip-extras --allow-unsafe --all-extras --no-header --output-file requirements.lock pyproject.toml

clean:
	rm -rf .venv dist build .mypy_cache .ruff_cache .hypothesis demo-headrace
