"""Learn a signature: an expression from a failure's own words, tried before it is believed.

The most general expression that passes is taken. It must match the evidence and the same words
with other values (another model, layer, card, size, instance); it must match no example of another
runbook, nothing that the log said before the failure, and no line of a healthy start.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources

from runbooks.catalog import Catalog
from runbooks.draft_words import Part, expression, letters, split_words, varied
from runbooks.pattern import MAX_PATTERN, PatternError, compile_pattern
from runbooks.rule import On, Rule
from runbooks.runbook import Example

# An expression with fewer letters of its own would match what it was not made for.
MIN_LETTERS = 16
VARIANTS = 6
MAX_FIRST = 400  # characters of a message's line that enter an expression
MAX_LINES = 4


@dataclass(frozen=True, slots=True)
class Spoken:
    """The words that a failure is recognised by.

    ``type`` is the exception's, "" for a line that is none; ``frame`` the innermost function that
    is not plumbing; ``values`` what is known to vary, such as the model's name.
    """

    on: On
    message: str
    type: str = ""
    frame: str = ""
    values: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """Return the words as a rule sees them."""
        return f"{self.type}: {self.message}" if self.type else self.message


@dataclass(frozen=True, slots=True)
class Signature:
    """A rule that passed, the case that it was made from, and what it was tried on.

    ``overlaps`` are runbooks left out of the trial whose examples it matches.
    """

    rule: Rule
    example: Example
    variants: tuple[str, ...]
    must_match: int
    must_not_match: int
    overlaps: tuple[str, ...] = ()


class NoSignature(ValueError):
    """No expression tells this failure from others; the text says what the last one matched."""


@cache
def healthy_lines() -> tuple[str, ...]:
    """Return the lines of a healthy start that ship with the package."""
    text = (resources.files("runbooks") / "healthy_start.txt").read_text("utf-8")
    return tuple(line for line in text.splitlines() if line and not line.startswith("#"))


def learn_signature(
    spoken: Spoken,
    catalog: Catalog,
    *,
    left_out: Catalog,
    also: Collection[str] = (),
    before: Collection[str] = (),
) -> Signature:
    """Return the most general signature that passes every trial.

    ``catalog`` holds the runbooks whose lines it must not match, ``left_out`` those that the draft
    is to stand in for; ``also`` are further texts of the failure, ``before`` is what the log said
    before it. Raises NoSignature.
    """
    never = (*_library_texts(catalog), *(("the log before the failure", t) for t in before))
    never = (*never, *(("a healthy start", line) for line in healthy_lines()))
    reason = "its message has too few words of its own"
    for pattern, texts in _candidates(spoken):
        problem = _problem(pattern, [*texts, *also], never)
        if problem:
            reason = problem
            continue
        compiled = compile_pattern(pattern)
        overlaps = sorted(
            {name for name, text in _library_texts(left_out) if compiled.search(text)}
        )
        return Signature(
            rule=Rule(line=pattern, on=spoken.on if not pattern.startswith("(?s)in ") else "line"),
            example=Example(lines=(texts[0],)),
            variants=tuple(texts[1:]),
            must_match=len(texts) + len(also),
            must_not_match=len(never),
            overlaps=tuple(overlaps),
        )
    raise NoSignature(reason)


def _candidates(spoken: Spoken) -> Iterator[tuple[str, list[str]]]:
    """Yield expressions with the texts that each must match, the most general first."""
    lines = [line for line in spoken.message.split("\n") if line.strip()][:MAX_LINES]
    lines = [line.strip()[:MAX_FIRST] for line in lines]
    head = rf"\b{_type(spoken.type)}: " if spoken.type else ""
    for count, keep in ((1, False), (2, False), (1, True), (3, False), (4, True)):
        chosen = [split_words(line, spoken.values) for line in lines[:count]]
        if len(chosen) < min(count, 2) or not _telling(chosen, keep):
            continue
        body = r"\s+".join(expression(parts, keep_quoted=keep) for parts in chosen)
        # The further lines are not asked for, but quoted: they hold the reasons.
        rest = "(?s:.*)" if spoken.type and len(lines) > count else ""
        yield head + body + rest, list(_texts(spoken, chosen, keep, ""))
    if spoken.frame and spoken.type:
        chosen = [split_words(line, spoken.values) for line in lines[:1]]
        body = r"\s+".join(expression(parts, keep_quoted=True) for parts in chosen)
        frame = f"(?s)in {re.escape(spoken.frame)}\\n.*{_type(spoken.type)}: {body}"
        yield frame, list(_texts(spoken, chosen, True, f"in {spoken.frame}\n    …\n"))


def _type(name: str) -> str:
    return re.escape(name.rpartition(".")[2])


def _telling(chosen: Sequence[Sequence[Part]], keep: bool) -> bool:
    return sum(letters(parts, keep_quoted=keep) for parts in chosen) >= MIN_LETTERS


def _texts(
    spoken: Spoken, chosen: Sequence[Sequence[Part]], keep: bool, before: str
) -> Iterator[str]:
    head = before + (f"{spoken.type}: " if spoken.type else "")
    # What the log really said comes first, whole; then the same with other values.
    yield (before + spoken.text).rstrip()
    for turn in range(VARIANTS):
        yield head + "\n".join(varied(parts, turn, keep_quoted=keep) for parts in chosen)


def _problem(pattern: str, texts: Sequence[str], never: Iterable[tuple[str, str]]) -> str:
    if len(pattern) > MAX_PATTERN:
        return "the expression would be too long"
    try:
        compiled = compile_pattern(pattern)
    except PatternError as error:
        return f"the expression can't be used: {error}"
    if any(compiled.search(text) is None for text in texts):
        return "its own words with other values escape it"
    for where, text in never:
        if compiled.search(text) is not None:
            return f"it also matches {where}"
    return ""


def _library_texts(catalog: Catalog) -> tuple[tuple[str, str], ...]:
    """Return every line that belongs to a runbook, with its id, also as an exception would be."""
    return tuple(
        (book.id, text)
        for book in catalog.runbooks.values()
        for text in (
            *(line for example in book.examples for line in example.lines),
            *book.never,
        )
    )
