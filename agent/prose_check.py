"""Which sentences of a model may stand in a runbook: those that the evidence bears out.

The checks can be wrong in one direction only: a true sentence may be dropped, and is counted.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from runbooks.draft_case import DraftCase, join_ids
from runbooks.lint import PROGRAMS
from runbooks.shell import known_options
from tools.logs.canonical import canonical_text

MAX_SENTENCE = 400  # characters
ADVICE = "(The model's advice, not tested.)"
_IDS = re.compile(r"\s*\[?\bE\d{1,3}\b\]?")
_QUOTED = re.compile(r"[\"“]([^\"“”]{3,})[\"”]|`([^`]+)`|(?<!\w)'([^']{3,})'(?!\w)")
_NUMBER = re.compile(r"\d+(?:[.,]\d+)*")
_OPTION = re.compile(r"(?<![\w-])--[a-z][a-z0-9-]*")
_NAME = re.compile(r"\b(?:[A-Za-z]\w*_\w+|[A-Z][a-z]+\w*[A-Z]\w+)\b")
_URL = re.compile(r"https?://|www\.")
_MARKUP = re.compile(r"^[\s#>*-]+|<\|?/?\w+\|?>|[<>|\[\]]")
_COMMAND = re.compile(rf"\b(?:{'|'.join(PROGRAMS)}|sudo|rm|kubectl|pip|kill) [-a-z]")


@dataclass(frozen=True, slots=True)
class Checked:
    """A model's sentences: those that may stand, as they will, and those that may not and why."""

    kept: tuple[str, ...] = ()
    dropped: tuple[tuple[str, str], ...] = ()  # reason, sentence


def check_sentences(sentences: Iterable[Mapping[str, Any]], case: DraftCase) -> Checked:
    """Judge ``{"text", "evidence", "kind"}`` one by one; the ids are written by code."""
    kept: list[str] = []
    dropped: list[tuple[str, str]] = []
    for item in sentences:
        said = _cleaned(str(item.get("text", "")))
        ids = tuple(dict.fromkeys(map(str, item.get("evidence") or ())))
        problem = _problem(said, ids, str(item.get("kind", "fact")), case)
        if problem:
            dropped.append((problem, said[:MAX_SENTENCE]))
        elif ids:
            kept.append(f"{said.rstrip('.')} {join_ids(ids)}.")
        else:
            kept.append(f"{said.rstrip('.')}. {ADVICE}")
    return Checked(tuple(kept), tuple(dropped))


def _cleaned(text: str) -> str:
    one_line = " ".join(canonical_text(text).split())
    return _IDS.sub("", _MARKUP.sub(" ", one_line)).replace(" .", ".").strip()


def _problem(said: str, ids: Sequence[str], kind: str, case: DraftCase) -> str:
    if len(said) < 8 or len(said) > MAX_SENTENCE:
        return "it is empty or too long"
    known = {item.id: item.text for item in case.evidence}
    if any(ref not in known for ref in ids):
        return "it cites evidence that does not exist"
    if kind != "advice" and not ids:
        return "it states a fact without evidence"
    if _URL.search(said) or _COMMAND.search(said):
        return "it holds a command or an address"
    # Advice may speak of anything that was seen; a fact only of what it cites.
    texts = [known[ref] for ref in ids] or list(known.values())
    options = {f"--{name.replace('_', '-')}" for name in (case.launch.args if case.launch else ())}
    for option in _OPTION.findall(said):
        if option not in options and option not in known_options("vllm"):
            return f"it names an option that does not exist, {option}"
    for groups in _QUOTED.findall(said):
        quote = next(filter(None, groups))
        if not any(quote in text for text in texts) and not _OPTION.fullmatch(quote):
            return "its evidence does not hold what it quotes"
    for number in _NUMBER.findall(said):
        if not any(
            re.search(rf"(?<![\d.]){re.escape(number)}(?![\d])", text) for text in texts
        ) and (not _inside_name(number, said, texts)):
            return "it gives a number that its evidence does not hold"
    for name in _NAME.findall(said):
        if not any(name in text for text in texts) and name not in options:
            return "it names something that its evidence does not"
    return ""


def _inside_name(number: str, said: str, texts: Sequence[str]) -> bool:
    """Say whether the digits belong to a word that the evidence holds whole, such as W4A8."""
    words = [word.strip(".,;:()'\"`") for word in said.split() if number in word]
    return bool(words) and all(any(word in text for text in texts) for word in words)
