"""Each trap, on a command that falls into it and on one that does not."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tools.errors import UsageError
from tools.serving.lint import lint_args, parse_command

QAT_12B, QAT_31B = "google/gemma-4-12B-it-qat-w4a16-ct", "google/gemma-4-31B-it-qat-w4a16-ct"


def found(words, *, version="0.32", **options):
    return lint_args(
        words.split() if isinstance(words, str) else words, vllm_version=version, **options
    )


def has(findings, flag, part="", severity=""):
    return any(
        one.flag == flag and part in one.why and severity in ("", one.severity) for one in findings
    )


@pytest.mark.parametrize(
    ("words", "options", "flag", "part"),
    [
        (f"{QAT_12B} --max-modl-len 4096", {}, "--max-modl-len", "no such option"),
        (f"{QAT_12B} --lora-extra-vocab-size 256", {}, "--lora-extra-vocab-size", "removed"),
        (f"{QAT_12B} --swap-space 4", {}, "--swap-space", "never swapped"),
        (f"{QAT_12B} --kv-cache-dtype fp7", {}, "--kv-cache-dtype", "none of its choices"),
        (f"{QAT_12B} --linear-backend fast", {}, "--linear-backend", "none of its choices"),
        (f"{QAT_12B} --max-num-seqs", {}, "--max-num-seqs", "needs a value"),
        (
            f"{QAT_12B} --limit-mm-per-prompt {{image:0,audio:0}}",
            {},
            "--limit-mm-per-prompt",
            "ate",
        ),
        (
            f"{QAT_12B} --limit-mm-per-prompt image=0,audio=0",
            {},
            "--limit-mm-per-prompt",
            "no JSON",
        ),
        (f"{QAT_12B} --speculative-config {{model:x}}", {}, "--speculative-config", "ate"),
        (f"{QAT_12B} --kv-cache-dtype fp8", {"accelerator": "A100-80"}, "--kv-cache-dtype", "8.9"),
        (
            f"{QAT_12B} --kv-cache-dtype nvfp4",
            {"accelerator": "L4"},
            "--kv-cache-dtype",
            "Blackwell",
        ),
        (f"{QAT_12B} --linear-backend cutlass", {"accelerator": "L4"}, "--linear-backend", "WNA16"),
        (QAT_12B, {"accelerator": "T4"}, "--dtype", "no bfloat16"),
        (f"{QAT_12B} -tp 2", {"chips": 4}, "--tensor-parallel-size", "idle"),
        (f"{QAT_12B} -tp 2", {"chips": 4, "accelerator": "v6e"}, "--tensor-parallel-size", "fails"),
        (f"{QAT_12B} -tp 3", {}, "--tensor-parallel-size", "query heads"),
        (f"{QAT_12B} --enable-auto-tool-choice", {}, "--enable-auto-tool-choice", "needs a parser"),
        (f"{QAT_12B} --tool-call-parser gemma4", {}, "--tool-call-parser", "HTTP 400"),
        (f"{QAT_12B} --tool-call-parser hermes", {}, "--tool-call-parser", "come back as text"),
        (
            f"{QAT_12B} --max-num-batched-tokens 2048",
            {},
            "--max-num-batched-tokens",
            "largest video",
        ),
        (f"{QAT_31B} --limit-mm-per-prompt.image 0", {}, "--limit-mm-per-prompt", "vision tower"),
        (QAT_12B, {"env": {"HF_HUB_OFFLINE": "1"}}, "model", "can't be downloaded"),
        (QAT_12B, {"env": {"VLLM_CHAT_TEMPLATE": "x"}}, "VLLM_CHAT_TEMPLATE", "no effect"),
        (f"{QAT_12B} --host localhost", {}, "--host", "::1"),
        (f"{QAT_31B} --max-model-len 4096", {"accelerator": "L4"}, "model", "while it loads"),
        (QAT_31B, {"accelerator": "A100-40"}, "--max-model-len", "refuses"),
        (f"{QAT_12B} --chat-template mine.jinja", {}, "--chat-template", "image"),
        (f"{QAT_12B} -pp 2 --speculative-config {{}}", {}, "--speculative-config", "pipeline"),
        (
            "google/gemma-4-26B-A4B-it --enable-lora",
            {"version": "0.17"},
            "--enable-lora",
            "support",
        ),
        ("google/gemma-4-26B-A4B-it --enable-lora", {}, "--enable-lora", "mixture"),
        (
            "google/gemma-4-26B-A4B-it -q bitsandbytes",
            {"version": "0.22"},
            "--quantization",
            "expert",
        ),
        (f"{QAT_12B} -q bitsandbytes", {}, "--quantization", "no bitsandbytes any more"),
        (f"{QAT_12B} -q w4a16", {}, "--quantization", "no method"),
        ("nvidia/gemma-4-31B-it-NVFP4", {"accelerator": "H100"}, "model", "slower"),
        (QAT_12B, {"packages": {"transformers": "4.57"}}, "transformers 4.57", "gemma4"),
        (QAT_12B, {"packages": {"transformers": "5.8.1"}}, "transformers 5.8.1", "gemma4_unified"),
        (QAT_12B, {"packages": {"huggingface_hub": "0.36"}}, "huggingface_hub 0.36", "1.31"),
        (
            QAT_12B,
            {"packages": {"transformers": "5.15.0"}, "version": "0.27.1"},
            "transformers 5.15.0",
            "head_dim",
        ),
        ("--model x", {}, "--model", "first word"),
    ],
)
def test_traps(words, options, flag, part):
    assert has(found(words, **options), flag, part)


def test_a_sound_command_has_no_error():
    findings = found(
        f"{QAT_12B} --max-model-len 16384 --enable-auto-tool-choice --tool-call-parser gemma4 "
        "--reasoning-parser gemma4 --kv-cache-dtype fp8 --host 0.0.0.0 "
        "--max-num-batched-tokens 4096",
        accelerator="L4",
        chips=1,
        packages={"transformers": "5.19.0", "huggingface_hub": "1.31.0"},
    )
    assert [one for one in findings if one.severity == "error"] == []


def test_the_real_deployments_args():
    args = {
        "model_tag": QAT_12B, "enable_auto_tool_choice": True, "tool_call_parser": "gemma4",
        "host": "0.0.0.0", "model": QAT_12B, "dtype": "bfloat16", "max_model_len": 16384,
        "quantization": "compressed-tensors", "enforce_eager": True, "reasoning_parser": "gemma4",
        "gpu_memory_utilization": 0.95, "kv_cache_dtype": "nvfp4", "max_num_batched_tokens": 4096,
        "max_num_seqs": 8, "enable_chunked_prefill": True, "disable_chunked_mm_input": True,
        "async_scheduling": True, "linear_backend": "cutlass",
    }  # fmt: skip
    findings = lint_args(args, vllm_version="0.22.1", accelerator="L4", chips=1)
    assert {one.flag for one in findings} == {"--kv-cache-dtype", "--linear-backend"}
    assert all(one.severity == "error" for one in findings)


def test_another_version_is_not_accused_of_unknown_options():
    findings = found(f"{QAT_12B} --some-old-flag 1", version="0.25")
    assert has(findings, "--some-old-flag", "may differ", "warning")


def test_an_abbreviation_that_means_one_option_is_known():
    assert not has(found(f"{QAT_12B} --kv-cache-memory 1000000"), "--kv-cache-memory")


def test_errors_come_first_and_each_says_what_to_do():
    findings = found(f"{QAT_31B} --host localhost --nope --kv-cache-dtype nvfp4", accelerator="L4")
    ranks = [("error", "warning", "hint").index(one.severity) for one in findings]
    assert ranks == sorted(ranks)
    assert all(one.fix and one.why for one in findings)
    assert set(findings[0].to_json()) == {"severity", "flag", "why", "fix", "source", "versions"}


def test_unknown_version_or_accelerator():
    with pytest.raises(UsageError):
        found("x", version="newest")
    with pytest.raises(UsageError, match="Did you mean"):
        found("x", accelerator="L5")


@pytest.mark.parametrize(
    ("text", "words", "env"),
    [
        ("vllm serve a --b 1", ["a", "--b", "1"], {}),
        ("A=1 vllm serve a \\\n --b '{\"c\": 1}'", ["a", "--b", '{"c": 1}'], {"A": "1"}),
        (
            "docker run -e HF_HUB_OFFLINE=1 image --model a",
            ["--model", "a"],
            {"HF_HUB_OFFLINE": "1"},
        ),
    ],
)
def test_commands(text, words, env):
    assert parse_command(text) == (words, env)


def test_an_open_quote():
    with pytest.raises(UsageError, match="quotes"):
        parse_command("vllm serve 'a")


@given(st.lists(st.text(max_size=16), max_size=6), st.sampled_from(["", "L4", "v6e"]))
def test_any_words(words, card):
    for one in lint_args(words, vllm_version="0.32", accelerator=card):
        assert one.why
