"""Tracebacks about one request: the words in them may be its caller's.

A request can make the server raise, and choose the message (``Unknown part type: …``): the
attack that AIOpsDoom describes. The traceback stays, since where it was raised is the server's
own; of its messages only wordings that are known to be the server's own are kept.
"""

from __future__ import annotations

from dataclasses import replace

from tools.domain import Block, ExceptionNote, LogRecord, Origin
from tools.logs.prefix import split_prefix
from tools.logs.traceback_rules import is_request_frame, traceback_rules

PLACEHOLDER = "⟨message⟩"


def is_request_error(block: Block) -> bool:
    """Tell whether the traceback passed through the handling of one request."""
    return any(is_request_frame(frame) for note in block.exceptions for frame in note.frames)


def without_caller_words(block: Block) -> Block:
    """Return the block with the messages of a request's traceback replaced.

    Lines that hold such a message become the caller's, so that no rule takes them for evidence.
    """
    if not is_request_error(block):
        return block
    lines = block.text.split("\n")
    records = list(block.records)
    exceptions: list[ExceptionNote] = []
    for note in block.exceptions:
        own = _own_words(note.message)
        message = f"{own}{PLACEHOLDER}" if own and own != note.message else own or PLACEHOLDER
        first, *rest = note.lines
        lines[first] = f"{note.type}: {message}"
        records[first] = _rewritten(records[first], lines[first], by_caller=not own)
        for index in rest:
            lines[index] = PLACEHOLDER
            records[index] = _rewritten(records[index], PLACEHOLDER, by_caller=True)
        exceptions.append(replace(note, message=message))
    return replace(
        block, text="\n".join(lines), records=tuple(records), exceptions=tuple(exceptions)
    )


def _own_words(message: str) -> str:
    return next((words for words in traceback_rules().own_words if message.startswith(words)), "")


def _rewritten(record: LogRecord, line: str, *, by_caller: bool) -> LogRecord:
    prefix = record.text[: split_prefix(record.text).length]
    origin = Origin.CALLER if by_caller else record.origin
    return replace(record, text=prefix + line, origin=origin)
