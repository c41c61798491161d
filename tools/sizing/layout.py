"""The memory of a running service: what it measured at its start, and what follows from that."""

from __future__ import annotations

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
    metrics: Mapping[str, float] | None = None,
) -> Layout:
    """Return the layout that a boot log and, when given, /metrics tell.

    ``metrics`` are values of vLLM's gauges by name, such as ``vllm:kv_cache_usage_perc``. With
    an accelerator the estimate stands beside it, and differences are explained.
    """
    figures = [
        Figure(label, log.figures[name], unit, "measured", log.quotes.get(name, ""))
        for name, label, unit in _SHOWN
        if name in log.figures
    ]
    args = log.args
    figures += [
        Figure(key.replace("_", " "), str(args[key]), "", "configured")
        for key in ("dtype", "quantization", "kv_cache_dtype", "max_model_len", "cpu_offload_gb")
        if key in args
    ]
    used = (metrics or {}).get("vllm:kv_cache_usage_perc")
    if used is not None:
        figures.append(Figure("KV cache in use", round(used, 4), "share", "measured"))
        if "kv_tokens" in log.figures:
            tokens = round(used * log.figures["kv_tokens"])
            figures.append(Figure("KV cache in use", tokens, "tokens", "derived"))
    name = model or str(args.get("model") or args.get("model_tag") or "")
    if not (accelerator and name):
        return Layout(tuple(figures), _without(log, accelerator))
    estimate = _estimate(log, name, accelerator)
    block = estimate.block_bytes
    if "kv_gib" in log.figures:
        blocks = int(log.figures["kv_gib"] * GIB) // block
        figures.append(Figure("KV blocks", blocks, "blocks", "derived"))
    figures.append(Figure("bytes a block", block, "bytes", "derived"))
    return Layout(tuple(figures), tuple(_differences(log, estimate)), estimate)


def _estimate(log: BootLog, model: str, accelerator: str) -> FitResult:
    # What vLLM printed of itself is not a command line: an option unknown here is not an error.
    flags = read_flags({key: value for key, value in log.args.items() if key != "model_tag"})
    request = FitRequest(
        model=model,
        accelerator=accelerator,
        vllm_version=log.version or LATEST,
        flags=flags,
    )
    return fit(request, advise=False)


def _differences(log: BootLog, estimate: FitResult) -> list[str]:
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
    return lines


def _without(log: BootLog, accelerator: str) -> tuple[str, ...]:
    if not log:
        raise UsageError(
            "Nothing about memory was found.", fix="Give the log of a start: --boot-log FILE."
        )
    missing = "--accelerator" if not accelerator else "--model"
    return (f"Give {missing} to have the estimate beside it and differences explained.",)
