"""Traps of the set-up around the model, each a function from the options to findings."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

from tools.serving.finding import Context, Finding, Given
from tools.serving.lint_facts import RUNBOOK, card_of, integer, model_of, order, traps, within
from tools.serving.snapshot import snapshot

_SHELL_ATE = re.compile(r"^\{\s*[A-Za-z_]\w*\s*:|^\{[^\"]*$")


def removed(name: str, context: Context) -> Finding | None:
    """Return the finding for an option that a release took away, or None."""
    for row in traps()["removed"]:
        if row["flag"] == name and within(context.version, row["versions"]):
            span = f">= {row['versions'][0]}"
            return Finding("error", f"--{name}", row["why"], row["fix"], row["source"], span)
    return None


def quotes(given: Given, _: Context) -> Iterator[Finding]:
    """A shell or gcloud took the quotes out of a JSON value."""
    options = snapshot("999.0")
    for name, value in given.options:
        option = options.find(name)
        text = (value or "").strip()
        if name == "limit-mm-per-prompt" and re.match(r"\w+=\d", text) and not given.printed:
            kind = text.partition("=")[0]
            yield Finding(
                "error",
                f"--{name}",
                f"{text} is no JSON, which this option wants: the start ends with exit 2",
                f"Write --{name}.{kind} 0, once for each kind, or --language-model-only.",
                "vllm 0.32.0 engine/arg_utils.py:413 (json.loads); the recipe's form is older",
            )
            continue
        if not option or not text.startswith(("{", "[")) or given.printed:
            continue
        try:
            json.loads(text)
        except ValueError:
            lost = bool(_SHELL_ATE.match(text)) or "'" in text
            key = re.search(r"[A-Za-z_]\w*", text)
            dotted = f"--{name}.{key[0]} VALUE" if key else f"--{name} '{{…}}'"
            yield Finding(
                "error",
                f"--{name}",
                f"{text} is no JSON"
                + (": the shell or gcloud ate its quotes" if lost else "")
                + ", so the start ends with exit 2",
                f"Write {dotted}, or quote it for the shell; with gcloud use --args=^@^….",
                "a Cloud Run revision's log: 'cannot be converted to <function loads>'",
            )


def tool_calls(given: Given, context: Context) -> Iterator[Finding]:
    """Tool calling needs two options, and this model's own parser."""
    parser = given.get("tool-call-parser")
    auto = given.has("enable-auto-tool-choice")
    source = "vllm entrypoints: '\"auto\" tool choice requires --enable-auto-tool-choice'"
    if auto and parser is None:
        yield Finding(
            "error", "--enable-auto-tool-choice", "it needs a parser: the start is refused",
            "Add --tool-call-parser gemma4.", source,
        )  # fmt: skip
    elif parser is not None and not auto:
        yield Finding(
            "warning", "--tool-call-parser", "without --enable-auto-tool-choice every request with "
            "tools gets HTTP 400", "Add --enable-auto-tool-choice.", source,
        )  # fmt: skip
    elif parser is None:
        yield Finding(
            "hint", "--tool-call-parser", "no tool calls: a request with tools gets HTTP 400",
            "Add --enable-auto-tool-choice --tool-call-parser gemma4 for an agent.", source,
        )  # fmt: skip
    if parser and parser != "gemma4" and model_of(context):
        yield Finding(
            "error", "--tool-call-parser", f"{parser!r} does not read Gemma 4's tool calls: they "
            "come back as text", "Write --tool-call-parser gemma4.", "vLLM Gemma 4 recipe",
        )  # fmt: skip


def offline(_: Given, context: Context) -> Iterator[Finding]:
    """Offline mode can't download a model from the hub."""
    env = context.env or {}
    on = [
        name
        for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")
        if env.get(name, "").casefold() in {"1", "true", "on", "yes"}
    ]
    hub = "/" in context.model and not context.model.startswith(("/", ".", "~", "gs://"))
    if on and hub:
        yield Finding(
            "error", "model", f"{on[0]} is set and {context.model} is a hub id: it can't be "
            "downloaded", f"Unset {on[0]}, or serve a mounted folder.",
            "reference deployment of the 31B, which sets it on both paths",
        )  # fmt: skip
    for name in sorted(env):
        if name == "VLLM_CHAT_TEMPLATE":
            yield Finding(
                "warning", name, "vLLM does not know this variable: it has no effect",
                "Write --chat-template FILE.", f"{RUNBOOK} 2.11",
            )  # fmt: skip


def address(given: Given, _: Context) -> Iterator[Finding]:
    """A server that listens where the platform does not look."""
    host = given.get("host")
    if host in {"localhost", "127.0.0.1", "::1"}:
        why = "nothing outside the container reaches it, a platform's probe included"
        if host == "localhost":
            why += ", and the name may mean ::1 only, so that 127.0.0.1 is refused"
        yield Finding("warning", "--host", why, "Write --host 0.0.0.0.",
                      "xbill9/gemma4-tips v5e.md: localhost and IPv6")  # fmt: skip


def template(given: Given, context: Context) -> Iterator[Finding]:
    """A chat template given by hand often lacks the images."""
    value = given.get("chat-template")
    arch = model_of(context)
    if value and arch and arch.multimodal and "tool_chat_template" not in value:
        yield Finding(
            "warning", "--chat-template", "a template of one's own replaces the checkpoint's: one "
            "without the image and audio parts drops them without a word",
            "Leave it out, or keep the parts for images.", f"{RUNBOOK} 2.9 and 2.10",
        )  # fmt: skip


