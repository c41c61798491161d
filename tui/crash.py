"""What is kept of an unexpected error, for a bug report."""

from __future__ import annotations

import os
import traceback
from datetime import UTC, datetime
from pathlib import Path

_LIMIT = 1_000_000  # bytes; past it the file starts anew, so that it never fills a disk


def log_path() -> Path:
    """Return where the log is: beside ``state.db``, wherever that was put."""
    state = os.environ.get("GEMMA_SRE_STATE", "")
    if state:
        return Path(state).expanduser().with_name("gemma-sre.log")
    from platformdirs import user_state_path

    return user_state_path("gemma-sre") / "gemma-sre.log"


def record(error: BaseException) -> Path | None:
    """Append the traceback to the log and return its path; None if it can't be written.

    A traceback holds code and messages, never the values of variables. Messages may quote a
    request, so what looks like a credential is taken out.
    """
    text = "".join(traceback.format_exception(error))
    path = log_path()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        fresh = path.exists() and path.stat().st_size > _LIMIT
        with path.open("w" if fresh else "a", encoding="utf-8", errors="replace") as log:
            log.write(f"--- {datetime.now(UTC).isoformat(timespec='seconds')}\n{_redact(text)}\n")
    except OSError:
        return None
    return path


def _redact(text: str) -> str:
    import re

    text = re.sub(r"(?i)\b(bearer|basic)\s+[\w.~+/=-]+", r"\1 [removed]", text)
    text = re.sub(r"\b(?:hf_|sk-|ya29\.|AIza|eyJ)[\w.~+/=-]{8,}", "[removed]", text)
    return re.sub(
        r"(?i)((?:token|key|secret|password)['\"]?\s*[=:]\s*['\"]?)[^\s'\"&,]+",
        r"\1[removed]",
        text,
    )


def watch_loop() -> None:
    """Keep what a background task of the running loop fails with, instead of printing it."""
    import asyncio

    def handle(loop: asyncio.AbstractEventLoop, context: dict[str, object]) -> None:
        del loop
        error = context.get("exception")
        if isinstance(error, BaseException):
            record(error)

    if os.environ.get("GEMMA_SRE_DEBUG") != "1":
        asyncio.get_running_loop().set_exception_handler(handle)
