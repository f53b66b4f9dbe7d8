# make setup | test | demo [CLIP=folder, video or "street"] | lint | clean
PYTHON ?= python3
CLIP ?= street

# In a DDS domain of its own, and with nothing left behind however the command ends.
CONTAINED := scripts/with_ros scripts/run_contained.py

.PHONY: setup test demo lint clean

setup:
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
