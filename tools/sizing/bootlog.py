"""What vLLM's start printed about memory: measured figures, in place of estimates."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tools.errors import UsageError
from tools.logs.launch_args import parse_args
from tools.sizing.accelerators import GIB
from tools.sizing.request import Measured

# Each line as vLLM 0.19 to 0.32 words it; the numbers are GiB, seconds or tokens.
_NUMBER = r"([\d.]+)"
_PATTERNS = {
    "version": r"(?:V1 LLM engine \(v?|\bversion) ?(\d[\w.+]*)",
    "weights_gib": rf"Model loading took {_NUMBER} GiB",
    "load_s": rf"Model loading took [\d.]+ GiB (?:memory )?and {_NUMBER} s",
    "read_s": rf"Loading weights took {_NUMBER} seconds",
    "checkpoint_gib": rf"Checkpoint size: {_NUMBER} GiB",
    "kv_gib": rf"(?:Available KV cache memory:|Current kv cache memory in use is) {_NUMBER} GiB",
    "kv_tokens": r"KV cache size: ([\d,]+) tokens",
    "length": r"Maximum concurrency for ([\d,]+) tokens per request",
    "concurrency": rf"Maximum concurrency for [\d,]+ tokens per request: {_NUMBER}x",
    "graphs_gib": rf"Graph capturing finished in [\d.]+ secs?, took {_NUMBER} GiB",
    "graphs_s": rf"Graph capturing finished in {_NUMBER} sec",
    "graphs_estimate_gib": rf"Estimated CUDA graph memory: {_NUMBER} GiB",
    "offloaded_gib": rf"Total CPU offloaded parameters: {_NUMBER}",
    "total_gib": rf"(?:Free memory on device[^(]*\([\d.]+/|total capacity of ){_NUMBER} GiB",
    "requested_gib": rf"[Dd]esired GPU memory utilization (?:is )?\([\d.]+, {_NUMBER} GiB",
    "activation_gib": rf"{_NUMBER} GiB for peak activation",
    "consumed_gib": rf"{_NUMBER} GiB for consumed memory",
    "non_torch_gib": rf"{_NUMBER} GiB for non-torch memory",
    "compile_s": rf"torch\.compile (?:takes|took) {_NUMBER} s",
    "start_s": rf"init engine .*?took {_NUMBER} s",
}
_COMPILED = {name: re.compile(pattern) for name, pattern in _PATTERNS.items()}
_ARGS = re.compile(r"non-default args: (\{.*\})")
# An older wording: one sentence with several figures.
_PROFILE = re.compile(
    rf"model weights take {_NUMBER}\s?GiB; non_torch_memory takes {_NUMBER}\s?GiB; "
    rf"PyTorch activation peak memory takes {_NUMBER}\s?GiB"
)


@dataclass(frozen=True)
class BootLog:
    """The figures of the last start in a log; absent ones are not in ``figures``."""

    figures: Mapping[str, float] = field(default_factory=dict)
    version: str = ""
    args: Mapping[str, Any] = field(default_factory=dict)
    quotes: Mapping[str, str] = field(default_factory=dict)  # figure → the line that said it
    source: str = ""

    @property
    def measured(self) -> Measured:
        """Return what replaces the band: weights and KV memory as this machine had them."""
        get = self.figures.get
        return Measured(
            weights=round(get("weights_gib", 0.0) * GIB),
            kv=round(get("kv_gib", 0.0) * GIB),
            graphs=round(get("graphs_gib", get("graphs_estimate_gib", 0.0)) * GIB),
            requested=self._requested(),
            tokens=int(get("kv_tokens", 0)),
            concurrency=get("concurrency", 0.0),
            source=self.source or "boot log",
        )

    def _requested(self) -> int:
        if "requested_gib" in self.figures:
            return round(self.figures["requested_gib"] * GIB)
        total = self.figures.get("total_gib", 0.0)
        share = self.args.get("gpu_memory_utilization", 0.92)
        return round(total * share * GIB) if isinstance(share, int | float) else 0

    def __bool__(self) -> bool:
        """Return whether anything about memory was found."""
        return bool(self.figures)


def parse(lines: Iterable[str], source: str = "boot log") -> BootLog:
    """Return the figures that stand in a log's lines; a later line replaces an earlier one.

    A new `non-default args` begins a new start, and what an earlier one measured is dropped.
    """
    figures: dict[str, float] = {}
    quotes: dict[str, str] = {}
    args: Mapping[str, Any] = {}
    version = ""
    for line in lines:
        found = _ARGS.search(line)
        if found:
            parsed = parse_args(found[1])
            if parsed:
                figures, quotes, args = {}, {}, parsed
        profile = _PROFILE.search(line)
        if profile:
            names = ("weights_gib", "non_torch_gib", "activation_gib")
            for name, text in zip(names, profile.groups(), strict=True):
                figures[name], quotes[name] = float(text), line.strip()
        for name, pattern in _COMPILED.items():
            match = pattern.search(line)
            if not match:
                continue
            if name == "version":
                version = version or match[1].rstrip(".")
                continue
            try:
                figures[name] = float(match[1].replace(",", "").rstrip("."))
            except ValueError:
                continue
            quotes[name] = line.strip()
    return BootLog(figures, version, args, quotes, source)


def read(path: str) -> BootLog:
    """Return the figures of a log file: text, JSON lines, or an export of Cloud Logging.

    Raises UsageError when the file can't be read, or says nothing about memory.
    """
    file = Path(path).expanduser()
    try:
        text = file.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise UsageError(
            f"{path} can't be read: {error.strerror}.", fix="Check the path."
        ) from None
    found = parse(texts(text), source=file.name)
    if not found:
        raise UsageError(
            f"{path} has no line about memory.",
            fix="Give vLLM's start: it prints 'Available KV cache memory' before it serves.",
        )
    return found


def texts(text: str) -> list[str]:
    """Return the messages of a log, oldest first, whatever form the export has."""
    stripped = text.lstrip()
    entries: list[Any] = []
    if stripped.startswith("["):
        try:
            entries = json.loads(text)
        except ValueError:
            entries = []
    elif stripped.startswith("{"):
        for line in text.splitlines():
            try:
                entries.append(json.loads(line))
            except ValueError:
                entries.append(line)
    if not entries:
        return text.splitlines()
    dated = [entry for entry in entries if isinstance(entry, dict) and entry.get("timestamp")]
    if len(dated) == len(entries):
        entries.sort(key=lambda entry: str(entry["timestamp"]))
    return [line for entry in entries for line in _message(entry).splitlines()]


def _message(entry: Any) -> str:
    if not isinstance(entry, dict):
        return str(entry)
    payload = entry.get("jsonPayload")
    inner = payload.get("message", "") if isinstance(payload, dict) else ""
    return str(entry.get("textPayload") or inner or entry.get("message") or "")
