"""Runs on disk: JSON lines with a schema, written while they are measured, sealed with a hash.

The first line says what was measured and how (the provenance), then comes a line per cell, and at
the end the SHA-256 of all lines before it. A file without its last line is a run that was killed:
it is read, and said to be unfinished.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson

from tools.errors import StateError, UsageError
from tools.load.summary import CellSummary

SCHEMA = 1
MAX_FILE = 1024 * 1024 * 1024  # bytes
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}\Z")


@dataclass(frozen=True, slots=True)
class Cell:
    """One measured, skipped or imported cell.

    ``samples`` are milliseconds of single requests by name (ttft, tpot, e2e), a random part of
    them where there were many; empty where only aggregates are known.
    """

    input: int | None  # tokens; None: not known
    output: int | None
    concurrency: int | None = None
    rate: float | None = None
    repeat: int = 0
    summary: CellSummary | None = None
    skip: str = ""
    samples: Mapping[str, list[float]] = field(default_factory=dict)

    @property
    def load(self) -> str:
        """Return the load in words."""
        return f"{self.rate:g}/s" if self.rate else f"c={self.concurrency}"

    def to_json(self) -> dict[str, Any]:
        """Return the cell as JSON values."""
        return {
            "kind": "cell",
            "input": self.input,
            "output": self.output,
            "concurrency": self.concurrency,
            "rate": self.rate,
            "repeat": self.repeat,
            "skip": self.skip,
            "summary": self.summary.to_json() if self.summary else None,
            "samples": dict(self.samples),
        }


@dataclass(frozen=True, slots=True)
class Run:
    """A run: its provenance (see ``run.schema.json``) and its cells."""

    provenance: Mapping[str, Any]
    cells: tuple[Cell, ...]
    sha256: str = ""  # "": unfinished
    path: Path | None = None
    end: Mapping[str, Any] = field(default_factory=dict)  # how it went, and what a search found

    @property
    def id(self) -> str:
        """Return the run's id."""
        return str(self.provenance["id"])

    @property
    def finished(self) -> bool:
        """Tell whether the run was closed."""
        return bool(self.sha256)

    @property
    def measured(self) -> tuple[Cell, ...]:
        """Return the cells that have figures."""
        return tuple(cell for cell in self.cells if cell.summary is not None)

    def get(self, name: str) -> Any:
        """Return a field of the provenance, None where it is not known."""
        return self.provenance.get(name)


def new_id(now: datetime | None = None) -> str:
    """Return an id that sorts by time."""
    when = (now or datetime.now(UTC)).strftime("%Y%m%d-%H%M%S")
    return f"{when}-{secrets.token_hex(2)}"


class RunWriter:
    """Write a run line by line; a context manager that seals the file, whatever happens."""

    def __init__(self, folder: Path, provenance: Mapping[str, Any]) -> None:
        self.provenance = {"kind": "run", "schema": SCHEMA, **provenance}
        self.path = folder / f"{check_id(str(provenance['id']))}.jsonl"
        self._hash = hashlib.sha256()
        self._sealed = False
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._file = self.path.open("xb")
            self._write(self.provenance)
        except OSError as error:
            raise StateError(f"{self.path} can't be written: {error.strerror or error}.") from error

    def __enter__(self) -> RunWriter:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def add(self, cell: Cell) -> None:
        """Add a cell; it is on disk when this returns."""
        self._write(cell.to_json())

    def close(self, **end: Any) -> None:
        """Write the last line, with what ``end`` says of how the run went."""
        if self._sealed:
            return
        self._sealed = True
        before = self._hash.hexdigest()
        self._write({"kind": "end", **end, "sha256": before})
        self._file.close()

    def _write(self, told: Mapping[str, Any]) -> None:
        line = orjson.dumps(told) + b"\n"
        self._file.write(line)
        self._file.flush()
        self._hash.update(line)


def write_run(folder: Path, run: Run) -> Path:
    """Write a whole run, such as an imported one, and return its path."""
    with RunWriter(folder, run.provenance) as writer:
        for cell in run.cells:
            writer.add(cell)
    return writer.path


def read_run(path: Path) -> Run:
    """Return the run of a file.

    Raises UsageError for a file that is none, or whose lines were changed after it was sealed.
    """
    try:
        if path.stat().st_size > MAX_FILE:
            raise UsageError(f"{path} is too large for a run.")
        data = path.read_bytes()
    except OSError as error:
        raise UsageError(f"{path} can't be read: {error.strerror or error}.") from error
    provenance: Mapping[str, Any] | None = None
    cells: list[Cell] = []
    sealed = ""
    end: Mapping[str, Any] = {}
    digest = hashlib.sha256()
    for number, line in enumerate(data.splitlines(keepends=True), 1):
        if sealed:
            raise UsageError(f"{path}:{number} stands behind the end of the run.")
        try:
            told = orjson.loads(line)
            kind = told["kind"]
            if kind == "end":
                sealed = str(told["sha256"])
                if sealed != digest.hexdigest():
                    raise UsageError(
                        f"{path} was changed after its run ended: its hash does not hold.",
                        fix="Use the original file.",
                    )
                end = told
                continue
            digest.update(line)
            if kind == "run":
                provenance = _provenance(told, path)
            elif kind == "cell":
                cells.append(_cell(told))
        except (ValueError, KeyError, TypeError) as error:
            if not line.endswith(b"\n"):  # killed in the middle of a line
                break
            raise UsageError(f"{path}:{number} is not a line of a run: {error}.") from error
    if provenance is None:
        raise UsageError(f"{path} is not a run.", fix="Import results with `bench import`.")
    return Run(provenance, tuple(cells), sealed, path, end)


def find_run(folder: Path, name: str) -> Run:
    """Return a run by id, by an unambiguous start or end of it, by ``latest``, or by path."""
    if name.endswith(".jsonl") or "/" in name:
        return read_run(Path(name))
    paths = run_paths(folder)
    if name == "latest" and paths:
        return read_run(paths[0])
    found = [path for path in paths if path.stem == name]
    found = found or [p for p in paths if p.stem.startswith(name) or p.stem.endswith(name)]
    if len(found) == 1:
        return read_run(found[0])
    if found:
        raise UsageError(f"{len(found)} runs match {name!r}.", fix="Give more of the id.")
    raise UsageError(f"There is no run {name!r}.", fix="`gemma-sre bench list` shows them.")


def run_paths(folder: Path) -> list[Path]:
    """Return the files of runs, newest first."""
    if not folder.is_dir():
        return []
    return sorted(
        folder.glob("*.jsonl"), key=lambda path: (path.stat().st_mtime, path.name), reverse=True
    )


def list_runs(folder: Path) -> Iterator[Run | UsageError]:
    """Yield the runs, newest first, and for a file that can't be read the reason."""
    for path in run_paths(folder):
        try:
            yield read_run(path)
        except UsageError as error:
            yield error


def check_id(name: str) -> str:
    """Return an id that is safe as a file's name; raises UsageError."""
    if not _ID.match(name):
        raise UsageError(
            f"{name!r} can't be the id of a run.", fix="Use letters, digits, dots and dashes."
        )
    return name


def state_row(run: Run) -> dict[str, Any]:
    """Return a run as a row for ``state.db``; the whole of it stays in its file."""
    best = max((c.summary.output_tokens_per_s for c in run.measured if c.summary), default=None)
    return {
        "id": run.id,
        "started": run.get("started"),
        "source": run.get("source"),
        "model": run.get("model"),
        "endpoint": run.get("endpoint"),
        "vllm_version": run.get("vllm_version"),
        "accelerator": run.get("accelerator"),
        "cells": len(run.measured),
        "best_output_tokens_per_s": best,
        "sha256": run.sha256,
        "path": str(run.path or ""),
        "provenance": orjson.dumps(dict(run.provenance)).decode(),
    }


def _provenance(told: Mapping[str, Any], path: Path) -> Mapping[str, Any]:
    if told.get("schema") != SCHEMA:
        raise UsageError(
            f"{path} has schema {told.get('schema')!r}; this version reads {SCHEMA}.",
            fix="Use the version of gemma-sre that wrote it.",
        )
    for name in ("id", "source"):
        if not isinstance(told.get(name), str):
            raise KeyError(name)
    return told


def _cell(told: Mapping[str, Any]) -> Cell:
    summary = told.get("summary")
    return Cell(
        input=told["input"],
        output=told["output"],
        concurrency=told.get("concurrency"),
        rate=told.get("rate"),
        repeat=told.get("repeat", 0),
        summary=CellSummary.from_json(summary) if summary else None,
        skip=told.get("skip", ""),
        samples=told.get("samples", {}),
    )
