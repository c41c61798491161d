"""What a `vllm serve` command line says that a size depends on."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from tools.errors import UsageError
from tools.serving.snapshot import switches

# Source: vllm 0.32.0 config/cache.py:102. Defaults that depend on the card are set later.
DEFAULT_UTILIZATION = 0.92

_NUMBER = re.compile(r"(-?\d+(?:\.\d+)?)([kKmMgG]?)(?:i?[bB])?")
_SCALES = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "K": 2**10, "M": 2**20, "G": 2**30}
_SHORT = {
    "-tp": "tensor-parallel-size",
    "-pp": "pipeline-parallel-size",
    "-dp": "data-parallel-size",
    "-q": "quantization",
    "-sc": "speculative-config",
    "-cc": "compilation-config",
    "-asc": "api-server-count",
}


@dataclass(frozen=True)
class ServeFlags:
    """The options of `vllm serve` that sizing reads; None or 0 is vLLM's own default."""

    model: str = ""
    max_model_len: int = 0  # 0: not said; -1: auto
    gpu_memory_utilization: float = DEFAULT_UTILIZATION
    kv_cache_dtype: str = "auto"
    kv_cache_memory_bytes: int = 0
    max_num_batched_tokens: int = 0
    max_num_seqs: int = 0
    block_size: int = 0
    num_gpu_blocks_override: int = 0
    tensor_parallel_size: int = 0
    pipeline_parallel_size: int = 1
    data_parallel_size: int = 1
    cpu_offload_gb: float = 0.0  # GiB, whatever its name says (vllm 0.32.0 config/offload.py)
    enforce_eager: bool = False
    async_scheduling: bool | None = None
    language_model_only: bool = False
    quantization: str = ""
    limits: Mapping[str, int] = field(default_factory=dict)  # of --limit-mm-per-prompt
    enable_lora: bool = False
    max_loras: int = 1
    max_lora_rank: int = 16
    speculative: str = ""  # drafter's model or method; "" is none
    dtype: str = ""
    given: tuple[str, ...] = ()  # every option that stood there, in order

    @property
    def vision(self) -> bool:
        """Return whether the vision tower loads: images or video are allowed.

        Source: vllm 0.32.0 gemma4_mm.py:1095, _mark_tower_model({"image", "video"}).
        """
        return self._allowed("image") or self._allowed("video")

    @property
    def audio(self) -> bool:
        """Return whether the audio tower loads."""
        return self._allowed("audio")

    def _allowed(self, kind: str) -> bool:
        return not self.language_model_only and self.limits.get(kind, 1) != 0


def split(args: Sequence[str]) -> Iterator[tuple[str, str | None]]:
    """Yield (option without dashes, value or None) and ("", word) for what is no option.

    Underscores and dashes are the same to vLLM, as are `--a b` and `--a=b`.
    """
    words = list(args)
    index = 0
    while index < len(words):
        word = words[index]
        index += 1
        if word.partition("=")[0] in _SHORT or (word.startswith("--") and len(word) > 2):
            name, equals, value = word.partition("=")
            name = _SHORT.get(name, name.removeprefix("--"))
            head, dot, tail = name.partition(".")
            name = head.replace("_", "-") + dot + tail
            following = words[index] if index < len(words) else "--"
            if equals:
                yield name, value
            elif name in switches() or following.startswith("--") or following in _SHORT:
                yield name, None
            else:
                yield name, following
                index += 1
        elif not word.startswith("-"):  # -O3 and the like are no model
            yield "", word


def read(args: Sequence[str] | Mapping[str, Any]) -> ServeFlags:
    """Return what ``args`` say: a command line's words, or vLLM's `non-default args`.

    Raises UsageError for a value that is absurd or not of its option's type.
    """
    found = ServeFlags()
    given: list[str] = []
    for name, value in pairs(args):
        if name:
            given.append(name)
        found = _apply(found, name, value)
    return replace(found, given=tuple(given))


def pairs(args: Sequence[str] | Mapping[str, Any]) -> Iterator[tuple[str, str | None]]:
    """Yield (option, value or None) of a command line's words, or of `non-default args`."""
    if not isinstance(args, Mapping):
        yield from split(args)
        return
    for key, value in args.items():
        name = key.replace("_", "-")
        if value is True or value is None:
            yield name, None
        elif value is False:
            yield f"no-{name}", None
        else:
            yield name, value if isinstance(value, str) else json.dumps(value)


