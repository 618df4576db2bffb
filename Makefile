# Variational autoencoders: a book that runs. Needs Python 3.11 or newer, and make.
PYTHON ?= python3
WORKERS ?= 2
BIN := .venv/bin
CHAPTERS := $(BIN)/python book/_ext/chapters.py
BUILD := $(BIN)/jupyter-book build . --all -W -n --keep-going
NBVAL := --nbval-lax --nbval-current-env --nbval-cell-timeout 300 --dist loadfile

# Notebooks run in folders of their own, so the data's folder must not be relative.
ifdef VAELIB_DATA
export VAELIB_DATA := $(abspath $(VAELIB_DATA))
endif

.PHONY: help book serve test site-test notebooks notebooks-all seals format lint mutants bench clean
.DEFAULT_GOAL := help

help:  ## Show this list
	@sed -n 's/^\([a-z-]*\):.*  ## /\1  /p' $(MAKEFILE_LIST) | while read name text; do printf '%-14s %s\n' "$$name" "$$text"; done

.venv/.installed: requirements.txt pyproject.toml
	$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("Python 3.11 or newer is needed, this is " + sys.version)'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
	touch $@

_build/katex/katex/katex.min.css: | .venv/.installed
	$(BIN)/python book/_ext/katex_files.py

book: .venv/.installed _build/katex/katex/katex.min.css  ## Build the site from the committed notebooks
	rm -rf _build/html
	$(CHAPTERS) seed
	$(BUILD)
	@echo 'The book is _build/html/index.html; `make serve` shows it at http://localhost:8000'

serve:  ## Serve the built site at http://localhost:8000
	$(BIN)/python -m http.server --bind localhost --directory _build/html 8000

# The workers share the cores, where threads that wait for each other only spin.
test: export OMP_NUM_THREADS := 1
test: .venv/.installed  ## Run every check: unit tests, style, types, and every notebook
	$(BIN)/pytest tests -n $(WORKERS)
	$(MAKE) --no-print-directory lint
	$(BIN)/mypy
	VAELIB_DATASET=$$($(BIN)/python -m vaelib.data --or-digits) && export VAELIB_DATASET && \
	$(BIN)/pytest $(NBVAL) -n $(WORKERS) book/notebooks

# Lighthouse measures times, and so comes alone.
site-test: export OMP_NUM_THREADS := 1
site-test: book  ## Build the site, and try it in a browser: Chromium, if the machine has it
	$(BIN)/pytest -m site tests/site -n $(WORKERS) --dist loadgroup --ignore tests/site/test_lighthouse.py
	$(BIN)/pytest -m site tests/site/test_lighthouse.py

notebooks: .venv/.installed _build/katex/katex/katex.min.css  ## Execute the chapters that changed, and export their notebooks
	rm -rf _build/html
	$(CHAPTERS) seed-current
	$(BUILD)
	$(CHAPTERS) copy
	$(CHAPTERS) check

notebooks-all: .venv/.installed _build/katex/katex/katex.min.css  ## Execute every chapter, and export its notebook
	rm -rf _build/html _build/.jupyter_cache
	$(BUILD)
	$(CHAPTERS) copy
	$(CHAPTERS) check

seals: .venv/.installed  ## Seal the book's text and records as they stand, when they have been read
	PYTHONPATH=tests:book/_ext $(BIN)/python -m prose.seals

format: .venv/.installed  ## Format the code, the chapters' included
	$(BIN)/ruff check --fix --exit-zero --quiet
	$(BIN)/ruff format
	$(CHAPTERS) format

lint: .venv/.installed  ## Check style, also in the notebooks, and that the notebooks are up to date
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/ruff check book/notebooks/*.ipynb
	$(BIN)/ruff format --check book/notebooks/*.ipynb
	$(CHAPTERS) check

mutants: .venv/.installed  ## Change the library's arithmetic a thousand times, and see that the tests notice
	$(BIN)/python -m pip install --quiet --disable-pip-version-check mutmut==3.8.1
	OMP_NUM_THREADS=1 $(BIN)/mutmut run --max-children $(WORKERS)
	$(BIN)/mutmut results

# PEER is the path of vae/main.py of PyTorch's examples, where that is at hand; it needs torchvision, and MNIST in ../data.
bench: .venv/.installed  ## Time everything that fits a laptop, half an hour; PEER=path/to/vae/main.py runs PyTorch's example
	$(BIN)/python benchmarks/time_to_bound.py $(if $(PEER),--peer $(PEER))
	for name in remedies loop ensembles full_covariance growth marginal_likelihood; do $(BIN)/python benchmarks/$$name.py || exit 1; done

clean:  ## Remove what was built; the environment stays
	rm -rf _build
