# Each target sets itself up on a machine that has Python 3.11, make and pip, and nothing else.
PYTHON ?= python3
BIN := .venv/bin
# the constraints hold for what builds the package too: older pips read the first variable for that, newer ones the second
PIP := PIP_CONSTRAINT=constraints.txt PIP_BUILD_CONSTRAINT=constraints.txt \
	$(BIN)/python -m pip install --quiet --disable-pip-version-check

.PHONY: demo test lint bench docs audit clean

demo: .venv/core  ## the main job: trained in still air, deployed in wind
	$(BIN)/python examples/still_air_to_wind.py runs/still-air-to-wind

test: lint  ## everything that CI checks
	$(BIN)/python -m pytest -n 2 --dist loadfile

lint: .venv/dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

docs: .venv/docs  ## the documentation, in site/; the tests build it too
	$(BIN)/mkdocs build --strict

bench: .venv/bench  ## side-by-side ratios; the figures are committed in benchmarks/
	$(BIN)/python benchmarks/backup.py
	$(BIN)/python benchmarks/planners.py
	$(BIN)/python benchmarks/peers.py
	$(BIN)/python benchmarks/stage_games.py
	$(BIN)/python benchmarks/games.py
	$(BIN)/python benchmarks/offline_studies.py
	$(BIN)/python benchmarks/offline.py
	$(BIN)/python benchmarks/put.py
	$(BIN)/python benchmarks/control.py
	$(BIN)/python benchmarks/rfqi.py
	$(BIN)/python benchmarks/vpo_bandit.py
	$(BIN)/python benchmarks/vpo_overhead.py
	$(BIN)/python benchmarks/million.py
	$(BIN)/python benchmarks/sharded.py

audit:  ## known vulnerabilities of the pinned packages, from PyPI's database; fails where that can't be asked
	test -x .venv/audit/bin/python || $(PYTHON) -m venv .venv/audit
	.venv/audit/bin/python -m pip install --quiet --disable-pip-version-check pip-audit==2.10.1
	.venv/audit/bin/pip-audit --strict --no-deps --disable-pip -r constraints.txt

.venv/core: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(PIP) -c constraints.txt -e '.[report]'
	touch $@

# the CPU build of torch first, so that nothing else pulls the CUDA one; torchvision off the path, for tests/extras/vision.py
.venv/dev: .venv/core
	$(PIP) -c constraints.txt torch==2.13.0
	$(PIP) -c constraints.txt -e '.[dev,torch,alignment,rllib,diffusion,llm,mim,matte,concepts]'
	$(PIP) -c constraints.txt --upgrade --no-deps --target .venv/vision torchvision deepinv timm
	touch $@

.venv/docs: .venv/core
	$(PIP) -c constraints.txt -e '.[docs]'
	touch $@

.venv/bench: .venv/dev
	$(PIP) -c constraints.txt -e '.[bench]'
	touch $@

clean:
	rm -rf .venv dist build site .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