def _apply(flags: ServeFlags, name: str, value: str | None) -> ServeFlags:
    if name in _INTEGERS:
        low, high = _INTEGERS[name]
        return _with(flags, name, number(name, value, low, high))
    match name:
        case "" if value and value not in {"vllm", "serve"} and not flags.model:
            return replace(flags, model=value)
        case "model" | "model-tag":
            return replace(flags, model=value or "")
        case "max-model-len":
            auto = value in {"auto", "-1"}
            length = -1 if auto else number(name, value, 1, 10_000_000)
            return replace(flags, max_model_len=length)
        case "gpu-memory-utilization":
            return replace(flags, gpu_memory_utilization=_fraction(name, value))
        case "kv-cache-memory-bytes" | "kv-cache-memory":
            return replace(flags, kv_cache_memory_bytes=number(name, value, 1, 2**42))
        case "cpu-offload-gb":
            return replace(flags, cpu_offload_gb=_gib(name, value))
        case "kv-cache-dtype" | "quantization" | "dtype":
            return _with(flags, name, value or "")
        case "enforce-eager" | "language-model-only" | "enable-lora":
            return _with(flags, name, value != "false")
        case "async-scheduling":
            return replace(flags, async_scheduling=True)
        case "no-async-scheduling":
            return replace(flags, async_scheduling=False)
        case "limit-mm-per-prompt":
            return replace(flags, limits={**flags.limits, **limits(value or "")})
        case "speculative-config":
            return replace(flags, speculative=_speculative(value or ""))
    if name.startswith("limit-mm-per-prompt."):
        kind = name.split(".")[1]
        return replace(flags, limits={**flags.limits, kind: number(name, value, 0, 10**6)})
    return flags


def _with(flags: ServeFlags, name: str, value: Any) -> ServeFlags:
    return replace(flags, **{name.replace("-", "_"): value})


_INTEGERS = {
    "max-num-batched-tokens": (1, 10_000_000),
    "max-num-seqs": (1, 1_000_000),
    "block-size": (1, 4096),
    "num-gpu-blocks-override": (1, 10**9),
    "tensor-parallel-size": (1, 1024),
    "pipeline-parallel-size": (1, 1024),
    "data-parallel-size": (1, 1024),
    "max-loras": (1, 1024),
    "max-lora-rank": (1, 512),
}


def number(name: str, value: str | None, low: int, high: int) -> int:
    """Return a whole number, with vLLM's suffixes (k is 1,000 and K is 1,024).

    Raises UsageError when it is none, or out of bounds.
    """
    found = _NUMBER.fullmatch((value or "").strip().replace(",", "").replace("_", ""))
    result = float(found[1]) * _SCALES[found[2]] if found else -1.0
    if not found or result != int(result) or not low <= result <= high:
        raise UsageError(
            f"--{name} {value!r} is not possible.", fix=f"Give a whole number, {low} to {high:,}."
        )
    return int(result)


def _fraction(name: str, value: str | None) -> float:
    try:
        result = float(value or "")
    except ValueError:
        result = 0.0
    if not 0 < result <= 1:
        raise UsageError(f"--{name} {value!r} is not possible.", fix="Give a fraction, 0.05 to 1.")
    return result


def _gib(name: str, value: str | None) -> float:
    try:
        result = float(value or "")
    except ValueError:
        result = -1.0
    if not 0 <= result <= 4096:
        raise UsageError(f"--{name} {value!r} is not possible.", fix="Give GiB, 0 to 4096.")
    return result


def limits(text: str) -> dict[str, int]:
    """Return the counts of --limit-mm-per-prompt: JSON, or ``image=2,video=0``.

    Raises UsageError when it is neither.
    """
    text = text.strip()
    if text.startswith("{"):
        try:
            data = json.loads(text)
            return {
                kind: int(value["count"] if isinstance(value, dict) else value)
                for kind, value in data.items()
            }
        except (ValueError, TypeError, KeyError):
            raise UsageError(
                f"--limit-mm-per-prompt {text!r} is no JSON: its quotes were probably eaten.",
                fix="Write --limit-mm-per-prompt.image 0, or quote the JSON.",
            ) from None
    counts: dict[str, int] = {}
    for part in text.split(","):
        kind, equals, value = part.partition("=")
        if not equals or not value.strip().isdigit():
            raise UsageError(
                f"--limit-mm-per-prompt {text!r} can't be read.",
                fix='Write {"image": 0} or --limit-mm-per-prompt.image 0.',
            )
        counts[kind.strip()] = int(value)
    return counts


def _speculative(text: str) -> str:
    try:
        data = json.loads(text)
    except ValueError:
        raise UsageError(
            f"--speculative-config {text!r} is no JSON: its quotes were probably eaten.",
            fix="Quote it for the shell: '{\"model\": …}'.",
        ) from None
    return str(data.get("model") or data.get("method") or "") if isinstance(data, dict) else ""
