# Needs Python 3.11 and make, nothing else. `make run` and `make test` are all a newcomer has to know.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: run test quality bench soak lint lock generated clean

run: $(READY)  ## start the embedded Vigil with a simulated ward
	$(BIN)/vigil run --demo --data build/run

# A file of tests stays with one process, for it shares its broker; most of the time of the long ones is waiting.
test: $(READY)  ## run all tests
	$(BIN)/pytest -n auto --maxprocesses 4 --dist loadfile $(PYTEST_ARGS)

quality: $(READY)  ## figures on real recordings against the committed floors; QUALITY_DATA names another folder
	$(BIN)/python -m benchmarks.quality

bench: $(READY)  ## speed, in one run, as ratios
	$(BIN)/python -m benchmarks.speed

soak: $(READY)  ## the distributed Vigil on a real Kafka, some two hours; SOAK_ARGS=--short: minutes; needs Java 17 and Maven
	$(BIN)/python -m benchmarks.soak $(SOAK_ARGS)

lint: $(READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

generated: $(READY)  ## everything that is generated and committed
	$(BIN)/python -m schemas.generate
	$(BIN)/python -m streams.ops.event_lists
	$(BIN)/vigil config sample > deploy/vigil.sample.toml
	$(BIN)/vigil config schema > deploy/vigil.schema.json
	$(BIN)/vigil config reference > docs/configuration.md

lock: $(READY)  ## resolve dependencies anew
	$(BIN)/pip-compile --quiet --extra dev --generate-hashes --allow-unsafe --strip-extras --no-header --no-emit-index-url --no-emit-trusted-host -o requirements.lock pyproject.toml

$(READY): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info[:2] == (3, 11) else "Vigil needs Python 3.11, this is " + sys.version.split()[0] + ": call make PYTHON=/path/to/python3.11")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	$(BIN)/vigil warm-up
	@touch $@

clean:
	rm -rf build $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis
