# Targets for a machine with Python 3.11 or newer, pip and make. Versions and hashes are locked in requirements/.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# People see how far it is; a log of CI is for what went wrong.
PIP_INSTALL := -m pip install $(if $(CI),--quiet) --disable-pip-version-check --no-build-isolation --no-deps
# A lock names all that is needed, so nothing else is looked for, and what a package is built with is in build.txt.
LOCKED := $(PIP_INSTALL) --require-hashes --requirement
# The project itself has no hash: it is the folder here.
PROJECT := $(PIP_INSTALL) --editable .
TESTS_AT_ONCE ?= 4
# They wait for pages most of the time.
BROWSERS_AT_ONCE ?= 4
# A file is passed by one process, so what its tests share is made once. In order: the long ones come first.
FILE_BY_FILE := --dist loadfile --no-loadscope-reorder
# Tests of tests/unit are short and wait for nothing: each of two processes collects and passes half of the files.
UNIT_PARTS := unit-1 unit-2
QUICK_PARTS := quick-1 quick-2
TOGETHER := --no-print-directory --jobs=2 --output-sync=target
# Property tests take four tenths of their examples with a change, which are the same in every run, and all before a release.
EXAMPLES ?= change
# A part may have none of the tests that ARGS chooses, which is exit code 5.
OR_NOTHING := || [ $$? = 5 ]
# Whether ARGS names files of tests.
NAMED := $(findstring tests/,$(ARGS))
# With it, every process of a test compiles treadle, and every process of pytest the tests.
unexport PYTHONDONTWRITEBYTECODE
FUZZ_RUNS ?= 5000
FUZZES := $(addprefix fuzz-,push batch transit schema wire gzip zstd)
PIP_DOWNLOAD := -m pip download $(if $(CI),--quiet) --disable-pip-version-check --only-binary :all: --no-deps
CHDB_WHEELS := $(VENV)/chdb-wheels
CHECKED := browser lint fuzz
LOCKS := $(wildcard requirements/*.txt)

.PHONY: bigquery-needs clickhouse-needs clickhouse-wheels sqlglot-needs snowflake-needs run wheel test $(UNIT_PARTS) $(QUICK_PARTS) check-needs browser-test pictures store-test log-test release-test wheel-test dbt-test clients-test quick lint types docs client-needs client-types fuzz $(FUZZES) lock sbom clean bench bench-full

run: $(VENV)/run.stamp ## Install into $(VENV) and start the server on the embedded defaults
	$(BIN)/treadle serve $(ARGS)

wheel: $(VENV)/build.stamp ## Write dist/: a wheel with the console in it, and the locked versions to install it with
	rm -rf build dist/treadle-*
	$(BIN)/python -m pip wheel --quiet --disable-pip-version-check --no-build-isolation --no-deps --wheel-dir dist .
	$(BIN)/python requirements/write_wheel_locks.py dist
	rm -rf build
	ls dist

test: $(VENV)/test.stamp ## Install what the tests need and pass the suite
	$(if $(NAMED),,$(MAKE) $(TOGETHER) $(UNIT_PARTS))
	$(BIN)/python -m pytest --numprocesses $(TESTS_AT_ONCE) $(FILE_BY_FILE) -m 'not release' $(if $(NAMED),,--ignore tests/unit --ignore tests/browser) $(ARGS)

$(UNIT_PARTS): unit-%: $(VENV)/test.stamp
	$(BIN)/python -m pytest --part $*/2 --hypothesis-profile $(EXAMPLES) tests/unit -m 'not release' $(ARGS) $(OR_NOTHING)

browser-test: $(VENV)/browser.stamp ## The pages of the console in a real browser; needs Chromium
	BROWSER_TESTS=required $(BIN)/python -m pytest --numprocesses $(BROWSERS_AT_ONCE) --dist loadfile -m 'not release' tests/browser $(ARGS)

pictures: $(VENV)/browser.stamp ## Make the pictures of the documents anew from a running server; needs Chromium
	$(BIN)/python -m tests.browser.pictures $(ARGS)

store-test: $(VENV)/test.stamp ## The acceptance tests once more, with every store on PostgreSQL; before a release
	STORE_TESTS=postgres SERVERS=started $(BIN)/python -m pytest --numprocesses $(TESTS_AT_ONCE) $(FILE_BY_FILE) -m 'not release' tests/acceptance $(ARGS)

log-test: $(VENV)/test.stamp ## The acceptance tests and the cases of the Import API once more, with every store and log on PostgreSQL; before a release
	LOG_TESTS=postgres $(BIN)/python -m pytest --numprocesses $(TESTS_AT_ONCE) $(FILE_BY_FILE) -m 'not release' tests/acceptance tests/conformance/import $(ARGS)

release-test: $(VENV)/test.stamp sqlglot-needs $(VENV)/browser.stamp $(VENV)/fuzz.stamp bigquery-needs snowflake-needs ## What a release passes beyond test: more seeds, kinds and values (CONTRIBUTING.md)
	SERVERS=started $(BIN)/python -m pytest --numprocesses $(TESTS_AT_ONCE) $(FILE_BY_FILE) -m release $(ARGS)
	$(MAKE) $(TOGETHER) $(UNIT_PARTS) EXAMPLES=rules
	$(MAKE) $(TOGETHER) fuzz FUZZ_RUNS=100000

dbt-test: $(VENV)/test.stamp ## Install dbt into an environment of its own and build examples/dbt on both databases; part of release-test
	$(BIN)/python -m pytest -m release tests/acceptance/test_dbt_project.py $(ARGS)

wheel-test: $(VENV)/test.stamp ## Install the wheel into an empty environment and walk the guide with it; part of release-test
	$(BIN)/python -m pytest -m release -rP tests/acceptance/test_installed_wheel.py $(ARGS)

clients-test: $(VENV)/test.stamp clickhouse-needs ## Real clients and taps of the package index, as the pages say, and killed amid their records
	$(BIN)/python -m tests.clients.by_the_page
	$(BIN)/python -m tests.clients.killed_runs

quick: $(VENV)/test.stamp ## The pure tests only, property tests with a tenth of their examples
	$(MAKE) $(TOGETHER) $(QUICK_PARTS)

$(QUICK_PARTS): quick-%: $(VENV)/test.stamp
	$(BIN)/python -m pytest --part $*/2 --hypothesis-profile quick tests/unit -m 'not slow' $(ARGS) $(OR_NOTHING)

lint: $(VENV)/lint.stamp ## Style of source and tests
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/lint.stamp $(VENV)/browser.stamp ## mypy, strict, on source, tests and benchmarks
	$(BIN)/mypy

docs: $(VENV)/test.stamp ## What README and the reference pages show, run and compared
	$(BIN)/python -m pytest tests/acceptance/test_readme.py tests/unit/cli/test_reference_pages.py $(ARGS)

check-needs: $(VENV)/build.stamp ## What all the checks of a change need, in one run of pip
	$(BIN)/python $(LOCKED) $(CHECKED:%=requirements/%.txt --requirement) requirements/test.txt
	$(BIN)/python $(PROJECT)
	touch $(VENV)/test.stamp $(CHECKED:%=$(VENV)/%.stamp)

client-needs: $(VENV)/build.stamp ## What the tests of the TypeScript client need: Node, where there is none, and the compiler
	{ npm --version && node -e 'process.exit(parseInt(process.versions.node) < 18 ? 1 : 0)'; } >/dev/null 2>&1 || \
	  $(BIN)/python $(LOCKED) requirements/node.txt
	$(BIN)/python clients/typescript/toolchain.py

client-types: $(VENV)/test.stamp ## Write the types of the TypeScript client out of the OpenAPI document
	$(BIN)/python -m clients.typescript.codegen

clickhouse-needs: $(VENV)/test.stamp ## What the tests of ClickHouse need, 700 MB; without it they are skipped
	$(BIN)/python $(LOCKED) requirements/chdb.txt $(if $(wildcard $(CHDB_WHEELS)),--no-index --find-links $(CHDB_WHEELS))
	rm -rf $(CHDB_WHEELS)

clickhouse-wheels: $(VENV)/test.stamp ## Fetch what clickhouse-needs installs, beside what must not see a half of it
	sed '/^-r /d' requirements/chdb.txt > $(VENV)/chdb-alone.txt
	$(BIN)/python $(PIP_DOWNLOAD) --dest $(CHDB_WHEELS) --require-hashes --requirement $(VENV)/chdb-alone.txt

sqlglot-needs: $(VENV)/test.stamp ## The parser that reads what is asked of Redshift in its tests; without it nothing reads it
	$(BIN)/python $(LOCKED) requirements/sqlglot.txt

bigquery-needs: $(VENV)/build.stamp ## What the tests of BigQuery need: its emulator, in an environment of its own; part of release-test
	test -x $(VENV)-bigquery/bin/python || $(PYTHON) -m venv $(VENV)-bigquery
	$(VENV)-bigquery/bin/python $(LOCKED) requirements/bqemulator.txt

snowflake-needs: $(VENV)/test.stamp ## What the tests of Snowflake need: its driver, and an emulator in an environment of its own, 700 MB
	$(BIN)/python $(LOCKED) requirements/snowflake.txt
	$(BIN)/python -m venv $(VENV)/fakesnow
	$(VENV)/fakesnow/bin/python $(LOCKED) requirements/build.txt
	$(VENV)/fakesnow/bin/python $(LOCKED) requirements/fakesnow.txt

fuzz: $(FUZZES) ## The decoders with some thousand inputs made up from what they reach, the same in every run

$(FUZZES): fuzz-%: $(VENV)/fuzz.stamp
	PYTHONHASHSEED=0 $(BIN)/python -m tests.fuzz.decoder_fuzzer $* --runs $(FUZZ_RUNS) --seed 1 --seconds 600

bench: $(VENV)/test.stamp ## Measure treadle, other loaders and the limits, short form
	$(BIN)/python -m benchmarks $(ARGS)

bench-full: $(VENV)/test.stamp ## The same with a million records and five runs: some hours
	$(BIN)/python -m benchmarks --full $(ARGS)

lock: ## Write requirements/ anew from the newest versions pyproject.toml allows; ARGS=--keep keeps those that fit
	rm -rf $(VENV)-lock && $(PYTHON) -m venv $(VENV)-lock
	$(VENV)-lock/bin/python $(LOCKED) requirements/lock.txt
	$(VENV)-lock/bin/python requirements/write_locks.py $(VENV)-lock/bin/uv $(ARGS)
	rm -rf $(VENV)-lock

sbom: ## Write sbom.json: all that a server is made of, in CycloneDX
	rm -rf $(VENV)-sbom && $(PYTHON) -m venv $(VENV)-sbom/run && $(PYTHON) -m venv $(VENV)-sbom/tool
	$(VENV)-sbom/run/bin/python $(LOCKED) requirements/build.txt
	$(VENV)-sbom/run/bin/python $(LOCKED) requirements/run.txt
	$(VENV)-sbom/run/bin/python $(PIP_INSTALL) .
	$(VENV)-sbom/run/bin/python -m pip uninstall --quiet --yes setuptools pip
	$(VENV)-sbom/tool/bin/python $(LOCKED) requirements/sbom.txt
	$(VENV)-sbom/tool/bin/cyclonedx-py environment $(VENV)-sbom/run/bin/python --pyproject pyproject.toml \
	  --output-reproducible --output-format JSON --output-file sbom.json
	rm -rf $(VENV)-sbom

clean: ## Remove what make made; treadle-data stays
	rm -rf clients/typescript/node_modules clients/typescript/build clients/typescript/dist
	rm -rf $(VENV) $(VENV)-bigquery $(VENV)-lock $(VENV)-sbom sbom.json build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis

$(VENV)/bin/python:
	$(PYTHON) -c 'import sys; sys.exit("treadle needs Python 3.11 or newer; this is " + sys.version.split()[0] + ". Try: make PYTHON=python3.11 $(MAKECMDGOALS)") if sys.version_info < (3, 11) else None'
	$(PYTHON) -m venv $(VENV)

$(VENV)/build.stamp: requirements/build.txt | $(VENV)/bin/python
	$(BIN)/python $(LOCKED) requirements/build.txt
	touch $@

$(VENV)/%.stamp: pyproject.toml $(LOCKS) $(VENV)/build.stamp
	@echo 'Installing what is needed to $* treadle into $(VENV): up to a minute'
	$(BIN)/python $(LOCKED) requirements/$*.txt
	$(BIN)/python $(PROJECT)
	touch $@
