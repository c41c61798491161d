"""Traps of memory, kernels and parallelism, each a function from the options to findings."""

from __future__ import annotations

from collections.abc import Iterator

from tools.errors import UsageError
from tools.serving.finding import Context, Finding, Given, Severity
from tools.serving.lint_facts import (
    RUNBOOK,
    card_of,
    integer,
    is_json,
    limits_of,
    model_of,
)
from tools.sizing.precision import precision_of_name
from tools.sizing.request import LARGEST_ITEM


def kv_dtype(given: Given, context: Context) -> Iterator[Finding]:
    """The KV cache type is not one that the accelerator has kernels for."""
    kind, card = given.get("kv-cache-dtype") or "", card_of(context)
    if not card or not kind:
        return
    if kind.startswith("fp8") and card.lacks((8, 9)):
        yield Finding(
            "error", "--kv-cache-dtype", f"fp8 KV needs compute capability 8.9; {card.name} has "
            f"{'.'.join(map(str, card.capability))}", "Drop it, or use an L4, H100 or newer.",
            f"{RUNBOOK}: fp8 KV on SM80",
        )  # fmt: skip
    if kind.startswith("nvfp4") and (card.platform != "cuda" or card.lacks((10, 0))):
        yield Finding(
            "error", "--kv-cache-dtype", f"NVFP4 KV needs Blackwell, and {card.name} is none",
            "Write --kv-cache-dtype fp8." if not card.lacks((8, 9)) else "Drop it.",
            "vllm 0.32.0 v1/attention/backends/flashinfer.py",
        )  # fmt: skip
    arch = model_of(context)
    if card.tpu and kind.startswith("fp8") and arch and arch.kv_heads == 1:
        yield Finding(
            "hint", "--kv-cache-dtype", f"{arch.name} has one KV head: on a TPU, K and V are "
            "packed into 32-bit words, and fp8 saves nothing", "Drop it.",
            "boot logs: 321,376 tokens with and without it",
        )  # fmt: skip
    if "per_token_head" in kind:
        yield Finding(
            "hint", "--kv-cache-dtype", "the scales break the ratio of the two page sizes, so one "
            "kind's pages are padded: measured 22 % fewer tokens than fp8", "Write fp8.",
            "vllm issue 40388",
        )  # fmt: skip


def weight_kernels(given: Given, context: Context) -> Iterator[Finding]:
    """The weights' precision has slow kernels here, none, or a forced backend without one."""
    card = card_of(context)
    kind = precision_of_name(context.model)
    backend = given.get("linear-backend") or ""
    if card and kind == "nvfp4" and card.platform == "cuda" and card.lacks((10, 0)):
        yield Finding(
            "warning", "model", f"NVFP4 weights on {card.name}: without Blackwell they fall back "
            "to a slower weight-only kernel", "Use the fp8 or w4a16 checkpoint.",
            "vllm 0.32.0 nvfp4 Marlin fallback",
        )  # fmt: skip
    if card and kind == "w4a16" and backend == "cutlass" and card.lacks((9, 0)):
        yield Finding(
            "error", "--linear-backend", f"cutlass leaves only CutlassW4A8 for int4 weights, which "
            f"needs compute capability 9.0; {card.name} has "
            f"{'.'.join(map(str, card.capability))}: 'Failed to find a kernel that can implement "
            "the WNA16 linear layer'", "Drop --linear-backend, so that Marlin serves int4.",
            "a Cloud Run revision's log, vLLM 0.22.1",
        )  # fmt: skip
    if card and not card.tpu and card.lacks((8, 0)) and given.get("dtype") in {None, "bfloat16"}:
        yield Finding(
            "error", "--dtype", f"{card.name} has no bfloat16", "Write --dtype float16.",
            "vllm 0.32.0 platforms/cuda.py: bfloat16 from compute capability 8.0",
        )  # fmt: skip


