# make serve   sets up, trains the example models that are missing, serves on port 3000
# make test    sets up and runs all tests
# make image   builds a Bento and the image of it: IMAGE=name:tag BACKEND=docker|podman|buildah
#              FRAMEWORKS=sklearn for a slim one, BASE_IMAGE=, WHEELS=folder (deploy/image/README.md)
# make test-image  really builds images, runs them and disturbs them (needs podman, runc, skopeo)
# make bench   measures Switchyard against its limit and its peers (needs wrk)
# make simulate  plays experiments without a difference: how often one is found, and the power
# make lint    style and types

PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
PORT ?= 3000
IMAGE ?= switchyard:latest

.PHONY: setup serve train test bench simulate lint build image test-image clean

setup: $(VENV)/.ready

$(VENV)/.ready: pyproject.toml constraints.txt
	@command -v $(PYTHON) >/dev/null || { \
	  echo "$(PYTHON) is not installed; install Python 3.11, or name yours: make PYTHON=/path/to/python3.11"; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { \
	  echo "The virtual environment cannot be made; on Debian: apt-get install python3.11-venv"; exit 1; }
	$(BIN)/pip install --quiet --upgrade "pip>=25"
	$(BIN)/pip install --quiet --constraint constraints.txt --editable ".[dev]"
	@touch $@

train: setup
	$(BIN)/switchyard train --missing

serve: train
	$(BIN)/bentoml serve --port $(PORT)

test: setup
	$(BIN)/pytest -n 2 --dist loadfile --no-loadscope-reorder

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

build: train
	$(BIN)/bentoml build

image: train
	$(BIN)/python -m deploy.image build --image "$(IMAGE)" --frameworks "$(FRAMEWORKS)" \
	  --backend "$(BACKEND)" $(if $(WHEELS),--wheels "$(WHEELS)") $(if $(BASE_IMAGE),--base-image "$(BASE_IMAGE)")

test-image: setup
	$(BIN)/pytest -m slow -s tests/deploy/image

bench: train
	@command -v wrk >/dev/null || { echo "make bench needs wrk: apt-get install wrk"; exit 1; }
	$(BIN)/python -m benchmarks

simulate: setup
	$(BIN)/python -m benchmarks.simulate

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis
