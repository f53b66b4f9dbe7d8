# make setup | test | demo [CLIP=folder, video or "street"] | lint | clean
PYTHON ?= python3
CLIP ?= street

# In a DDS domain of its own, and with nothing left behind however the command ends.
CONTAINED := scripts/with_ros scripts/run_contained.py

.PHONY: setup test demo lint clean

setup:
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null || \
	{ echo "set-up: $(PYTHON) is no Python 3.10 to 3.13; name one, as in: make setup PYTHON=python3.11" >&2; exit 1; }
	@$(PYTHON) scripts/set_up.py

test: setup
	@$(CONTAINED) python -m pytest test

demo: setup
	@$(CONTAINED) python -m lowlat_seg_ros.ros.demo --clip "$(CLIP)" --out demo_out

lint: setup
	@.venv/bin/ruff check .
	@.venv/bin/ruff format --check .
	@.venv/bin/mypy

clean:
	rm -rf .venv build install log demo_out
