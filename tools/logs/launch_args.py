"""The arguments that vLLM prints of itself at its start."""

from __future__ import annotations

import ast

MAX_TEXT = 65_536
_OPENING, _CLOSING = "([{<", ")]}>"


def parse_args(text: str) -> dict[str, object]:
    """Return the arguments of ``{'name': literal, …}`` or ``Namespace(name=literal, …)``.

    Values that are no Python literals (``CompilationConfig(…)``, ``<Mode.NONE: 0>``) stay text.
    Nothing is evaluated. Returns an empty mapping for anything else.
    """
    text = text.strip()[:MAX_TEXT]
    if text.startswith("{"):
        separator, body = ":", text[1:].removesuffix("}")
        try:
            literal = ast.literal_eval(text)
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            literal = None
        if isinstance(literal, dict):
            return {str(name): value for name, value in literal.items()}
    elif text.startswith("Namespace("):
        separator, body = "=", text[len("Namespace(") :].removesuffix(")")
    else:
        return {}
    found: dict[str, object] = {}
    for part in _split(body):
        name, mark, value = part.partition(separator)
        name = name.strip().strip("'\"")
        if mark and name.isidentifier():
            found[name] = _literal(value.strip())
    return found


def _literal(text: str) -> object:
    try:
        value: object = ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return text
    return value


def _split(text: str) -> list[str]:
    """Split at commas outside brackets and quotes; linear."""
    parts: list[str] = []
    start, depth, quote, escaped = 0, 0, "", False
    for index, character in enumerate(text):
        if quote:
            if escaped:
                escaped = False
            elif character == "\\":
                escaped = True
            elif character == quote:
                quote = ""
        elif character in "'\"":
            quote = character
        elif character in _OPENING:
            depth += 1
        elif character in _CLOSING:
            depth = max(0, depth - 1)
        elif character == "," and depth == 0:
            parts.append(text[start:index])
            start = index + 1
    parts.append(text[start:])
    return [part for part in parts if part.strip()]
