"""The words of a statement: which of them carry meaning, and what kind of statement they make.

Crude on purpose: what can't be told apart is taken for a claim, and a claim needs evidence.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable
from functools import cache
from importlib import resources


@cache
def _words(kind: str) -> frozenset[str]:
    text = resources.files("agent").joinpath("wording.toml").read_text("utf-8")
    return frozenset(tomllib.loads(text)[kind]["words"].split())


_WORD = re.compile(r"[a-z]+[a-z0-9]*|\d+[a-z][a-z0-9]*")
_STEM = 6  # letters: "expired" and "expires" are one word

CAUSAL = re.compile(
    r"\b(?:(?:root[- ])?causes?\b|caused|because|due to|owing to|culprit|to blame|blame(?:d|s)?\b"
    r"|responsible for|results? (?:from|of)|resulted from|stems? from|brought down by"
    r"|triggered by"
    r"|at fault|the reason (?:is|was|for|why)|leads? to|led to|thanks to|traced (?:back )?to"
    r"|originat\w+ (?:in|from)|behind (?:the|this) (?:outage|failure|crash|incident))",
    re.IGNORECASE,
)
_HEDGE = re.compile(
    r"\b(?:may(?! not)|might|could|possibly|perhaps|probably|maybe|suspect(?:s|ed)?|seems?|appears?"
    r"|hypothes[ei]s|likely|plausibl[ey]|potentially|conceivabl[ey]"
    r"|i (?:think|believe|guess|assume))\b",
    re.IGNORECASE,
)
_IGNORANCE = re.compile(
    r"\b(?:not (?:be )?(?:seen|visible|known|read)|unknown|no evidence|(?:not enough"
    r"|insufficient)"
    r" evidence|(?:can(?:no|'|’)t|could(?:n['’]t| not)|do(?:es)?(?:n['’]t| not)) (?:tell|know"
    r"|see|say|be)"
    r"|not sure|unclear)\b|^(?:i am|i['’]m) (?:a|an|the)\b[^.;]*\b(?:assistant|model)\b",
    re.IGNORECASE,
)
_CERTAIN = re.compile(
    r"\b(?:confirm(?:s|ed)?|certain(?:ly)?|definite(?:ly)?|proves?|proven|undoubtedly|no doubt"
    r"|unquestionabl[ey]|100 ?%)(?!\w)",
    re.IGNORECASE,
)
_DENIAL = re.compile(
    r"\bnot (?:the|a|an) (?:\w+ )?(?:root )?(?:cause|problem|issue|failure)\b|\bunrelated\b"
    r"|\birrelevant\b|\bred herring\b|\bfalse (?:alarm|positive)\b|\b(?:safely |can be )ignor\w+"
    r"|\bignore (?:this|that|these|the|e\d)|\b(?:everything|all|service|system) (?:is"
    r"|are) (?:fine|ok|okay"
    r"|healthy|well|normal|good)\b|\bnothing is wrong\b|\bno (?:real )?(?:problem|failure"
    r"|error|incident"
    r"|cause|action)s? (?:is|are|was|were|exists?|needed|required|found)\b|\brules? (?:are|is"
    r"|were|was)"
    r" (?:wrong|mistaken|incorrect)\b|\b(?:verdict|rules?|diagnosis) (?:should"
    r"|must) be (?:changed|ignored)",
    re.IGNORECASE,
)
_LEAD_IN = re.compile(
    r"^(?:(?:first|then|next|now|finally|also|please|secondly|lastly|afterwards"
    r"|to fix (?:this|it)|and"
    r"|so|instead|if [^,]{1,80}|to [^,]{1,60}|after [^,]{1,60}|once [^,]{1,60})\b[,:]?\s*)+",
    re.IGNORECASE,
)
_SHOULD = re.compile(
    r"\b(?:you|we|operators?|someone|they) (?:should|must|can|could|need to|have to|ought to|may"
    r" want to)\b|\b(?:i|we) (?:recommend|suggest|advise|propose)\b|\b(?:should|must"
    r"|needs? to|has to"
    r"|have to) be \w+(?:ed|n|set|put|cut)\b|\bthe fix is\b|\bis recommended\b|\bremed(?:y"
    r"|iation)\b"
    r"|\bto (?:resolve|fix|mitigate|remediate|solve)\b",
    re.IGNORECASE,
)
# Deeds that must stand in a runbook word for word, whatever else the sentence shares with it.
_GRAVE = re.compile(
    r"\b(delet\w*|drop(?:s|ped)?|disabl\w*|kill\w*|wip\w+|destroy\w*|uninstall\w*|expos\w+"
    r"|eras\w+"
    r"|purg\w+|terminat\w*|bypass\w*|format|revok\w*|grant\w*|rotat\w*|download\w*|upload\w*"
    r"|execut\w*"
    r"|paste|send|post|visit|contact)\b",
    re.IGNORECASE,
)
_LABEL = re.compile(r"^\W*(?:[A-Z][A-Za-z ]{1,28}:\s+)")
_MARKS = re.compile(r"[*_~`]+|\[E\d{1,4}\]")


def bare(text: str) -> str:
    """Return a statement without Markdown's emphasis and the ids that it names."""
    return " ".join(_MARKS.sub(" ", text).split())


def content_words(text: str) -> frozenset[str]:
    """Return the stems of the words that carry meaning; identifiers fall into their parts."""
    common = _words("common")
    return frozenset(
        word[:_STEM]
        for word in _WORD.findall(text.lower().replace("_", " "))
        if (len(word) > 2 or any(char.isdigit() for char in word))
        and word not in common
        and not re.fullmatch(r"e\d+", word)
    )


def support(words: Iterable[str], known: frozenset[str]) -> float:
    """Return the share of the words that are known, 1 when there are none."""
    said = frozenset(words)
    return len(said & known) / len(said) if said else 1.0


def is_hedged(text: str) -> bool:
    """Say whether a statement gives itself as a guess."""
    return _HEDGE.search(text) is not None


def admits_ignorance(text: str) -> bool:
    """Say whether a statement is about what is not known, and claims nothing beside that."""
    return (
        _IGNORANCE.search(text) is not None
        and re.search(r"\b(?:and|but)\b", text) is None
        and CAUSAL.search(text) is None
    )


def is_certain(text: str) -> bool:
    """Say whether a statement claims proof."""
    return _CERTAIN.search(text) is not None and re.search(r"\bnot\b|n['’]t\b", text) is None


def denies(text: str) -> bool:
    """Say whether a statement denies that there is a failure, or that a cause is one."""
    return _DENIAL.search(text) is not None


def advice_kind(text: str) -> str:
    """Return ``look``, ``do`` or "" for what a statement asks of the reader."""
    plain = _LABEL.sub("", bare(text))
    plain = _LEAD_IN.sub("", plain).lstrip("\"'“(")
    first = re.match(r"[A-Za-z]+", plain)
    word = first.group().lower() if first else ""
    if word in _words("doing") or _SHOULD.search(plain):
        return "do"
    return "look" if word in _words("looking") else ""


def grave_words(text: str) -> frozenset[str]:
    """Return the stems of the deeds in a statement that can do lasting harm."""
    return frozenset(match.group().lower()[:5] for match in _GRAVE.finditer(text))
