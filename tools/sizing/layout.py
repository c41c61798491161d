"""The memory of a running service: what it measured at its start, and what follows from that."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from tools.errors import UsageError
from tools.sizing.accelerators import GIB
from tools.sizing.bootlog import BootLog
from tools.sizing.fit import FitResult, fit
from tools.sizing.flags import read as read_flags
from tools.sizing.request import FitRequest
from tools.sizing.version import LATEST

How = Literal["measured", "derived", "configured"]


@dataclass(frozen=True)
class Figure:
    """One figure, its unit, and how it is known; ``quote`` is the line that said it."""

    name: str
    value: float | str
    unit: str
    how: How
    quote: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return the figure as JSON has it."""
        return {
            "name": self.name,
            "value": self.value,
            "unit": self.unit,
            "how": self.how,
            "quote": self.quote,
        }


@dataclass(frozen=True)
class Layout:
    """The figures of a service, and what they mean against the estimate."""

    figures: tuple[Figure, ...]
    explanation: tuple[str, ...] = ()
    estimate: FitResult | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the layout as JSON has it."""
        return {
            "schema": 1,
            "figures": [figure.to_json() for figure in self.figures],
            "explanation": list(self.explanation),
            "estimate": self.estimate.to_json() if self.estimate else None,
        }


_SHOWN = (
    ("weights_gib", "weights", "GiB"),
    ("checkpoint_gib", "checkpoint", "GiB"),
    ("offloaded_gib", "moved to the host", "GiB"),
    ("total_gib", "the device", "GiB"),
    ("requested_gib", "vLLM's budget", "GiB"),
    ("consumed_gib", "weights and what is outside torch", "GiB"),
    ("activation_gib", "peak activation", "GiB"),
    ("non_torch_gib", "outside torch", "GiB"),
    ("graphs_estimate_gib", "CUDA graphs, estimated by vLLM", "GiB"),
    ("graphs_gib", "CUDA graphs", "GiB"),
    ("kv_gib", "KV cache", "GiB"),
    ("kv_tokens", "KV cache", "tokens"),
    ("concurrency", "maximum concurrency", "requests"),
    ("length", "context length", "tokens"),
    ("load_s", "loading the model", "s"),
    ("compile_s", "torch.compile", "s"),
    ("graphs_s", "capturing graphs", "s"),
    ("start_s", "starting the engine", "s"),
)


def layout(
    log: BootLog,
    *,
    model: str = "",
    accelerator: str = "",
    count: int = 0,
    used: float | None = None,
    cache: Mapping[str, str] | None = None,
) -> Layout:
    """Return the layout that a boot log and, when given, /metrics tell.

    ``used`` is the share of the KV cache in use (``vllm:kv_cache_usage_perc``), ``cache`` the
    labels of ``vllm:cache_config_info``. With an accelerator the estimate stands beside it, and
    differences are explained. Raises UsageError when nothing says anything about memory.
    """
    if not log and not cache:
        raise UsageError(
            "Nothing about memory was found.", fix="Give the log of a start: --boot-log FILE."
        )
    figures = [
        Figure(label, log.figures[name], unit, "measured", log.quotes.get(name, ""))
        for name, label, unit in _SHOWN
        if name in log.figures
    ]
    figures += _cache_figures(cache or {}, log)
    args = log.args
    figures += [
        Figure(key.replace("_", " "), str(args[key]), "", "configured")
        for key in ("dtype", "quantization", "kv_cache_dtype", "max_model_len", "cpu_offload_gb")
        if key in args
    ]
    if used is not None:
        figures.append(Figure("KV cache in use", round(used, 4), "share", "measured"))
        tokens = _value(figures, "KV cache", "tokens")
        if tokens:
            figures.append(Figure("KV cache in use", round(used * tokens), "tokens", "derived"))
    name = model or str(args.get("model") or args.get("model_tag") or "")
    if not (accelerator and name):
        return Layout(tuple(figures), _without(accelerator))
    estimate = _estimate(log, name, accelerator, count)
    figures += _derived(figures, estimate)
    return Layout(tuple(figures), differences(log, estimate), estimate)


# Labels of vllm:cache_config_info (vLLM 0.32 /metrics; older versions lack the last two).
_CACHE = (
    ("num_gpu_blocks", "KV blocks", "blocks"),
    ("block_size", "tokens a block", "tokens"),
    ("kv_cache_size_tokens", "KV cache", "tokens"),
    ("kv_cache_max_concurrency", "maximum concurrency", "requests"),
)


def _cache_figures(cache: Mapping[str, str], log: BootLog) -> list[Figure]:
    known = {"KV cache": "kv_tokens", "maximum concurrency": "concurrency"}
    found = []
    for label, name, unit in _CACHE:
        try:
            value = float(cache.get(label, ""))
        except ValueError:
            continue
        if known.get(name, "") not in log.figures and math.isfinite(value):
            quote = f'vllm:cache_config_info{{{label}="{cache[label]}"}}'
            found.append(Figure(name, value, unit, "measured", quote))
    for label, name in (
        ("cache_dtype", "KV cache's type"),
        ("gpu_memory_utilization", "share of the memory"),
    ):
        if cache.get(label):
            found.append(Figure(name, cache[label], "", "configured"))
    return found


def _derived(figures: list[Figure], estimate: FitResult) -> list[Figure]:
    plan, block = estimate.plan, estimate.block_bytes
    found = [
        Figure("precision of the weights", plan.kind.name, "", "derived"),
        Figure("precision of the KV cache", plan.kv_type, "", "derived"),
    ]
    memory, blocks = _value(figures, "KV cache", "GiB"), _value(figures, "KV blocks", "blocks")
    if memory and not blocks:
        found.append(Figure("KV blocks", int(memory * GIB) // block, "blocks", "derived"))
    if blocks and not memory:
        found.append(Figure("KV cache", round(blocks * block / GIB, 2), "GiB", "derived"))
    weights = _value(figures, "weights", "GiB")
    budget = _value(figures, "vLLM's budget", "GiB") or (
        plan.flags.gpu_memory_utilization * plan.card.usable / GIB if not plan.card.tpu else 0.0
    )
    if weights and memory and budget:
        rest = round(budget - weights - memory, 2)
        found.append(Figure("activations, graphs, outside torch", rest, "GiB", "derived"))
    found.append(Figure("bytes a block", block, "bytes", "derived"))
    return found


def _value(figures: list[Figure], name: str, unit: str) -> float:
    for figure in figures:
        if (figure.name, figure.unit) == (name, unit) and isinstance(figure.value, int | float):
            return float(figure.value)
    return 0.0


def _estimate(log: BootLog, model: str, accelerator: str, count: int) -> FitResult:
    # What vLLM printed of itself is not a command line: an option unknown here is not an error.
    flags = read_flags({key: value for key, value in log.args.items() if key != "model_tag"})
    request = FitRequest(
        model=model,
        accelerator=accelerator,
        count=count,
        vllm_version=log.version or LATEST,
        flags=flags,
    )
    return fit(request, advise=False)


def differences(log: BootLog, estimate: FitResult) -> tuple[str, ...]:
    """Return sentences that compare what a start measured with what was computed, and say why.

    ``estimate`` must be computed, not taken from the same log.
    """
    lines: list[str] = []
    figures = log.figures
    if "weights_gib" in figures:
        computed = estimate.memory.resident / GIB
        off = figures["weights_gib"] - computed
        word = "as computed" if abs(off) <= 0.03 * computed else "not as computed"
        lines.append(
            f"Weights: {figures['weights_gib']:.2f} GiB measured, {computed:.2f} computed: {word}."
        )
        if off > 0.03 * computed:
            lines.append("More than computed: another precision, an untied lm_head, or a drafter.")
        elif off < -0.03 * computed:
            lines.append("Less than computed: a text-only checkpoint, or layers were moved away.")
    if "kv_gib" in figures:
        band = estimate.memory.kv.gib()
        inside = band["low"] <= figures["kv_gib"] <= band["high"]
        lines.append(
            f"KV cache: {figures['kv_gib']:.2f} GiB measured, {band['low']:.2f} to "
            f"{band['high']:.2f} estimated: {'inside' if inside else 'outside'} the band."
        )
        if figures["kv_gib"] < band["low"]:
            lines.append(
                "Less than estimated: a cold compile counted as activation (restart once), or "
                "another process holds memory."
            )
    if "kv_gib" in figures and "kv_tokens" in figures:
        measured = log.measured
        plan = estimate.plan
        from tools.sizing.memory import capacity_of

        length = int(figures.get("length", 0)) or estimate.length
        tokens = capacity_of(plan, measured.kv, length).tokens
        off = abs(tokens / figures["kv_tokens"] - 1)
        lines.append(
            f"KV tokens: {figures['kv_tokens']:,.0f} printed, {tokens:,} from the printed GiB"
            + (
                ": they agree."
                if off <= 0.01
                else ": they differ, so a setting that decides them is not in this log."
            )
        )
    return tuple(lines)


def _without(accelerator: str) -> tuple[str, ...]:
    missing = "--accelerator" if not accelerator else "--model"
    return (f"Give {missing} to have the estimate beside it and differences explained.",)