def speculative(given: Given, context: Context) -> Iterator[Finding]:
    """What a draft model can't be combined with."""
    text = given.get("speculative-config", "sc", "-sc")
    if text is None:
        return
    source = "vllm 0.32.0 config/speculative.py"
    if (integer(given.get("data-parallel-size")) or 1) > 1 and "dynamic" in text:
        yield Finding("error", "--speculative-config", "dynamic drafting has no data parallelism",
                      "Drop one of the two.", source)  # fmt: skip
    if (integer(given.get("pipeline-parallel-size")) or 1) > 1:
        yield Finding(
            "error", "--speculative-config", "the drafter shares the target's KV cache, which "
            "pipeline parallelism splits", "Use tensor parallelism.", source,
        )  # fmt: skip
    try:
        data = json.loads(text)
    except ValueError:
        return
    if not isinstance(data, dict):
        return
    if "tensor_parallel_size" in data:
        yield Finding(
            "error", "--speculative-config", "tensor_parallel_size is refused in it",
            "Write draft_tensor_parallel_size.", f"{source} _verify_args",
        )  # fmt: skip
    if "num_speculative_tokens" not in data and "assistant" not in str(data.get("model", "")):
        yield Finding(
            "error", "--speculative-config", "num_speculative_tokens is missing",
            'Add "num_speculative_tokens": 1 or more.', f"{source} _verify_args",
        )  # fmt: skip
    card = card_of(context)
    if card and card.tpu:
        yield Finding("error", "--speculative-config", "MTP drafters are not served on a TPU",
                      "Drop it.", "tpu_inference")  # fmt: skip


def adapters(given: Given, context: Context) -> Iterator[Finding]:
    """LoRA and bitsandbytes by version and by architecture."""
    arch, card = model_of(context), card_of(context)
    method = given.get("quantization", "q") or ""
    if given.has("enable-lora"):
        if context.version < (0, 18):
            yield Finding(
                "error", "--enable-lora", "'Gemma4ForConditionalGeneration does not support LoRA "
                "yet'", "Use vLLM 0.18 or newer.", f"{RUNBOOK} 2.4", "< 0.18",
            )  # fmt: skip
        if card and card.tpu:
            yield Finding("error", "--enable-lora", "not served for Gemma 4 on a TPU", "Drop it.",
                          "tpu_inference")  # fmt: skip
        if arch and arch.experts:
            yield Finding(
                "warning", "--enable-lora", f"{arch.name} is a mixture of experts: adapters on "
                "the experts take experts × rank memory each, and many trainers leave them out",
                "Restrict target_modules to attention, or size it with `gemma-sre fit`.",
                "vllm 0.32.0 lora/lora_weights.py",
            )  # fmt: skip
    if method == "bitsandbytes" or given.get("load-format") == "bitsandbytes":
        if context.version >= (0, 32):
            yield Finding(
                "error", "--quantization", "vLLM 0.32 has no bitsandbytes any more",
                "Serve the fp8 or w4a16 checkpoint.", str(traps()["quantization"]["source"]),
                ">= 0.32",
            )  # fmt: skip
        elif arch and arch.experts:
            yield Finding(
                "error", "--quantization", "bitsandbytes can't load the mixture of experts: no "
                "get_expert_mapping", "Serve bf16 or fp8.", f"{RUNBOOK} 2.6", "< 0.32",
            )  # fmt: skip
    elif method and context.version >= (0, 32) and method not in traps()["quantization"]["methods"]:
        yield Finding(
            "error", "--quantization", f"{method!r} is no method of vLLM 0.32",
            "Leave it out: the checkpoint's config says it.",
            str(traps()["quantization"]["source"]),
            ">= 0.32",
        )  # fmt: skip


def stack(_: Given, context: Context) -> Iterator[Finding]:
    """Versions of transformers and huggingface_hub that do not go with this vLLM."""
    arch = model_of(context)
    for row in traps()["stack"]:
        have = (context.packages or {}).get(row["package"], "")
        if not have or not within(context.version, row.get("versions", ("", ""))):
            continue
        if "models" in row and (not arch or arch.name not in row["models"]):
            continue
        number = order(have)
        hit = (
            ("below" in row and number < order(row["below"]))
            or ("from" in row and number >= order(row["from"]))
            or ("exactly" in row and number[:2] == order(row["exactly"])[:2])
        )
        if hit:
            span = " to ".join(filter(None, row.get("versions", ())))
            yield Finding("error", f"{row['package']} {have}", row["why"], row["fix"],
                          row["source"], span)  # fmt: skip


def spelling(given: Given, _: Context) -> Iterator[Finding]:
    """The model as an option is on its way out."""
    if given.has("model") and not given.printed:
        yield Finding(
            "hint", "--model", "vLLM will take the model as the first word only",
            "Write `vllm serve MODEL`.", "vllm argparse_utils warning since 0.20",
        )  # fmt: skip
    length, batched = (
        integer(given.get("max-model-len")),
        integer(given.get("max-num-batched-tokens")),
    )
    if length and batched and given.has("no-enable-chunked-prefill") and batched < length:
        yield Finding(
            "error", "--max-num-batched-tokens", "without chunked prefill a batch must hold a "
            f"whole prompt: {batched} is below {length}", f"Write {length} or more.",
            "vllm 0.32.0 config/scheduler.py",
        )  # fmt: skip
