"""Options of `vllm serve` as vLLM reads them."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tools.errors import UsageError
from tools.sizing.flags import read


def test_all_spellings():
    line = (
        "vllm serve google/gemma-4-31B-it --max-model-len 32K -tp=2 --enforce_eager -O3 "
        "--gpu_memory_utilization=.9 --limit-mm-per-prompt.image 0 --no-async-scheduling"
    )
    found = read(line.split())
    assert found.model == "google/gemma-4-31B-it"
    assert (found.max_model_len, found.tensor_parallel_size) == (32768, 2)
    assert found.enforce_eager
    assert found.async_scheduling is False
    assert found.limits == {"image": 0}


def test_a_switch_takes_no_value():
    found = read(["--enforce-eager", "google/gemma-4-12B-it", "--max-num-seqs", "8"])
    assert found.model == "google/gemma-4-12B-it"
    assert found.max_num_seqs == 8


@pytest.mark.parametrize(
    ("text", "length"),
    [("8192", 8192), ("1k", 1000), ("1K", 1024), ("25.6k", 25600), ("auto", -1), ("-1", -1)],
)
def test_lengths(text, length):
    assert read([f"--max-model-len={text}"]).max_model_len == length


def test_non_default_args():
    found = read(
        {"model": "x", "enforce_eager": True, "async_scheduling": False, "max_num_seqs": 8,
         "limit_mm_per_prompt": {"image": 0}}
    )  # fmt: skip
    assert found.enforce_eager
    assert found.async_scheduling is False
    assert (found.max_num_seqs, found.limits) == (8, {"image": 0})


def test_video_alone_keeps_the_vision_tower():
    assert read(["--limit-mm-per-prompt.image", "0"]).vision
    both = read(["--limit-mm-per-prompt", '{"image": 0, "video": {"count": 0}}'])
    assert not both.vision
    assert both.audio
    assert not read(["--language-model-only"]).audio


@pytest.mark.parametrize(
    "words",
    [
        ["--limit-mm-per-prompt", "{image:0}"],
        ["--speculative-config", "{model:x}"],
        ["--max-num-seqs", "0"],
        ["--max-num-seqs"],
        ["--block-size", "1.5"],
        ["--gpu-memory-utilization", "0"],
    ],
)
def test_refused(words):
    with pytest.raises(UsageError):
        read(words)


@given(st.lists(st.text(max_size=12), max_size=8))
def test_any_words_are_read_or_refused(words):
    with contextlib.suppress(UsageError):
        read(words)
