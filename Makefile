# make setup | test | test-all | fuzz | demo [CLIP=folder, video or "street"] | replay | bench | bench-soak | lint | clean
PYTHON ?= python3
CLIP ?= street

# In a DDS domain of its own, and with nothing left behind however the command ends.
CONTAINED := scripts/with_ros scripts/run_contained.py

.PHONY: setup test test-all fuzz demo replay bench bench-soak lint clean

setup:
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null || \
	{ echo "set-up: $(PYTHON) is no Python 3.10 to 3.13; name one, as in: make setup PYTHON=python3.11" >&2; exit 1; }
	@$(PYTHON) scripts/set_up.py

test: setup
	@exec $(CONTAINED) python -m pytest -m "not slow" test

# Adds the slow tests, and the numeric ones as other CPUs run them: on torch's paths for lesser ones, and on each copy of
# our own kernels.
test-all: test
	@$(CONTAINED) python -m pytest -m slow test
	@for path in default avx2; do echo "torch's path for CPUs of kind $$path:"; \
	  ATEN_CPU_CAPABILITY=$$path $(CONTAINED) python -m pytest -m numeric test || exit 1; done
	@for copy in "any CPU" AVX2 AVX-512; do echo "our kernels' copy for $$copy:"; \
	  KERNEL_COPY="$$copy" $(CONTAINED) python -m pytest -m numeric test || exit 1; done
	@rm -rf fuzz_out/minute && $(CONTAINED) python test/fuzz.py --seconds 60 --out fuzz_out/minute

# Ten minutes of damaged files of every kind, on from where the last ten ended: docs/reliability.md.
fuzz: setup
	@exec nice $(CONTAINED) python test/fuzz.py --seconds 600 --out fuzz_out

demo: setup
	@exec $(CONTAINED) python -m lowlat_seg_ros.demo --clip "$(CLIP)" --out demo_out

# CamVid's labelled clip where it is at hand (its labels make the scores), the synthetic street otherwise.
CAMVID := $(wildcard ../shared/camvid/val)
REPLAY_FRAMES := $(if $(CAMVID),$(CAMVID) --labels $(CAMVID)annot,street)

replay: setup
	@rm -rf replay_out/bag && mkdir -p replay_out
	@exec $(CONTAINED) python -m lowlat_seg_ros.cli bag make $(REPLAY_FRAMES) replay_out/bag
	@exec $(CONTAINED) python -m lowlat_seg_ros.cli replay replay_out/bag --out replay_out/offline
	@exec $(CONTAINED) python -m lowlat_seg_ros.cli replay replay_out/bag --out replay_out/live --live --measure
	@[ -z "$$DISPLAY$$WAYLAND_DISPLAY" ] || $(PYTHON) -m webbrowser "file://$(CURDIR)/replay_out/live/index.html"

# Six minutes; close everything else. bench/results/<machine>.json and .md are replaced when all of it is measured.
bench: setup
	@exec $(CONTAINED) python -m bench

# Adds the memory over 5000 frames to these results.
bench-soak: setup
	@exec $(CONTAINED) python -m bench --soak 5000

lint: setup
	@.venv/bin/ruff check .
	@.venv/bin/ruff format --check .
	@.venv/bin/mypy

clean:
	rm -rf .venv build install log demo_out replay_out fuzz_out lowlat_seg_ros/kernels/_kernels*.so
