# make demo   the main job, end to end, on a synthetic examination; needs no screen
# make test   every check that continuous integration runs
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
OUT ?= demo-session

# Linux draws on a virtual screen in software; elsewhere the machine's own screen is used.
ifeq ($(shell uname -s),Linux)
ON_SCREEN := QT_QPA_PLATFORM=xcb LIBGL_ALWAYS_SOFTWARE=1 xvfb-run --auto-servernum --server-args="-screen 0 1600x1200x24"
endif

.PHONY: setup demo test lint screenshots screen clean

setup: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	@sh tools/system_libraries.sh python
	test -x $(BIN)/python || "$$(sh tools/find_python.sh)" -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --no-deps -c constraints.txt torch
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[all,test]'
# Triton interprets its kernels where there is no GPU, apart from all else: beside Mesa's OpenGL it ends a process with a window.
	if [ "$$(uname -sm)" = "Linux x86_64" ]; then $(BIN)/python -m pip install --quiet --no-deps -c constraints.txt --upgrade --target $(VENV)/interpreted triton; fi
	@touch $@

demo: setup
	$(BIN)/napari-breastseg demo --out $(OUT)

screen:
	@sh tools/system_libraries.sh screen

lint: setup
	$(BIN)/ruff check .
	$(BIN)/lint-imports --config setup.cfg
	$(BIN)/mypy
	if [ -e src/napari_breastseg/napari.yaml ]; then $(BIN)/npe2 validate src/napari_breastseg/napari.yaml; fi

# Two processes, each with whole files of tests; more would need more memory than laptops have.
test: setup screen lint
	$(ON_SCREEN) $(BIN)/python -m pytest --numprocesses auto --maxprocesses 2 --dist loadfile $(PYTEST_ARGS)

screenshots: setup screen
	$(ON_SCREEN) $(BIN)/python docs/make_screenshots.py

clean:
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .import_linter_cache $(OUT)
