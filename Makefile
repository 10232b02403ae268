# Needs Python 3.11 or newer and make, nothing else. `make run` and `make test` are all a newcomer has to know.
# The newest interpreter that is there, works and is supported (`requires-python`); make PYTHON=/path/to/python names another.
PYTHON ?= $(firstword $(foreach minor,14 13 12 11,$(shell python3.$(minor) -c 'import ensurepip; print("python3.$(minor)")' 2>/dev/null)) python3)
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
DEV_READY := $(VENV)/.ready-dev

.PHONY: run check test quality faults week bench soak lint lock generated clean

run: $(READY)  ## start the embedded Vigil with a simulated ward
	$(BIN)/vigil run --demo --data build/run

# mypy goes beside the tests: what it knows is kept in .mypy_cache, and then it takes seconds.
check: $(DEV_READY)  ## for daily work: linters, types, unit, property and conformance tests
	$(BIN)/ruff format --check --quiet .
	$(BIN)/ruff check --quiet .
	$(BIN)/mypy & types=$$!; \
	$(BIN)/pytest -n auto --maxprocesses 4 --dist worksteal tests/unit tests/property tests/conformance $(PYTEST_ARGS); tests=$$?; \
	wait $$types && exit $$tests

# A file of tests stays with one process, for it shares its broker; most of the time of the long ones is waiting.
test: $(DEV_READY)  ## run all tests
	$(BIN)/pytest -n auto --maxprocesses 4 --dist loadfile $(PYTEST_ARGS)

quality: $(READY)  ## figures on real recordings against the committed floors; QUALITY_DATA names another folder
	$(BIN)/python -m benchmarks.quality

faults: $(READY)  ## every danger at hand through every device fault, in minutes; QUALITY_DATA as for quality
	$(BIN)/python -m benchmarks.faults $(FAULTS_ARGS)

week: $(READY)  ## a simulated ordinary week: technical alerts a resident-day, coverage by hazard; some ten minutes
	$(BIN)/python -m benchmarks.week $(WEEK_ARGS)

bench: $(READY)  ## speed, in one run, as ratios
	$(BIN)/python -m benchmarks.speed

soak: $(DEV_READY)  ## the distributed Vigil on a real Kafka, some two hours; SOAK_ARGS=--short: minutes; needs Java 17 and Maven
	$(BIN)/python -m benchmarks.soak $(SOAK_ARGS)

lint: $(DEV_READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

generated: $(READY)  ## everything that is generated and committed
	$(BIN)/python -m schemas.generate
	$(BIN)/python -m streams.ops.event_lists
	$(BIN)/vigil config sample > deploy/vigil.sample.toml
	$(BIN)/vigil config schema > deploy/vigil.schema.json
	$(BIN)/vigil config reference > docs/configuration.md
	$(BIN)/python -m benchmarks.faults.table

# One resolution for everything; what `make run` needs, and what is added for developing. Good for every interpreter and both systems.
COMPILE = $(BIN)/uv pip compile --quiet --universal --fork-strategy fewest --generate-hashes --no-header --no-emit-package pip
lock: $(DEV_READY)  ## resolve dependencies anew; LOCK_ARGS=--upgrade takes the newest
	@mkdir -p build
	cat requirements.lock requirements-dev.lock > build/all.lock
	$(COMPILE) $(LOCK_ARGS) --extra setup --extra dev -o build/all.lock pyproject.toml
	cp build/all.lock requirements.lock
	$(COMPILE) --extra setup -o requirements.lock pyproject.toml
	cp build/all.lock requirements-dev.lock
	$(COMPILE) --extra setup --extra dev $$(sed -n 's/^\([a-z0-9.-]*\)==.*/--no-emit-package \1/p' requirements.lock) -o requirements-dev.lock pyproject.toml
	sed -i.old '/^$$/d; /^# /d' requirements-dev.lock && rm requirements-dev.lock.old

$(READY): requirements.lock pyproject.toml
	@$(PYTHON) deploy/set_up.py --venv $(VENV) $(if $(wildcard $(DEV_READY)),--dev)

$(DEV_READY): requirements.lock requirements-dev.lock pyproject.toml
	@$(PYTHON) deploy/set_up.py --venv $(VENV) --dev

clean:
	rm -rf build $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis
