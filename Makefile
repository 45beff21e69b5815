# Needs python >= 3.11, pip and make. `make demo` and `make test` each work alone in a fresh clone.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
DEMO_LAB ?= demo-lab
DEMO_SEED ?= 0

.PHONY: demo test lint bench race torture clean
.DEFAULT_GOAL := demo

# torch goes in first and alone: asked for together with the rest, pip may take a build with gigabytes of CUDA packages.
$(VENV)/.runtime: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "voltloop needs python >= 3.11; set PYTHON=/path/to/python3.11"; exit 2; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt torch
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable .
	@touch $@

$(VENV)/.test: $(VENV)/.runtime
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[test]'
	@touch $@

demo: $(VENV)/.runtime   ## a complete campaign on the simulated lab
	$(BIN)/voltloop demo --lab $(DEMO_LAB) --seed $(DEMO_SEED)

test: $(VENV)/.test   ## everything that CI runs
	$(BIN)/python -m ruff check .
	$(BIN)/python -m ruff format --check .
	$(BIN)/python -m mypy
	$(BIN)/python -m pytest -n 2 --dist loadfile

lint: $(VENV)/.test   ## mend what can be mended, show the rest
	$(BIN)/python -m ruff format .
	$(BIN)/python -m ruff check --fix .
	$(BIN)/python -m mypy
	$(BIN)/lint-imports

bench: $(VENV)/.runtime   ## the benchmarks, each one command of its own
	$(BIN)/python benchmarks/attia_replay.py
	$(BIN)/python benchmarks/demo_vs_sobol.py
	$(BIN)/python benchmarks/simulated_cell.py
	$(BIN)/python benchmarks/checkup_speed.py
	$(BIN)/python benchmarks/virtual_lab.py utilisation
	$(BIN)/python benchmarks/virtual_lab.py scale
	$(BIN)/python benchmarks/sample_efficiency.py --peers voltloop,random,sobol
	$(BIN)/python benchmarks/safety.py --peers voltloop,plain-safe-set,random
	$(BIN)/python benchmarks/multi_objective.py --peers voltloop,sobol
	$(BIN)/python benchmarks/latency.py --repeats 1
	$(BIN)/python benchmarks/recordings.py
	$(BIN)/python benchmarks/early_life.py

# Beside every other optimiser on the same seeds, Ax, BayBE and Optuna among them: hours.
race: $(VENV)/.test
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[test,bench]'
	$(BIN)/python benchmarks/sample_efficiency.py
	$(BIN)/python benchmarks/safety.py
	$(BIN)/python benchmarks/multi_objective.py
	$(BIN)/python benchmarks/latency.py

torture: $(VENV)/.test   ## a thousand seeds of the deterministic simulation, then real processes killed at random moments
	$(BIN)/python -m tests.torture --seeds 1000
	$(BIN)/python benchmarks/killed_processes.py
	$(BIN)/python benchmarks/kill_and_resume.py --kills 10

clean:
	rm -rf $(VENV) $(DEMO_LAB)
