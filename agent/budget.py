"""What goes into the window: never more than fits, and compaction that keeps the core.

Compaction is deterministic and costs no model call. It goes only as far as it must: superseded
results, then older results, then earlier turns, then whole steps, folded into one line each with
their evidence ids and the reference under which the whole output stays readable.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from agent.messages import Message
from agent.tokens import text_of

# Kept free of the window, so that input and output never reach it together.
MARGIN = 64
DEFAULT_WINDOW = 4096
MAX_ANSWER = 1024
# More, when the model thinks before it answers.
MAX_THOUGHT = 2048
# System prompt and tool schemas of any request.
OVERHEAD = 1500
DONE = "\n\nDone so far:\n"
_DONE_LIMIT = 1200  # characters
_LINE = 150
_EVIDENCE = re.compile(r"\[?\bE\d{1,3}\b\]?")

Measure = Callable[[Sequence[Message]], int]


@dataclass(frozen=True, slots=True)
class Compacted:
    """What may be sent; ``level`` 0 means that nothing had to go."""

    messages: list[Message]
    level: int = 0


def answer_room(window: int, used: int, *, thinking: bool = False) -> int:
    """Return how many tokens an answer may take, at least 0."""
    most = MAX_THOUGHT if thinking else MAX_ANSWER
    return max(0, min(most, (window or DEFAULT_WINDOW) - used - MARGIN))


def input_limit(window: int, *, thinking: bool = False) -> int:
    """Return how many tokens a request may take, so that an answer of use still fits."""
    size = window or DEFAULT_WINDOW
    room = min(MAX_THOUGHT if thinking else MAX_ANSWER, size // 6)
    return max(0, size - MARGIN - room)


def compact(messages: Sequence[Message], limit: int, measure: Measure) -> Compacted:
    """Return the messages, cut no more than needed for ``limit`` tokens as ``measure`` counts."""
    kept = [Message(**message) for message in messages]
    if measure(kept) <= limit:
        return Compacted(kept)
    for level, step in enumerate(_STEPS, 1):
        for version in step(kept):
            kept = version
            if measure(kept) <= limit:
                return Compacted(kept, level)
    return Compacted(_cut_longest(kept, limit, measure), len(_STEPS) + 1)


def _superseded(messages: list[Message]) -> Iterator[list[Message]]:
    # The same tool asked again: the newest result is the one that counts.
    newest: dict[str, int] = {}
    names = _call_names(messages)
    for index, message in enumerate(messages):
        if message.get("role") == "tool":
            newest[names.get(message["tool_call_id"], "")] = index
    kept = list(messages)
    for index, message in enumerate(messages):
        if message.get("role") != "tool":
            continue
        name = names.get(message["tool_call_id"], "")
        if name and newest[name] != index:
            kept[index] = _shortened(message, "superseded: ")
    yield kept


def _older_results(messages: list[Message]) -> Iterator[list[Message]]:
    head, steps = _split(messages)
    if len(steps) > 1:
        older = [
            _shortened(message) if message.get("role") == "tool" else message
            for step in steps[:-1]
            for message in step
        ]
        yield [*head, *older, *steps[-1]]


def _earlier_turns(messages: list[Message]) -> Iterator[list[Message]]:
    head, steps = _split(messages)
    if len(head) > 2:
        yield [head[0], head[-1], *(message for step in steps for message in step)]


def _fold_steps(messages: list[Message]) -> Iterator[list[Message]]:
    # One step after the other joins the question as a line, the last two stay as long as they can.
    for _ in range(len(messages)):
        head, steps = _split(messages)
        if len(steps) < 2:
            return
        messages = [
            *head[:-1],
            _with_done(head[-1], _lines(steps[0])),
            *(message for step in steps[1:] for message in step),
        ]
        yield messages


def _last_results(messages: list[Message]) -> Iterator[list[Message]]:
    for share in (600, 200):
        yield [
            Message(**{**message, "content": _cut_middle(text_of(message), share)})
            if message.get("role") == "tool"
            else message
            for message in messages
        ]


def _fold_all(messages: list[Message]) -> Iterator[list[Message]]:
    head, steps = _split(messages)
    if steps:
        lines = [line for step in steps for line in _lines(step)]
        yield [*head[:-1], _with_done(head[-1], lines)]


_STEPS = (_superseded, _older_results, _earlier_turns, _fold_steps, _last_results, _fold_all)


def _split(messages: list[Message]) -> tuple[list[Message], list[list[Message]]]:
    """Return what stands up to the question, and the steps after it, each with its results."""
    last = max((i for i, m in enumerate(messages) if m.get("role") == "user"), default=0)
    steps: list[list[Message]] = []
    for message in messages[last + 1 :]:
        if message.get("role") == "tool" and steps:
            steps[-1].append(message)
        else:
            steps.append([message])
    return messages[: last + 1], steps


def _call_names(messages: Sequence[Message]) -> dict[str, str]:
    return {
        call["id"]: f"{call['function']['name']}"
        for message in messages
        for call in message.get("tool_calls") or ()
    }


def _shortened(message: Message, prefix: str = "") -> Message:
    text = text_of(message)
    if len(text) <= _LINE:
        return message
    line = " ".join(text.split("\n")[0].split())[:_LINE]
    ids = " ".join(dict.fromkeys(_EVIDENCE.findall(text[len(line) :])))
    reference = f" (whole: read_output {message['tool_call_id']})"
    return Message(**{**message, "content": f"{prefix}{line} […] {ids}".rstrip() + reference})


def _lines(step: list[Message]) -> list[str]:
    names = _call_names(step)
    lines = []
    plan = " ".join(text_of(step[0]).split())[:_LINE]
    if plan and step[0].get("role") == "assistant":
        lines.append(f"- said: {plan}")
    for message in step:
        if message.get("role") == "tool":
            reference = message["tool_call_id"]
            text = text_of(_shortened(message))
            name = names.get(reference, "?")
            lines.append(f"- {name} [{reference}]: {text}")
    return lines


def _with_done(question: Message, lines: list[str]) -> Message:
    text, _, done = text_of(question).partition(DONE)
    all_lines = [*(done.split("\n") if done else []), *lines]
    # What the model itself said is kept of the last step only: the plan as it stands.
    said = [line for line in all_lines if line.startswith("- said:")][-1:]
    all_lines = [line for line in all_lines if not line.startswith("- said:")]
    while len("\n".join(all_lines)) > _DONE_LIMIT and len(all_lines) > 1:
        del all_lines[0]
    return Message(role="user", content=text + DONE + "\n".join([*all_lines, *said]))


def _cut_longest(messages: list[Message], limit: int, measure: Measure) -> list[Message]:
    # Nothing but the system prompt and the question is left: the question is cut in its middle,
    # as it begins with the verdict and ends with what was asked.
    for _ in range(24):
        over = measure(messages) - limit
        if over <= 0 or len(messages) < 2:
            break
        longest = max(range(1, len(messages)), key=lambda i: len(text_of(messages[i])))
        text = text_of(messages[longest])
        keep = max(0, min(len(text) - 32, len(text) * 4 // 5))
        cut = Message(**messages[longest])
        cut["content"] = _cut_middle(text, keep)
        messages = [*messages[:longest], cut, *messages[longest + 1 :]]
    return messages


def _cut_middle(text: str, keep: int) -> str:
    if len(text) <= keep:
        return text
    tail = keep * 2 // 5
    return f"{text[: keep - tail]}\n[…]\n{text[len(text) - tail :] if tail else ''}"


def offered(tools: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the ``tools`` field of a request: left out when empty, as vLLM refuses ``[]``."""
    return {"tools": list(tools)} if tools else {}
