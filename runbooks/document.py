"""The two parts of a runbook file: front matter in YAML, and a body in sections."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, ClassVar

import yaml
from frontmatter.default_handlers import YAMLHandler

from tools.errors import RunbookError

_HEADING = re.compile(r"## +(\S.*?)\s*")
_SafeLoader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # the C one is 8 times faster


class _Loader(_SafeLoader):  # type: ignore[misc]
    """Safe YAML in which only true and false are booleans, and no key may stand twice.

    YAML 1.1 takes ``on`` for true, and ``on`` is a key of ours.
    """

    yaml_implicit_resolvers: ClassVar[Mapping[str, Any]] = {
        first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:bool"]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        """Return the mapping; a key that stands twice is an error."""
        mapping: dict[Any, Any] = super().construct_mapping(node, deep=deep)
        if len(mapping) != len(node.value):
            keys = [key.value for key, _ in node.value]
            twice = next((key for key in keys if keys.count(key) > 1), "a key")
            raise yaml.constructor.ConstructorError(
                None, None, f"{twice!r} stands twice", node.start_mark
            )
        return mapping


_Loader.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile(r"(?:true|false)\Z"), list("tf"))


def read_front_matter(text: str, path: str) -> Any:
    """Return what stands between the two lines of hyphens. Raises RunbookError with the line."""
    if not text.startswith("---\n") or "\n---" not in text[4:]:
        raise RunbookError(
            f"{path}: the file does not begin with front matter.",
            fix="Put the keys between two lines of three hyphens.",
            path=path,
        )
    handler = YAMLHandler()
    try:
        head, _ = handler.split(text)
        return handler.load(head, Loader=_Loader)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        line = f" on line {mark.line + 2}" if mark else ""
        problem = getattr(error, "problem", None) or str(error).splitlines()[0]
        raise RunbookError(
            f"{path}: the front matter is not valid YAML{line}: {problem}.",
            fix="Put texts with a colon, a backslash or a brace in single quotes.",
            path=path,
        ) from error


def read_sections(text: str, path: str, known: tuple[str, ...]) -> dict[str, str]:
    """Return the body's sections by name. Raises RunbookError for one that is not known."""
    body = text.split("\n---", 1)[1].partition("\n")[2]
    sections: dict[str, list[str]] = {}
    current: list[str] | None = None
    fence = ""
    for line in body.split("\n"):
        mark = line.lstrip()[:3]
        if fence:
            fence = "" if mark == fence else fence
        elif mark in ("```", "~~~"):
            fence = mark
        elif heading := _HEADING.fullmatch(line):
            name = heading[1]
            if name not in known or name in sections:
                problem = "stands twice" if name in sections else "is not a known section"
                raise RunbookError(
                    f"{path}: the section {name[:60]!r} {problem}.",
                    fix=f"Sections: {', '.join(known)}.",
                    path=path,
                )
            current = sections[name] = []
            continue
        if current is not None:
            current.append(line)
        elif line.strip():
            raise RunbookError(
                f"{path}: there is text before the first section.",
                fix="Begin the body with '## Meaning'.",
                path=path,
            )
    return {name: "\n".join(lines).strip() for name, lines in sections.items()}
