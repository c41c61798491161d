"""Blocks made by hand, so that these tests need no reader of logs."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from runbooks.catalog import Catalog
from tools.domain import Block, ExceptionNote, LogRecord, Origin

START = datetime(2026, 6, 6, 3, 40, tzinfo=UTC)

Line = Callable[..., Block]
Traceback = Callable[..., Block]


@pytest.fixture(scope="session")
def library() -> Catalog:
    return Catalog.load()


@pytest.fixture
def line() -> Line:
    def make(
        text: str, *, origin: Origin = Origin.PROCESS, second: int = 0, ref: str = ""
    ) -> Block:
        record = LogRecord(
            ref or f"line-{second}", text, time=START + timedelta(seconds=second), origin=origin
        )
        return Block("line", text, (record,))

    return make


@pytest.fixture
def traceback() -> Traceback:
    """Make a block of one record a line, as the reassembly of a Cloud Run log does."""

    def make(
        exception: str,
        *,
        frames: tuple[str, ...] = ('  File "core.py", line 1, in run',),
        second: int = 0,
        origins: dict[int, Origin] | None = None,
    ) -> Block:
        lines = ["Traceback (most recent call last):", *frames, *exception.split("\n")]
        head = 1 + len(frames)
        records = tuple(
            LogRecord(
                f"tb-{second}-{index}",
                f"(EngineCore pid=119) {text}",
                time=START + timedelta(seconds=second),
                origin=(origins or {}).get(index, Origin.PROCESS),
            )
            for index, text in enumerate(lines)
        )
        kind, _, message = exception.partition(": ")
        note = ExceptionNote(kind, message, tuple(range(head, len(lines))))
        return Block("traceback", "\n".join(lines), records, exceptions=(note,))

    return make
