"""Merge templates that differ in one word with many values: a word of many is a value.

Works on all distinct templates at once, so the result does not depend on their order.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from types import MappingProxyType

from tools.logs.masking import PLACEHOLDER

# One of few words is a category ("Paused", "Resumed"), one of many a value (a user, a queue).
# State machines have up to about ten states; a lower bound would merge their transitions.
MANY = 12
MANY_CODES = 32  # values kept apart; a service seldom answers with more than ten of HTTP's 63
MANY_SIZES = 8  # sizes of failed allocations, past which they are amounts, not cases
MIN_WORDS = 3  # words that must stay: less would not say what happened
MAX_WORDS = 60  # longer templates are rare and already told apart by their first words
_ROUNDS = 3

_LETTERS = re.compile(r"[^\W\d_]{2}")
_DIGITS = re.compile(r"[0-9]")
_SIZE = re.compile(r"(?i)(\bto (?:allocate|reserve) )\d+(?:\.\d+)?(?: ?(?:[kmgt]i?b?\b|bytes\b))?")
_ADJACENT = re.compile(r"<\*>(?: <\*>)+")


def merge_templates(
    templates: Iterable[str],
    general: Mapping[str, str] = MappingProxyType({}),
    amounts: Collection[str] = (),
) -> dict[str, str]:
    """Return for each template the one that stands for it, itself where nothing was merged.

    ``general`` has for a template with kept digits the one with placeholders in their place;
    ``amounts`` are those of the latter in which the digits are known to be too many.
    """
    names = {template: template for template in templates}
    _merge_codes(names, general, amounts)
    names = _merge_sizes(names)
    for _ in range(_ROUNDS):
        merged = _merge_words(sorted(set(names.values())))
        if not merged:
            break
        names = {old: merged.get(new, new) for old, new in names.items()}
    return names


def _merge_codes(
    names: dict[str, str], general: Mapping[str, str], amounts: Collection[str]
) -> None:
    """Give up the kept digits of a template that has too many of them: they are amounts."""
    families: dict[str, list[str]] = defaultdict(list)
    for template in names:
        if template in general:
            families[general[template]].append(template)
    for family, members in families.items():
        if family in amounts or len(members) > MANY_CODES:
            names.update(dict.fromkeys(members, family))


def _merge_sizes(names: dict[str, str]) -> dict[str, str]:
    families: dict[str, list[str]] = defaultdict(list)
    for template in names:
        if _SIZE.search(template):
            families[_SIZE.sub(rf"\g<1>{PLACEHOLDER}", template)].append(template)
    for family, members in families.items():
        if len(members) > MANY_SIZES:
            names.update(dict.fromkeys(members, family))
    return names


def _merge_words(templates: Sequence[str]) -> dict[str, str]:
    """Return new names for the templates that differ from many others in one place only."""
    words = [template.split(" ") for template in templates]
    places: dict[tuple[int, int], list[int]] = defaultdict(list)
    lettered_words = {part: bool(_LETTERS.search(part)) for parts in words for part in parts}
    for index, parts in enumerate(words):
        count = len(parts)
        lettered = [lettered_words[part] for part in parts]
        total = sum(lettered)
        if count > MAX_WORDS or total < MIN_WORDS:
            continue
        for place, part in enumerate(parts):
            if total - lettered[place] >= MIN_WORDS and not _DIGITS.search(part):
                # A hash stands for the rest, to save memory: a collision would need 12 words
                rest = hash((count, *parts[:place], None, *parts[place + 1 :]))
                places[place, rest].append(index)
    variable: dict[int, set[int]] = defaultdict(set)
    for (place, _), indexes in places.items():
        if len(indexes) > 1 and _is_variable([words[index][place] for index in indexes]):
            for index in indexes:
                variable[index].add(place)
    return {
        templates[index]: _ADJACENT.sub(
            PLACEHOLDER,
            " ".join(
                PLACEHOLDER if place in chosen else part for place, part in enumerate(words[index])
            ),
        )
        for index, chosen in variable.items()
    }


def _is_variable(values: Sequence[str]) -> bool:
    """Say whether one place's values are many, or one of them is a bare placeholder already."""
    distinct = set(values)
    if len(distinct) >= MANY:
        return True
    # "wpad:<*>" beside "<*>": a value that one rule took whole and another in part.
    return PLACEHOLDER in distinct and all(PLACEHOLDER in value for value in distinct)
