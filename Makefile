# `make repro` and `make test` work on a fresh clone with Python >= 3.11.4, git and make.
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/ready

export PATH := $(CURDIR)/$(BIN):$(PATH)
export MLFLOW_DISABLE_TELEMETRY := true

.DEFAULT_GOAL := help
.PHONY: help env repro summary gate baseline ui test test-all lint lock paper clean sweep test-faults quality other-faces folds search audit pull

help:  ## show this list
	@grep -hE '^[a-z-]+:.*##' Makefile | sed -E 's/:.*## /\t/' | expand -t 12

env: $(READY)  ## make the environment in .venv from the pinned lock

$(READY): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11, 4) and "Python 3.11.4 or newer is needed: make PYTHON=...")'
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check -r requirements.lock
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	touch $@

repro: env  ## fetch, train, explain, judge; then say where to look
	layershap repro
	@layershap summary

pull: env  ## put here what DVC's cache, and its remote if there is one, have of the pipeline's files
	dvc checkout --allow-missing
	@test -z "$$(dvc remote list)" || dvc pull --allow-missing || echo "DVC's remote cannot be read: what is not here is made here"

summary: env  ## say again what the last run reached and where to look
	@layershap summary

gate: env  ## layershap gate --check, whose exit status (1: fails, 3: cannot be judged) make turns into 2
	@layershap gate --check

baseline: env  ## make the present model the one that the gate compares later ones with
	@layershap baseline

ui: env  ## open the MLflow UI on 127.0.0.1:5000
	@layershap ui

test: env  ## the quick tests, offline
	pytest -m "not slow"

# two at a time with two threads each would wait for one another; threads that wait sleep, and leave the cores to others
test-all: export OMP_NUM_THREADS := 1
test-all: export OMP_WAIT_POLICY := PASSIVE
test-all: env  ## all tests, with real pipelines, two files at a time
	pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder

test-faults: env  ## kills, signals, dead servers (LAYERSHAP_KILLS=13: 52 kills)
	pytest tests/faults

lint: env  ## ruff, mypy, which room imports which, and the workflows of CI
	ruff check .
	ruff format --check .
	mypy
	lint-imports --no-logo --no-cache
	check-jsonschema --builtin-schema vendor.github-workflows .github/workflows/*.yml

audit:  ## known weaknesses of the pinned packages (needs a network)
	$(PYTHON) -m venv work/audit
	work/audit/bin/pip install --quiet --disable-pip-version-check pip-audit
	work/audit/bin/pip-audit --requirement requirements.lock --no-deps --disable-pip

lock: env  ## write the installed versions to requirements.lock
	$(BIN)/pip freeze --exclude-editable --all | sed -E 's/\+cpu$$//' | grep -vE '^(nvidia-|cuda-|triton|pip==|wheel==|captum==)' > requirements.lock

NOT_COMPARED := ^src/.*|^(data|metrics|plots|baseline|params|models|explanations|reports|work).*(csv|json|md|xml|yaml|raw|features)$$|^(models|explanations|reports|baseline)$$|n_test
SWEEP ?= train.unfrozen_learning_rate=0.0002 train.unfrozen_learning_rate=0.001 model.unfreeze=0 head.hidden=[64]
sweep: env  ## one experiment for each setting in SWEEP, one after the other, none in the other's way
	@for setting in $(SWEEP); do echo "== $$setting"; dvc exp run --temp -S "$$setting" || exit $$?; done
	dvc exp show --only-changed --md --sort-by metrics/headline.json:accuracy --sort-order desc --drop '$(NOT_COMPARED)'

PAPER := model.unfreeze=0 head.pool=0 head.hidden=[64] head.dropout=0.5 \
	train.epochs=20 train.batch_size=64 train.learning_rate=0.00006 train.average=none
paper: env  ## the paper's setting, VGG19 on 2000 + 2000 images (DATA=DIR WEIGHTS=FILE: without a network)
	dvc exp run $(if $(DATA),-S data.source=folder -S data.path=$(DATA),-S data.source=oxford_pets) \
		$(if $(WEIGHTS),-S model.weights=$(WEIGHTS)) \
		-S data.per_class=2000 -S model.backbone=vgg19 $(foreach setting,$(PAPER),-S '$(setting)') \
		-S explain.images=12 -S explain.mistakes=4 -S explain.pictures=null

quality: env  ## how faithful the heatmaps of each layer are (minutes; writes study/quality)
	dvc --cd study repro record_quality

other-faces: env  ## what in the heatmaps comes from the references (half an hour; writes study/other_faces)
	dvc --cd study repro record_other_faces

folds: env  ## k-fold cross-validation, one training a fold (FOLDS=5 sets split.folds; writes study/folds)
	@layershap folds $(if $(FOLDS),--folds $(FOLDS))

SPACE ?= head
TRIALS ?= 20
search: env  ## the settings of SPACE (study/search.yaml) with the least validation loss, in TRIALS trainings (needs Optuna)
	@layershap search $(SPACE) --trials $(TRIALS)

clean:  ## remove the environment and everything that a run wrote, but not the MLflow store
	rm -rf .venv build src/*.egg-info work data/raw data/masks data/features data/*.csv models explanations reports plots/evaluate