def parallel(given: Given, context: Context) -> Iterator[Finding]:
    """Tensor parallelism does not match the chips or the heads."""
    size = integer(given.get("tensor-parallel-size")) or 1
    card, arch = card_of(context), model_of(context)
    if context.chips and size != context.chips:
        severity: Severity = "error" if size > context.chips or (card and card.tpu) else "warning"
        yield Finding(
            severity, "--tensor-parallel-size", f"{size} of {context.chips} devices: "
            + ("the start fails" if severity == "error" else "the others are paid and idle"),
            f"Write --tensor-parallel-size {context.chips}.", "vLLM parallelism documentation",
        )  # fmt: skip
    if arch and arch.q_heads % size:
        yield Finding(
            "error", "--tensor-parallel-size", f"{arch.name} has {arch.q_heads} query heads, "
            f"which {size} ranks can't share", "Choose a power of two.",
            "vllm 0.32.0 gemma4.py:378",
        )  # fmt: skip


def batch(given: Given, context: Context) -> Iterator[Finding]:
    """One image or video does not fit into a batch."""
    size, arch = integer(given.get("max-num-batched-tokens")), model_of(context)
    if not arch or not arch.bidirectional_vision or not size or size >= LARGEST_ITEM:
        return
    card = card_of(context)
    if card and card.tpu:
        return
    allowed = limits_of(given)
    if given.has("language-model-only") or all(allowed.get(k) == 0 for k in ("image", "video")):
        return
    yield Finding(
        "error", "--max-num-batched-tokens", f"{size} is below the {LARGEST_ITEM} tokens of the "
        f"largest video, and {arch.name} takes an item whole: ValueError at the start",
        f"Write {LARGEST_ITEM} or more (4096 is usual), or --language-model-only.",
        "vllm 0.32.0 v1/core/encoder_cache_manager.py:345-353; vLLM recipes issue 441", ">= 0.21",
    )  # fmt: skip


def modalities(given: Given, context: Context) -> Iterator[Finding]:
    """Switching images off leaves video on, and with it the vision tower."""
    allowed, arch = limits_of(given), model_of(context)
    if arch and arch.multimodal and allowed.get("image") == 0 and allowed.get("video") != 0:
        size = (arch.vision + arch.mm_embed_vision) * 2 / 2**30
        yield Finding(
            "warning", "--limit-mm-per-prompt", "images are off and video is not, so the vision "
            f"tower still loads ({size:.2f} GiB) and a batch must still hold one video",
            "Set video to 0 as well, or write --language-model-only.",
            "vllm 0.32.0 gemma4_mm.py:1095, interfaces.py _mark_tower_model",
        )  # fmt: skip


def size(given: Given, context: Context) -> Iterator[Finding]:
    """The model does not fit, by computing it."""
    from tools.sizing.fit import fit
    from tools.sizing.flags import read
    from tools.sizing.request import FitRequest

    if not context.accelerator or not model_of(context):
        return
    try:
        # A value that can't be read has its own finding; what is left still has a size.
        flags = read(
            {
                name: True if value is None else value
                for name, value in given.options
                if not (value or "").startswith("{") or is_json(value or "")
            }
        )
        result = fit(
            FitRequest(
                context.model, context.accelerator, vllm_version=context.version_text, flags=flags,
                count=context.chips,
            )
        )  # fmt: skip
    except UsageError as error:
        yield Finding("error", "size", error.message.rstrip("."), error.fix, "computed")
        return
    if result.outcome in {"fits", "unsupported"}:
        if result.fits and result.longest < result.plan.arch.context and not flags.max_model_len:
            yield Finding(
                "error", "--max-model-len", f"without it vLLM takes "
                f"{result.plan.arch.context:,} tokens and refuses: "
                f"{result.longest:,} are possible", f"Write --max-model-len {result.longest}.",
                "computed; vllm 0.32.0 v1/core/kv_cache_utils.py:1104",
            )  # fmt: skip
        return
    flag = "--max-model-len" if result.outcome == "max_model_len_too_long" else "model"
    helping = [advice.change for advice in result.advice if advice.outcome == "fits"]
    yield Finding(
        "error", flag, result.explanation[0].rstrip("."),
        f"Possible: {'; '.join(helping[:3])}." if helping else "Use a larger accelerator.",
        "computed",
    )  # fmt: skip
