# Two commands do everything on a fresh machine with Python 3.11 or 3.12:  make demo   make test
VENV   ?= .venv
BIN    := $(VENV)/bin
PYTHON ?= $(shell for p in python3 python3.11 python3.12; do $$p -c 'import sys; sys.exit(sys.version_info[:2] not in ((3,11),(3,12)))' 2>/dev/null && echo $$p && break; done)
# the environment is made anew when the content of one of these changes; nbdev-export touches some of them
READY  := $(VENV)/.ready-$(shell cat settings.ini setup.py pyproject.toml constraints.txt | cksum | cut -d' ' -f1)
export PYTHONWARNINGS ?= ignore::FutureWarning

.PHONY: help demo test oracles lint export docs readme constraints hooks clean
help: ## This list
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 14

$(READY):
	@test -n "$(PYTHON)" || { echo "dogbreed_sm needs Python 3.11 or 3.12: install one, or name it: make $(MAKECMDGOALS) PYTHON=/path/to/python3.11"; exit 1; }
	@bash .ci/setup "$(PYTHON)" "$(VENV)"
	@rm -f $(VENV)/.ready-*; touch $@

demo: $(READY) ## Draw dogs, train, evaluate, pack, serve and predict (about two minutes on two cores)
	@$(BIN)/dogbreed demo $(ARGS)

test: $(READY) ## Run every notebook as a test, the slow cells too
	@$(BIN)/python .ci/test_notebooks.py --flags slow,real $(ARGS)

oracles: $(READY) ## Foreign clients (SageMaker SDK v2 and v3, AWS CLI) and AWS's own toolkits against the local SageMaker, smdebug against our files; each in an environment of its own
	@$(BIN)/python .ci/oracles/run.py $(ARGS)
	@$(BIN)/python .ci/oracles/toolkit.py $(VENV)/oracles/toolkit
	@$(BIN)/python .ci/oracles/serving.py $(VENV)/oracles/serving
	@$(BIN)/python .ci/oracles/tensors.py $(VENV)/oracles/smdebug
	@$(BIN)/python .ci/oracles/dockerfile.py $(VENV)/oracles/image

lint: $(READY) ## Style of the hand-written files
	@$(BIN)/ruff check setup.py train.py inference.py .ci benchmarks

export: $(READY) ## Modules from the notebooks, outputs kept, metadata cleaned
	@$(BIN)/nbdev-export && $(BIN)/nbdev-clean

readme: $(READY) ## README.md from nbs/index.ipynb (no Quarto needed)
	@$(BIN)/python .ci/readme.py

docs: $(READY) ## The documentation site, where Quarto is installed
	@command -v quarto >/dev/null || { echo "The site needs Quarto, which is not on this machine. Get it from https://quarto.org/docs/get-started/, then: make docs"; exit 1; }
	@$(BIN)/nbdev-docs

constraints: ## The exact versions of constraints.txt anew (needs uv)
	uv pip compile -q --universal --python-version 3.11 --no-header --no-annotate --all-extras --upgrade pyproject.toml -o constraints.txt

hooks: $(READY) ## Git hooks that keep notebook diffs readable
	@$(BIN)/nbdev-install-hooks

clean: ## Remove the environment and what runs left
	rm -rf $(VENV) build dist *.egg-info demo runs
