"""What differs between two revisions: options, environment, image, identity, resources."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping, Sequence

from tools.domain import Change, Revision

_OPTION = re.compile(r"--[A-Za-z]")
_NONE = "(not set)"


def changes_between(good: Revision, bad: Revision) -> tuple[Change, ...]:
    """Return each field that differs, options first; times are those of the bad revision.

    Options are compared by name: their order, and ``-`` or ``_`` in a name, mean nothing to vLLM.
    """
    found: list[Change] = []

    def compare(what: str, before: object, after: object) -> None:
        if before != after:
            found.append(Change(what, _text(before), _text(after), bad.created))

    def compare_all(prefix: str, before: Mapping[str, str], after: Mapping[str, str]) -> None:
        for key in dict.fromkeys((*before, *after)):
            compare(f"{prefix}{key}", before.get(key, _NONE), after.get(key, _NONE))

    compare_all("", options(good.args), options(bad.args))
    compare("image", good.image, bad.image)
    for key in dict.fromkeys((*good.env, *bad.env)):
        before, after = good.env.get(key, _NONE), bad.env.get(key, _NONE)
        secret = before.startswith("secret:") or after.startswith("secret:")
        compare(f"{'secret' if secret else 'env'} {key}", before, after)
    compare("service account", good.service_account, bad.service_account)
    compare_all("resources ", good.resources, bad.resources)
    compare("accelerator", good.accelerator, bad.accelerator)
    compare_all(
        "start-up probe ",
        _named_probe(good.startup_probe),
        _named_probe(bad.startup_probe),
    )
    compare("minimum instances", good.min_instances, bad.min_instances)
    compare("maximum instances", good.max_instances, bad.max_instances)
    compare("concurrency", good.concurrency, bad.concurrency)
    return tuple(found)


def options(args: Sequence[str]) -> dict[str, str]:
    """Return the options of a command by name, ``--max-model-len`` → ``4096``.

    An option without a value is ``(set)``; one that is given twice keeps both values. Words that
    belong to no option are gathered as ``command``. A shell's ``-c`` script is split as a shell
    would.
    """
    found: dict[str, str] = {}
    words: list[str] = []
    name = ""
    for word in _words(args):
        if _OPTION.match(word):
            key, equals, value = word.partition("=")
            name = "--" + key[2:].replace("_", "-")
            previous = found.get(name)
            found[name] = value if equals else "(set)"
            if previous is not None and equals:
                found[name] = f"{previous} {value}"
            if equals:
                name = ""
        elif name:
            found[name] = word if found[name] == "(set)" else f"{found[name]} {word}"
        else:
            words.append(word)
    if words:
        found["command"] = " ".join(words)
    return found


def _words(args: Sequence[str]) -> Iterator[str]:
    for arg in args:
        if " " in arg and not _OPTION.match(arg):
            try:
                yield from shlex.split(arg)
                continue
            except ValueError:
                pass
        yield arg


def _named_probe(probe: Mapping[str, int | str]) -> dict[str, str]:
    # initial_delay_s → "initial delay (s)"
    return {
        key.removesuffix("_s").replace("_", " ") + (" (s)" if key.endswith("_s") else ""): str(
            value
        )
        for key, value in probe.items()
    }


def _text(value: object) -> str:
    return str(value) if value not in ("", None) else _NONE
