"""The model's answer, checked against the evidence: what fails is struck, and stays visible.

The check works on statements (``statements.py``). A claim must name evidence that exists; what it
quotes must stand there verbatim, and its figures too; a cause must be one that a runbook's rule
supports; commands and addresses must be those of a matched runbook. Verdict, causes and exit code
are not looked at, so nothing that a model writes can change them. ``docs/trust.md`` says what the
check can't see.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from agent.evidence import EvidenceList
from agent.grounds import SLOT, CauseGround, Grounds, collapse
from agent.narrate import plain_markdown
from agent.numbers import measurements, stands
from agent.proposals import addresses_in, code_lines, commands_in, defused, looks_like_command
from agent.quotations import is_name_in, stands_in
from agent.statements import Piece, split_answer
from agent.wording import (
    CAUSAL,
    admits_ignorance,
    advice_kind,
    bare,
    content_words,
    denies,
    grave_words,
    is_certain,
    is_hedged,
    support,
)
from runbooks.catalog import Catalog
from tools.logs.canonical import canonical_text, escape_invisible
from tools.logs.redaction import redact_secrets

# Share of a statement's words that must stand in what it rests on. Half: a false cause put beside
# true evidence has none to a third of its words there, an honest summary two thirds and more.
SUPPORTED = 0.5
# Share of another runbook's title that counts as naming it, and of one of ours as naming the cause.
NAMED_OTHER, NAMED_OWN = 0.75, 1 / 3
UNNUMBERED = 0.6
LONGEST = 2_000  # characters of one statement; the time of a check grows with their square

_ID = re.compile(r"\bE\d{1,4}\b")
_QUOTES = re.compile(r"\"([^\"]*)(?:\"|$)|“([^”]*)(?:”|$)")
_CODE = re.compile(r"``([^\n]+?)``|`([^`\n]+)(?:`|$)")
_HERE = re.compile(
    r"\b(?:the|your|this|our|its|that) (?:\w+ )?(?:service|endpoint|server|engine|revision"
    r"|instance"
    r"|deployment|container|process|cluster|node|card|gpu|logs?|request|queue|error|exception"
    r"|failure"
    r"|outage|incident|crash|deploy)\b|\bit (?:is|was|has|had|failed|crashed|died|ran|runs)\b"
    r"|\b(?:went|is|are|was|were) (?:down|failing|unavailable|broken|saturated|leaking"
    r"|compromised)\b",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Checked:
    """An answer with what failed struck; ``kept`` and ``struck`` count its statements.

    ``omitted`` are the ids of the verdict's causes that no statement names, and ``hypotheses``
    what only the model believes, for the report's list of them.
    """

    text: str
    struck: int = 0
    kept: int = 0
    omitted: tuple[str, ...] = ()
    hypotheses: list[dict[str, str]] = field(default_factory=list)


@dataclass(slots=True)
class _Ruling:
    reason: str = ""
    belief: bool = False  # a cause, or an unproven claim: it belongs to the hypotheses
    marked: bool = False  # shown as a hypothesis, not struck


def check_answer(
    answer: str,
    report: Mapping[str, Any],
    *,
    evidence: EvidenceList | None = None,
    catalog: Catalog | None = None,
    question: str = "",
    strict: bool = True,
) -> Checked:
    """Check an answer against a report; see the module's head.

    ``strict`` strikes every claim without evidence; else only those about this service, so that a
    question about how things work in general can be answered. ``question`` may be quoted.
    """
    grounds = Grounds.of(report, evidence, catalog)
    checker = _Checker(grounds, collapse(canonical_text(question)), strict)
    pieces = split_answer(_canonical(answer))
    shown = []
    said = [piece for piece in pieces if piece.kind != "blank"]
    index = -1
    for piece in pieces:
        index += piece.kind != "blank"
        near = [one.text for one in said[max(0, index - 1) : index + 2]]
        shown.append(piece.lead + checker.show(piece, near))
    omitted = tuple(cause.id for cause in grounds.causes if cause.id not in checker.named)
    return Checked(
        "".join(shown).strip(), checker.struck, checker.kept, omitted, checker.hypotheses
    )


class _Checker:
    """The state of one check: what was counted, and which causes were named."""

    def __init__(self, grounds: Grounds, question: str, strict: bool) -> None:
        self._grounds = grounds
        self._question = question
        self._strict = strict
        self.struck = 0
        self.kept = 0
        self.named: set[str] = set()
        self.hypotheses: list[dict[str, str]] = []

    def show(self, piece: Piece, near: Sequence[str]) -> str:
        if piece.kind == "blank":
            return piece.text
        text = self._fill(piece.text)
        if piece.kind == "code":
            ruling = self._rule_code(text, _ids(" ".join(near)))
        elif piece.kind == "quote":
            ruling = self._rule_block(text, _ids(" ".join(near)))
        else:
            ruling = self._rule(text, label=piece.kind == "label")
        return self._shown(piece, text, ruling)

    def _shown(self, piece: Piece, text: str, ruling: _Ruling) -> str:
        if ruling.belief:
            self._believe(text)
        if ruling.marked:
            self.kept += 1
            return f"{text} *(a hypothesis: no runbook's rule supports it)*"
        if not ruling.reason:
            if piece.kind == "sentence":
                self.kept += 1
                self._note_causes(text)
            return text
        self.struck += 1
        lines = text.split("\n")
        if piece.kind == "code":
            lines = code_lines(text) or [collapse(text.strip("`~ \n"))]
        elif piece.kind == "quote":
            lines = [line.lstrip("> ") for line in lines]
        else:
            lines = [collapse(text)]
        said = [f"~~{_plain(line)}~~" for line in lines if line.strip()]
        return "  \n".join(said) + f" *(struck: {ruling.reason})*"

    def _believe(self, text: str) -> None:
        title = re.sub(r"\s+(?=[.,;:!?])", "", collapse(bare(text)))[:200]
        if all(row["title"] != title for row in self.hypotheses):
            self.hypotheses.append(
                {
                    "title": plain_markdown(title),
                    "why": "the model believes it",
                    "against": "no runbook's rule supports it",
                }
            )

    def _note_causes(self, text: str) -> None:
        ids, words = _ids(text), content_words(text)
        for cause in self._grounds.causes:
            others = {i for c in self._grounds.causes if c.id != cause.id for i in c.evidence}
            own = set(cause.evidence) - others
            titled = len(words & cause.title_words) >= NAMED_OWN * len(cause.title_words)
            if (ids & own) or (titled and ids & set(cause.evidence)):
                self.named.add(cause.id)

    def _fill(self, text: str) -> str:
        ids: list[str] = []

        def value(match: re.Match[str]) -> str:
            ground = self._grounds.evidence.get(match.group(1))
            found = ground.slot(match.group(2)) if ground is not None else None
            if found is None:
                return match.group()
            ids.append(match.group(1))
            return found

        filled = SLOT.sub(value, text)
        missing = [i for i in dict.fromkeys(ids) if i not in _ids(filled)]
        if not missing:
            return filled
        end = re.search(r"[.!?:]*\s*$", filled)
        at = end.start() if end else len(filled)
        return filled[:at] + "".join(f" [{i}]" for i in missing) + filled[at:]

    # -- what may not stand, whoever is quoted

    def _forbidden(self, text: str) -> str:
        grounds = self._grounds
        if not all(map(grounds.allowed.command, commands_in(text))):
            return "no runbook that matched has this command"
        if not all(map(grounds.allowed.address, addresses_in(text))):
            return "no runbook that matched has this address"
        if SLOT.search(text):
            return "the evidence has no such figure"
        unknown = sorted(_ids(text) - set(grounds.evidence))
        if unknown:
            return f"there is no evidence {', '.join(unknown)}"
        return ""

    def _rule_code(self, block: str, ids: set[str]) -> _Ruling:
        for line in code_lines(block):
            if self._grounds.allowed.command(line):
                continue
            if looks_like_command(line):
                return _Ruling("no runbook that matched has this command")
            if addresses_in(line):
                return _Ruling("no runbook that matched has this address")
            if not self._stands(line, ids):
                return _Ruling("it does not stand so in the evidence named beside it")
        return _Ruling()

    def _rule_block(self, block: str, ids: set[str]) -> _Ruling:
        quoted = collapse(" ".join(line.lstrip("> ") for line in block.split("\n")))
        quoted = re.sub(r"\s*[\[(]E\d{1,4}[\])]\s*", " ", quoted).strip().strip('"“”`*_').strip()
        if reason := self._forbidden(block):
            return _Ruling(reason)
        if not ids:
            return _Ruling("it quotes without naming evidence")
        if not self._stands(quoted, ids):
            return _Ruling("it does not stand so in the evidence named beside it")
        return _Ruling()

    # -- sentences

    def _rule(self, text: str, *, label: bool) -> _Ruling:
        reason = self._forbidden(text) if len(text) <= LONGEST else "it is too long to check"
        if not reason and self._grounds.causes and denies(bare(text)):
            reason = "it speaks against the verdict by rules"
        if not reason and self._grounds.level in {"likely", "insufficient"} and is_certain(text):
            reason = f"the verdict by rules is {self._grounds.level}: nothing is proven"
        ids = _ids(text)
        reason = reason or self._quotes(text, ids) or self._figures(text, ids)
        return _Ruling(reason) if reason else self._claim(text, ids, label=label)

    def _quotes(self, text: str, ids: set[str]) -> str:
        without_code = _CODE.sub(" ", text)
        for match in _QUOTES.finditer(without_code):
            quoted = match.group(1) or match.group(2) or ""
            if not self._stands(quoted, ids) and not self._written(quoted):
                return "it does not stand so in " + (", ".join(sorted(ids)) or "any named evidence")
        for match in _CODE.finditer(text):
            quoted = match.group(1) or match.group(2)
            if not (
                self._stands(quoted, ids)
                or self._written(quoted)
                or self._grounds.allowed.command(quoted)
                or collapse(quoted).lower() in self._grounds.advice_text
                or any(collapse(quoted) in known for _, known, _ in self._grounds.unnumbered)
                or self._is_name(quoted)
            ):
                return "it does not stand so in " + (", ".join(sorted(ids)) or "any named evidence")
        return ""

    def _stands(self, quoted: str, ids: set[str]) -> bool:
        evidence = self._grounds.evidence
        return stands_in(quoted, [evidence[i].text for i in ids if i in evidence])

    def _is_name(self, quoted: str) -> bool:
        evidence = [ground.text for ground in self._grounds.evidence.values()]
        return is_name_in(quoted, (*evidence, self._grounds.written, self._grounds.advice_text))

    def _written(self, quoted: str) -> bool:
        plain = collapse(quoted).rstrip(".,;:!?")
        return bool(plain) and (plain in self._grounds.written or plain in self._question)

    def _figures(self, text: str, ids: set[str]) -> str:
        said = measurements(bare(text))
        if not said:
            return ""
        known = [n for i in ids for n in self._grounds.evidence[i].numbers]
        for cause in self._grounds.causes:
            if ids & set(cause.evidence):
                known += cause.numbers
        if advice_kind(text) == "do":
            known += self._grounds.advice_numbers
        if not ids:
            known += [n for item in self._unnumbered(text) for n in item]
        for measurement in said:
            if not stands(measurement, known):
                where = ", ".join(sorted(ids)) or "any evidence that the sentence names"
                return f"{measurement.shown} does not stand in {where}"
        return ""

    def _unnumbered(self, text: str) -> list[Any]:
        words = content_words(text)
        return [
            numbers
            for known, _, numbers in self._grounds.unnumbered
            if words and support(words, known) >= UNNUMBERED
        ]

    def _claim(self, text: str, ids: set[str], *, label: bool) -> _Ruling:
        plain = bare(text)
        # What is quoted was looked up already; only the model's own words are weighed here.
        words = content_words(_QUOTES.sub(" ", bare(_CODE.sub(" ", text))))
        question = plain.endswith("?")
        hedged = is_hedged(plain)
        if (CAUSAL.search(plain) or not ids) and (other := self._other_runbook(words)):
            return _belief(f"no evidence meets the rules of its runbook ({other})", hedged)
        causal = bool(CAUSAL.search(plain)) and not question and bool(words or not label)
        if causal and not self._supported_cause(words):
            return _belief("no runbook's rule supports this cause", hedged)
        if question or admits_ignorance(plain):
            return _Ruling()
        kind = advice_kind(text)
        if kind == "do":
            return self._advice(text, words, ids)
        if kind == "look" and not ids:
            return _Ruling()
        supported = support(words, self._known(ids)) >= SUPPORTED
        if label or not words:
            return _Ruling() if supported else _belief("the evidence does not speak of it", hedged)
        if not ids:
            return self._uncited(text, words, hedged)
        if not supported:
            return _belief(f"{', '.join(sorted(ids))} does not speak of it", hedged)
        return _Ruling()

    def _uncited(self, text: str, words: frozenset[str], hedged: bool) -> _Ruling:
        if any(support(words, known) >= UNNUMBERED for known, _, _ in self._grounds.unnumbered):
            return _Ruling()
        if not self._strict and not self._about_here(text):
            return _Ruling()
        if hedged:
            return _Ruling(belief=True, marked=True)
        return _Ruling("it names no evidence")

    def _about_here(self, text: str) -> bool:
        service = self._grounds.service
        return bool(_HERE.search(text) or (service and service in text) or CAUSAL.search(text))

    def _advice(self, text: str, words: frozenset[str], ids: set[str]) -> _Ruling:
        advice = self._grounds.advice_text
        if any(deed not in advice for deed in grave_words(text)):
            return _Ruling("no runbook that matched advises it")
        known = self._grounds.advice | self._known(ids) if ids else self._grounds.advice
        if self._grounds.causes or self._strict:
            if support(words, known) < SUPPORTED:
                return _Ruling("no runbook that matched advises it")
        elif self._about_here(text):
            return _Ruling("no runbook matched, so nothing is advised")
        return _Ruling()

    def _known(self, ids: set[str]) -> frozenset[str]:
        grounds = [self._grounds.evidence[i].words for i in ids if i in self._grounds.evidence]
        return self._grounds.words.union(*grounds)

    def _supported_cause(self, words: frozenset[str]) -> bool:
        return any(support(words, cause.words) >= SUPPORTED for cause in self._grounds.causes)

    def _other_runbook(self, words: frozenset[str]) -> str:
        ours = max((_titled(words, cause) for cause in self._grounds.causes), default=0.0)
        for runbook, (_, title) in self._grounds.others.items():
            share = len(words & title) / len(title) if title else 0.0
            if len(title) > 1 and share >= NAMED_OTHER and share > ours:
                return runbook
        return ""


def _titled(words: frozenset[str], cause: CauseGround) -> float:
    return len(words & cause.title_words) / len(cause.title_words) if cause.title_words else 0.0


def _belief(reason: str, hedged: bool) -> _Ruling:
    return _Ruling(belief=True, marked=True) if hedged else _Ruling(reason, belief=True)


def _ids(text: str) -> set[str]:
    return set(_ID.findall(text))


def _plain(line: str) -> str:
    return defused(line.strip()).replace("`", "'")


def _canonical(answer: str) -> str:
    # A key can stand over several lines, so secrets are looked for in the whole; a caller's words
    # line by line, since some of their patterns run to the end of the text.
    whole = redact_secrets(escape_invisible(answer.replace("\r\n", "\n")))
    return "\n".join(canonical_text(line) for line in whole.split("\n"))
