# Two commands: `make demo` builds the bundled corpus, `make test` passes the tests.
PYTHON ?= python3
BIN = .venv/bin
OUT = build/demo
OPENCLIPART = build/openclipart
# A second major version of the reader that the shards are tested with.
OTHER_WEBDATASET = webdataset==1.0.2

.PHONY: demo test test-slow lint format corpus-openclipart corpus-emoji tokenizers text-tokenizer proof wild clean

.venv/ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --constraint constraints.txt uv
	$(BIN)/uv pip install --quiet --constraint constraints.txt --editable '.[dev]'
	$(BIN)/uv pip install --quiet --target build/webdataset-1 --no-deps $(OTHER_WEBDATASET)
	touch $@

demo: .venv/ready
	$(BIN)/python tests/corpus/serve.py -- \
		$(BIN)/vargpt-corpus build pipelines/recipes/demo.yaml --out $(OUT)
	$(BIN)/vargpt-corpus verify $(OUT)
	rm -rf $(OUT)-training
	$(BIN)/vargpt-corpus train demo --data $(OUT) --out $(OUT)-training

test: .venv/ready
	$(BIN)/pytest -q -n auto --dist loadfile -m 'not slow and not gpu and not spark'

test-slow: .venv/ready
	$(BIN)/pytest -q -m 'slow and not gpu'

lint: .venv/ready
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/pyright

format: .venv/ready
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# The whole of openclipart: 156 MB of Debian packages, 6,900 PNGs.
corpus-openclipart: .venv/ready
	$(BIN)/python tests/corpus/openclipart.py fetch $(OPENCLIPART)
	$(BIN)/python tests/corpus/openclipart.py list $(OPENCLIPART)

# The whole of Fluent Emoji 3D: 22 MB of npm packages, 3,391 WebPs.
FLUENT_EMOJI = build/fluent-emoji
corpus-emoji: .venv/ready
	$(BIN)/python tests/corpus/fluent_emoji.py fetch $(FLUENT_EMOJI)
	$(BIN)/python tests/corpus/fluent_emoji.py list $(FLUENT_EMOJI)

TRAINING = --threads 1 --data $(OPENCLIPART)/root --data $(FLUENT_EMOJI)/root \
	--describe-data "Debian's openclipart 0.18 and Fluent Emoji 3D 1.1.0" \
	--licence "openclipart: public domain, but 2 GPL and 61 unmarked of 6,900; Fluent Emoji: MIT"
# The two tokenizers that ship with the package, trained anew: three quarters of an hour on 2 cores.
tokenizers: corpus-openclipart corpus-emoji
	$(BIN)/vargpt-corpus train-tokenizer infinity_bsq $(TRAINING) --out build/tokenizers/infinity_bsq
	$(BIN)/vargpt-corpus train-tokenizer var_vqvae $(TRAINING) --out build/tokenizers/var_vqvae

# The text tokenizer that ships with the package, trained anew.
text-tokenizer: corpus-openclipart corpus-emoji
	$(BIN)/python -m model.data.text_tokenizer model/bundled/text_tokenizer \
		--captions $(OPENCLIPART)/openclipart.jsonl $(FLUENT_EMOJI)/fluent-emoji.jsonl \
		--templates pipelines/templates/t2i-v1.yaml

# A small model learns emoji on a CPU and draws some that it has never seen; go on after any kill by
# the same command. STEPS=40 shows in a minute or two that all of it works.
STEPS = 4000
proof: corpus-emoji
	$(BIN)/python tests/corpus/fluent_emoji.py hold-out $(FLUENT_EMOJI)
	$(BIN)/vargpt-corpus build pipelines/recipes/emoji.yaml --out build/emoji
	$(BIN)/vargpt-corpus train emoji --data build/emoji --out build/proof-$(STEPS) --steps $(STEPS) \
		--prompts $(FLUENT_EMOJI)/held-out.txt

wild: corpus-openclipart
	$(BIN)/vargpt-corpus build pipelines/recipes/openclipart.yaml --out build/wild
	$(BIN)/vargpt-corpus verify build/wild

clean:
	rm -rf build .venv
