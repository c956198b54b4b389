# make setup   install everything that running and testing need into this folder (see tools/setup.sh); FOR=car: only what car and edge need
# make demo    run the whole system on this machine for a minute: camera, head, link, edge, results, live view
# make test    ruff, mypy and all tests
# make test-fast   the tests that need neither DDS nor root nor training; ARGS for pytest, here as well
# make test-ray    install Ray as well, and run the tests of the edge server before a Ray cluster
# make lint    ruff and mypy alone
# make bench   the benchmarks of the parts; each ends with one JSON line
# make bench-full   the longer benchmarks: the experiment behind docs/results.md, the testbed, endurance, kills, chaos
# make pins    pin all dependencies (requirements/constraints*.txt); ARGS=--upgrade for the newest versions
# make clean   remove everything that the other targets created
SHELL := /bin/bash
ENV := source tools/env.sh &&
# Images of containers set it often. Every process would compile what it imports anew, and pytest every test.
unexport PYTHONDONTWRITEBYTECODE

# Minutes each, and for the testbed root.
LONG_BENCHES := same_answers experiment testbed decisive link_changes endurance kill_series chaos fuzz printed_commands attacks two_cars
BENCHES := $(filter-out $(LONG_BENCHES),$(basename $(notdir $(wildcard bench/*.py))))

# Tests are run by two processes at once, file by file: most of the time they wait. Those that judge
# times come after them, one at a time. Where ARGS chooses none of a part, pytest's status is 5.
PYTEST := python -m pytest -n 2 --dist loadfile --no-loadscope-reorder
FAST := not ros and not netns and not root and not training and not ray

.PHONY: setup demo test test-fast test-ray lint bench bench-full pins clean help
help:
	@sed -n 's/^# \(make .*\)/\1/p' Makefile

setup:
	@tools/setup.sh

demo: setup
	@$(ENV) dapdee demo $(ARGS)

lint: setup
	@$(ENV) ruff check . && ruff format --check . && mypy

test: lint
	@$(ENV) status=0; \
	$(PYTEST) -m "not alone" $(ARGS) || status=$$?; \
	python -m pytest -m alone $(ARGS) || { alone=$$?; [ $$alone = 5 ] || status=$$alone; }; \
	[ $$status = 5 ] || exit $$status

test-fast: setup
	@$(ENV) $(PYTEST) -m "$(FAST)" $(ARGS)

test-ray: setup
	@$(ENV) python -m pip install -qq --disable-pip-version-check -r requirements/ray.txt \
		-c requirements/constraints$$(grep -q ^ros .venv/dapdee-mode && echo -ros).txt && \
	python -m pytest -m ray $(ARGS)

bench: setup
	@$(ENV) for bench in $(BENCHES); do echo "== $$bench"; python bench/$$bench.py || exit 1; done

bench-full: setup
	@$(ENV) for bench in $(LONG_BENCHES); do echo "== $$bench"; python bench/$$bench.py || exit 1; done

pins:
	@tools/pin.sh $(ARGS)

clean:
	rm -rf .venv .cache build install log runs dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
