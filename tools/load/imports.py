"""Read results that other programs wrote, and say what they leave out.

Known are grids in CSV (concurrency by context length), and the result files of ``vllm bench
serve`` (vLLM 0.8 and later, ``--save-result``), guidellm (0.3 and later, JSON) and aiperf
(``profile_export_aiperf.json``). What a file does not say stays unknown; it is never assumed.
"""

from __future__ import annotations

import csv
import hashlib
import io
import math
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from tools.errors import UsageError
from tools.load.imported_cells import make_summary
from tools.load.imported_json import from_aiperf, from_guidellm, from_vllm
from tools.load.runs import Cell, Run, check_id

MAX_FILE = 512 * 1024 * 1024  # bytes
_CONTEXT = ("context_len", "context_size", "input_len")
_THROUGHPUT = ("throughput", "req_per_sec", "throughput_req_sec")


@dataclass(frozen=True, slots=True)
class Said:
    """What the person who imports a file knows of it; empty where the file itself tells."""

    model: str = ""
    label: str = ""
    output: int | None = None
    prompts: str = ""  # "identical" | "unique" | "file"
    accelerator: str = ""
    vllm_version: str = ""


def import_file(path: Path, said: Said | None = None) -> Run:
    """Return the run of a result file; raises UsageError for one that is not understood."""
    said = said or Said()
    try:
        if path.stat().st_size > MAX_FILE:
            raise UsageError(f"{path} is too large.")
        data = path.read_bytes()
    except OSError as error:
        raise UsageError(f"{path} can't be read: {error.strerror or error}.") from error
    digest = hashlib.sha256(data).hexdigest()
    known = _known(digest)
    told: dict[str, Any]
    cells: list[Cell]
    if data.lstrip()[:1] in (b"{", b"["):
        told, cells = _json(data, path)
    else:
        output = said.output if said.output is not None else known.get("output")
        told, cells = _grid(data, path, output)
    if not cells:
        raise UsageError(f"{path} has no results.")
    model = said.model or known.get("model") or told.get("model")
    provenance = {
        "kind": "run",
        "schema": 1,
        "id": check_id(f"import-{path.stem[:40]}-{digest[:8]}".replace(" ", "_")),
        "source": told["source"],
        "started": told.get("started"),
        "endpoint": told.get("endpoint"),
        "model": model,
        "label": said.label or model,
        "vllm_version": said.vllm_version or None,
        "accelerator": said.accelerator or known.get("accelerator"),
        "loop": told.get("loop"),
        "prompts": {
            "kind": said.prompts or known.get("prompts") or told.get("prompts"),
            "ignore_eos": told.get("ignore_eos"),
            "thinking": None,
            "temperature": told.get("temperature"),
        },
        "file": path.name,
        "file_sha256": digest,
        "known_as": known.get("source"),
        "also_published_as": known.get("also_published_as") or None,
    }
    return Run(provenance, tuple(cells))


def _known(digest: str) -> Mapping[str, Any]:
    text = Path(__file__).with_name("known_results.toml").read_text("utf-8")
    for row in tomllib.loads(text)["result"]:
        if row["sha256"] == digest:
            found: Mapping[str, Any] = row
            return found
    return {}


def _json(data: bytes, path: Path) -> tuple[dict[str, Any], list[Cell]]:
    # `vllm bench serve --append-result` writes one object per line.
    try:
        whole = orjson.loads(data)
        rows = whole if isinstance(whole, list) else [whole]
    except ValueError:
        try:
            rows = [orjson.loads(line) for line in data.splitlines() if line.strip()]
        except ValueError as error:
            raise UsageError(f"{path} is neither JSON nor JSON lines: {error}.") from error
    objects = [row for row in rows if isinstance(row, dict)]
    readers: tuple[tuple[str, Callable[..., tuple[dict[str, Any], list[Cell]]]], ...] = (
        ("benchmarks", from_guidellm),
        ("request_throughput", from_vllm),
    )
    try:
        for row in objects[:1]:
            if isinstance(row.get("request_throughput"), dict):
                return from_aiperf(objects)
            for key, read in readers:
                if key in row:
                    return read(objects)
    except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
        raise UsageError(
            f"{path} looks like a known result file, but {type(error).__name__} {error} stopped "
            "its reading.",
            fix="It may be of a newer version.",
        ) from error
    raise UsageError(
        f"{path} is not a result file that is known.",
        fix="Known: CSV grids, `vllm bench serve --save-result`, guidellm JSON, aiperf JSON.",
    )


def _grid(data: bytes, path: Path, output: int | None) -> tuple[dict[str, Any], list[Cell]]:
    try:
        rows = list(csv.DictReader(io.StringIO(data.decode("utf-8-sig"))))
    except (UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"{path} is not CSV: {error}.") from error
    if not rows:
        raise UsageError(f"{path} has no rows.")
    names = set(rows[0])
    context = next((name for name in _CONTEXT if name in names), "")
    rate = next((name for name in _THROUGHPUT if name in names), "")
    if "concurrency" not in names or not context or not rate:
        raise UsageError(
            f"{path} lacks columns: a grid has concurrency, one of {', '.join(_CONTEXT)}, and "
            f"one of {', '.join(_THROUGHPUT)}."
        )
    cells = []
    for number, row in enumerate(rows, 2):
        try:
            cells.append(_row(row, context, rate, output))
        except (TypeError, ValueError) as error:
            raise UsageError(f"{path}:{number} is not a row of a grid: {error}.") from error
    return {"source": "csv-grid", "loop": "closed"}, cells


def _row(row: Mapping[str, str], context: str, rate: str, output: int | None) -> Cell:
    def number(name: str) -> float | None:
        value = row.get(name)
        if value in (None, ""):
            return None
        found = float(value)
        if not math.isfinite(found):
            raise ValueError(f"{name} is {value}")
        return found

    requests = number(rate) or 0.0
    tokens = number("tokens_per_sec")
    success = number("success_rate")
    level = int(row["concurrency"])
    good, bad = number("num_success"), number("num_failure")
    attempted = int(good + bad) if good is not None and bad is not None else level
    succeeded = int(good) if good is not None else round(attempted * (success or 0.0))
    if output is None and tokens and requests:
        output = round(tokens / requests)
    if tokens is None:
        tokens = requests * output if output is not None else 0.0
    # These grids count a sequence of n words as n tokens; the chat template is not in it.
    size = int(row[context])
    mean, p95 = number("avg_latency"), number("p95_latency")
    summary = make_summary(
        seconds=number("total_time") or 0.0,
        attempted=attempted,
        succeeded=succeeded,
        requests_per_s=requests,
        output_tokens_per_s=tokens,
        prompt_tokens_per_s=requests * size,
        e2e={"mean": _ms(mean), "p95": _ms(p95)},
        held=level,
        notes=()
        if good is not None
        else ("the file does not say how many requests were made; shares are of the concurrency",),
    )
    return Cell(input=size, output=output, concurrency=level, summary=summary)


def _ms(seconds: float | None) -> float | None:
    return None if seconds is None else seconds * 1000
