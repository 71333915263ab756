# The front door. Every target first makes or repairs the environment in .venv; none calls apt, none needs an
# environment variable. Paths are relative and tools run as `python -m tool`: the folder's path may hold spaces.

PROFILE = quick
EXP = all
DEVICE = auto
REUSE = store
PYTHON =

# A mistyped setting must not be ignored in silence.
settings := PROFILE EXP DEVICE REUSE PYTHON
given := $(foreach word,$(MAKEOVERRIDES),$(if $(findstring =,$(word)),$(firstword $(subst =, ,$(word)))))
unknown := $(filter-out $(settings),$(given))
$(if $(unknown),$(error there is no setting $(unknown): choose among $(settings)))

# Neither a kernelspec "python3" in the user's home nor foreign modules may win over what is in .venv.
export JUPYTER_PREFER_ENV_PATH = 1
export JUPYTER_PLATFORM_DIRS = 1
unexport PYTHONPATH PYTHONHOME

py := .venv/bin/python
stamp := .venv/installed-from
wanted := { pwd; cat pyproject.toml constraints.txt; }
candidates = $(if $(PYTHON),"$(PYTHON)",python3 python3.11 python3.12 python3.13 python3.14)
import_check := import jupyter_book, nbval, numpy, papermill, torch, torchvision

# $(call timed,name,command): runs a part, prints its time, stops at the first that fails.
timed = @echo "== $(1)"; start=$$(date +%s); { $(2); } || { \
	code=$$?; echo "== $(1): FAILED after $$(($$(date +%s) - start)) s" >&2; exit $$code; }; \
	echo "== $(1): $$(($$(date +%s) - start)) s"

# Tests side by side, one process for each core up to eight (each holds torch in memory), one thread each.
side_by_side := -n logical --maxprocesses 8 --dist worksteal

.PHONY: help env reproduce check test lint book data bench clean
.NOTPARALLEL:

help: ## this list
	@sed -n 's/^\([a-z]*\):[a-z ]*## \(.*\)/  make \1	\2/p' Makefile
	@echo "  Settings of reproduce: PROFILE=$(PROFILE) EXP=$(EXP) DEVICE=$(DEVICE) REUSE=$(REUSE); of env: PYTHON=python3.12"

# The stamp holds what .venv was made from: the contents, since a checkout touches time stamps, and the folder, since
# a copied .venv still points at the old one. While pip works there is none: an environment without its stamp was
# left half-made and starts afresh. Where pip itself gave up, an older environment is as it was.
env: ## make or repair .venv
	@if $(wanted) | cmp -s - $(stamp) && $(py) -c ''; then exit 0; fi; \
	found=; \
	if [ -f $(stamp) ] && $(py) -m pip --version >/dev/null 2>&1; then \
		echo "make: bringing .venv up to date"; rm $(stamp); \
	else \
		why="There is no $(or $(PYTHON),python3) here."; \
		for python in $(candidates); do \
			version=$$("$$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null) || continue; \
			if ! "$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then \
				why="Python $$version ($$python) is too old."; \
			elif ! "$$python" -c 'import ensurepip, venv' 2>/dev/null; then \
				why="Python $$version ($$python) lacks its venv module (on Debian and Ubuntu: python3-venv)."; \
			else found=$$python; break; fi; \
		done; \
		if [ -z "$$found" ]; then \
			echo "make: $$why Install Python 3.11 or newer with venv, or name one: make env PYTHON=/path/to/python3.11" >&2; \
			exit 1; \
		fi; \
		echo "make: making .venv with Python $$version; the first time takes a few minutes"; \
		"$$found" -m venv --clear .venv || exit 1; \
	fi; \
	if ! $(py) -m pip install --disable-pip-version-check --editable '.[dev]' --constraint constraints.txt; then \
		if [ -z "$$found" ]; then echo outdated > $(stamp); fi; \
		echo "make: pip could not install the packages; mend what it says above and run make again" >&2; exit 1; \
	fi; \
	if ! $(py) -c '$(import_check)'; then \
		echo "make: the packages are installed but cannot be imported, for the reason above; run make again" >&2; exit 1; \
	fi; \
	$(wanted) > $(stamp)

reproduce: env ## all notebooks and the site; EXP=01 for one experiment, PROFILE=desk for the real size, REUSE=none to recompute
	@$(py) book/make_site.py reproduce --profile "$(PROFILE)" --experiment "$(EXP)" --device "$(DEVICE)" --reuse "$(REUSE)"

check: env ## lint, types and quick tests (all but those marked slow), under 2 minutes on two cores
	$(call timed,lint and types,$(MAKE) --no-print-directory lint)
	$(call timed,quick tests,OMP_NUM_THREADS=1 $(py) -m pytest tests -m "not slow and not site" $(side_by_side))

test: env ## lint, types, unit tests, planted faults, notebooks, site, browser check
	$(call timed,lint and types,$(MAKE) --no-print-directory lint)
	$(call timed,unit tests,OMP_NUM_THREADS=1 $(py) -m pytest tests -m "not site" $(side_by_side))
	$(call timed,planted faults,$(py) tests/mutate.py)
	$(call timed,notebooks,OMP_NUM_THREADS=1 $(py) -m pytest --nbval-lax --nbval-current-env notebooks $(side_by_side) --dist loadfile)
	$(call timed,site,$(MAKE) --no-print-directory book)
	$(call timed,browser check,$(py) -m pytest tests -m site)

lint: env ## ruff and mypy
	@$(py) -m ruff check .
	@$(py) -m ruff format --check .
	@$(py) -m mypy adatune_lite

book: env ## the site from the committed records, in build/site
	@$(py) book/make_site.py build

data: env ## fetch the data sets that are not there; show what is found where
	@$(py) -m adatune_lite data fetch
	@$(py) -m adatune_lite data

bench: env ## costs in plain training steps
	@$(py) -m benchmarks

clean: ## remove the site and caches; data, records and .venv stay
	rm -rf build book/_build .mypy_cache .pytest_cache .ruff_cache
