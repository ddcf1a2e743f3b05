# Two commands do everything on a machine with Python 3.11: `make up` and `make test`.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV ?= .venv
BIN := $(VENV)/bin
REQUIREMENTS ?= requirements.txt
ARGS ?=

# Where `make test-services` finds its services; set them to your own.
TEST_DATABASE_URL ?= postgres://postgres@127.0.0.1:5432/postgres
TEST_REDIS_URL ?= redis://127.0.0.1:6379/0
TEST_AMQP_URL ?= amqp://guest:guest@127.0.0.1:5672//

.DEFAULT_GOAL := help
.PHONY: help up simulate test test-services lint format bench peers browser constraints clean

help: ## Show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 18

$(BIN)/.installed: $(wildcard requirements*.txt requirements/*.txt) $(wildcard requirements/stand-ins/*/pyproject.toml)
	@test -n "$(PYTHON)" || { echo "Python 3.11 is needed; install it, or name it: make PYTHON=/path/to/python3.11"; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "$(PYTHON) is older than Python 3.11; name another: make PYTHON=/path/to/python3.11"; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	@echo "Installing the dependencies; the first time this takes a few minutes."
	$(BIN)/python -m pip install --quiet --requirement $(REQUIREMENTS)
	@touch $@

up: $(BIN)/.installed ## Install, migrate, and serve the demo project with a worker
	$(BIN)/python manage.py demo $(ARGS)

simulate: $(BIN)/.installed ## The same, with scripted annotators driving one whole turn
	$(BIN)/python manage.py demo --simulate $(ARGS)

test: $(BIN)/.installed browser ## Run all tests on SQLite, without services
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 $(ARGS)

test-services: $(BIN)/.installed browser ## Run the tests on PostgreSQL, Redis and RabbitMQ
	$(BIN)/python -m tests.services "$(TEST_DATABASE_URL)" "$(TEST_REDIS_URL)" "$(TEST_AMQP_URL)"
	OMP_NUM_THREADS=1 DATABASE_URL="$(TEST_DATABASE_URL)" PLUMB_TEST_REDIS_URL="$(TEST_REDIS_URL)" \
	  PLUMB_TEST_AMQP_URL="$(TEST_AMQP_URL)" $(BIN)/python -m pytest -n 2 --ignore=tests/training/engine $(ARGS)

browser: $(BIN)/.installed
	@sh requirements/browser.sh $(BIN)

lint: $(BIN)/.installed ## ruff, mypy, import-linter, migrations
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/mypy
	$(BIN)/python manage.py makemigrations --check --dry-run

format: $(BIN)/.installed ## Let ruff format and sort
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: peers ## Run the benchmarks and print their figures
	for script in benchmarks/*.py; do echo "== $$script"; $(BIN)/python "$$script" || exit 1; done

peers: $(VENV)-peers/.installed ## Install TRL beside the rest, for the benchmarks

# An environment of its own that also sees the packages of the house: nothing is installed twice, nothing here changes.
$(VENV)-peers/.installed: $(BIN)/.installed requirements/peers.txt
	$(BIN)/python -m venv --clear --without-pip $(VENV)-peers
	$(BIN)/python -c 'import sysconfig; print(sysconfig.get_paths()["purelib"])' \
	  > "$$($(VENV)-peers/bin/python -c 'import sysconfig; print(sysconfig.get_paths()["purelib"])')/house.pth"
	$(BIN)/python -m pip --python $(VENV)-peers/bin/python install --quiet --requirement requirements/peers.txt \
	  --constraint requirements/constraints.txt
	@touch $@

constraints: $(BIN)/.installed ## Write down the versions that are installed now
	@{ echo "# Every package of the complete CPU set, so that two installations are alike. Written by: make constraints"; \
	  $(BIN)/python -m pip list --format=freeze | grep -viE '^(pip|setuptools|torch|torchvision|torchaudio|torchcodec)='; } > requirements/constraints.txt

clean: ## Remove the virtual environment and the caches; data/ stays
	rm -rf $(VENV) $(VENV)-peers static_collected .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
