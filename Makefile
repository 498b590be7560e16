# Works with GNU make 3.81 and newer. `make help` lists the targets.
PYTHON ?= python3
PRUNELIB_VENV ?= .venv
CORES ?=
ARGS ?=
FORCE ?=
INSTALL ?=

BIN := $(PRUNELIB_VENV)/bin
# A Python that the user named is used or refused, never replaced by another one.
SEARCH := $(if $(filter file,$(origin PYTHON)),--search)
# A profile named in ARGS brings its own limit.
CORES_OPTION = $(if $(CORES),--cores $(CORES),$(if $(findstring profile,$(ARGS)),,--cores all))

# Neither the modules of another Python nor another build of torch may get in between.
unexport PYTHONPATH PYTHONHOME UV_EXTRA_INDEX_URL UV_FIND_LINKS UV_INDEX UV_TORCH_BACKEND
# Every job is a process of its own: without bytecode on disk each one would compile torch again, for seconds.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: all setup test test-cluster fuzz lint format lock clean help
.DEFAULT_GOAL := all

all: setup  ## set up, then regenerate every result and the report with profiles/default (the default goal)
	@"$(BIN)/snakemake" $(CORES_OPTION) $(ARGS)
	@[ ! -f results/report/index.html ] || echo "Open the report: $(CURDIR)/results/report/index.html"

test: setup  ## set up, then run the tests; ARGS="-m 'not slow'" for the fast ones
	@"$(BIN)/pytest" $(ARGS)

test-cluster: setup  ## test the pipeline on a SLURM that the tests bring up; INSTALL=1 installs its Debian packages
	@PRUNELIB_INSTALL_SLURM=$(INSTALL) "$(BIN)/pytest" -s -m cluster tests/cluster $(ARGS)

fuzz: setup  ## feed every reader with 100 000 hostile inputs (an hour); ARGS="zip --inputs 1000" for one, for fewer
	@"$(BIN)/python" -m tests.fuzz $(ARGS)

setup:  ## create or complete the environment (.venv, or PRUNELIB_VENV)
	@command -v "$(PYTHON)" >/dev/null || \
	  { echo "prunelib setup: needs Python 3.11 or newer, and there is no $(PYTHON) here: make PYTHON=/path/to/python3.13" >&2; exit 1; }
	@status=0; "$(PYTHON)" envs/bootstrap.py $(SEARCH) "$(PRUNELIB_VENV)" || status=$$?; case $$status in 0) ;; 3) exit 1 ;; \
	  *) echo "prunelib setup: PYTHON=$(PYTHON) is no working Python (exit status $$status): make PYTHON=/path/to/python3.13" >&2; exit 1 ;; esac

lint: setup  ## check style and format of Python and of the workflow
	"$(BIN)/ruff" check .
	"$(BIN)/ruff" format --check .
	"$(BIN)/snakefmt" --check Snakefile rules
	"$(BIN)/snakemake" --lint

format: setup  ## bring Python and the workflow into the format that `make lint` checks
	"$(BIN)/ruff" check --fix .
	"$(BIN)/ruff" format .
	"$(BIN)/snakefmt" Snakefile rules

lock: setup  ## pin pyproject.toml anew in envs/requirements.txt; ARGS=--upgrade for newer versions
	"$(BIN)/uv" pip compile --quiet --universal --python-version 3.11 --all-extras --generate-hashes \
	  --custom-compile-command "make lock" --output-file envs/requirements.txt $(ARGS) pyproject.toml

clean:  ## delete results (not results/reference) and caches, after a question; FORCE=1 asks nothing
	@if [ "$(FORCE)" != 1 ]; then \
	  [ -t 0 ] || { echo "make clean: nothing deleted, there is no terminal to ask on; make clean FORCE=1 does not ask" >&2; exit 1; }; \
	  printf 'Delete all results and checkpoints (results/ but for reference/ and README.md), .snakemake/ and caches? [y/N] '; \
	  read -r answer; case "$$answer" in [yY]*) ;; *) echo "Nothing deleted."; exit 1 ;; esac; fi; \
	if [ -d results ]; then find results/ -mindepth 1 -maxdepth 1 ! -name reference ! -name README.md -exec rm -rf {} +; fi; \
	rm -rf .snakemake .pytest_cache .ruff_cache .hypothesis; \
	find . -path "./.venv" -prune -o -name __pycache__ -type d -prune -exec rm -rf {} +

help:  ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-13s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))
	@echo
	@echo "  PYTHON=...         interpreter to set up with (3.11 or newer)"
	@echo "  PRUNELIB_VENV=...  where the environment lies (default .venv)"
	@echo "  CORES=...          cores for make (default: all, or what a profile named in ARGS says)"
	@echo "  ARGS=...           more arguments for snakemake, pytest, the fuzzer: make ARGS='-n', make ARGS='oes report'"
