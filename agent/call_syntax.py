"""The ways in which models write tool calls as text, read back with tolerance and in linear time.

Gemma 4's own form is ``<|tool_call>call:NAME{key:<|"|>text<|"|>,n:3}<tool_call|>`` (the tool call
parser of vLLM 0.32, ``gemma4``). Seen beside it, in vllm's issues 39468, 53431 and 54256: the
opener without ``call``, round brackets, no brackets at all, and the call without its opener right
after the thinking.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

QUOTE = '<|"|>'
MAX_DEPTH = 16

_NAME = r"[A-Za-z_][\w.\-]{0,63}"
# An opener of either generation, with or without what should follow it.
_MARKED = re.compile(rf"<\|?tool_call\|?>[\s:]*(?:call\s*:\s*)?(?:({_NAME})\s*)?(?=[{{(<]|$)")
_BARE = re.compile(rf"(?:^|<channel\|>)[ \t]*call:\s*({_NAME})\s*(?=[{{(])", re.MULTILINE)
_CLOSER = re.compile(r"\s*(?:<\|?/?tool_call\|?>|</tool_call>)")
_FENCE = re.compile(r"```[ \t]*([\w-]*)[ \t]*\n?(.*?)(?:```|\Z)", re.DOTALL)
_NAMES = ("name", "tool", "tool_name", "function", "function_name", "action")
_ARGUMENTS = ("arguments", "parameters", "args", "input", "action_input", "kwargs")


@dataclass(frozen=True, slots=True)
class Written:
    """A call found in text; ``cut`` when the text ended before the call did."""

    name: str
    arguments: dict[str, Any]
    text: str
    cut: bool = False


def find_calls(text: str, known: Collection[str]) -> tuple[list[Written], str]:
    """Return the calls written in a text, and the text without them.

    Marked calls count whatever their name; JSON, code and unmarked ones only with a known name,
    as an answer may rightly hold JSON.
    """
    found: list[Written] = []
    kept: list[str] = []
    at = 0
    # Found once: to search anew behind each opener would cost the square of the reply's length.
    bare = [match for match in _BARE.finditer(text) if match[1] in known][::-1]
    while (match := _next(text, at, bare)) is not None:
        kept.append(text[at : match.start()])
        call, at = _read_marked(text, match)
        if call is not None:
            found.append(call)
    rest = "".join([*kept, text[at:]])
    for fence in list(_FENCE.finditer(rest)):
        calls = _from_block(fence[2].strip(), known)
        if calls:
            found += calls
            rest = rest.replace(fence[0], "", 1)
    if not found and rest.lstrip().startswith(("{", "[")):
        calls = _from_json(rest.strip(), known)
        found, rest = calls, "" if calls else rest
    return found, rest.strip()


def parse_object(text: str) -> tuple[dict[str, Any], bool]:
    """Return the object that a text holds, JSON or Gemma's own form, and whether it was cut.

    Of a text that was cut, what is complete is returned. Raises ValueError if there is none.
    """
    text = text.strip()
    for closer in ("<tool_call|>", "</tool_call>"):
        text = text.removesuffix(closer).rstrip()
    if not text:
        return {}, False
    if text[0] not in "{(":
        text = "{" + text + ("" if text.endswith("}") else "}")
    reader = _Reader(text)
    value = reader.object(0)
    return value, reader.cut


class _Reader:
    """A recursive descent over JSON and Gemma's form at once; what is cut is left out."""

    def __init__(self, text: str, at: int = 0) -> None:
        self.text, self.at, self.cut = text, at, False

    def object(self, depth: int) -> dict[str, Any]:
        if depth > MAX_DEPTH:
            raise ValueError("nested too deeply")
        self.at += 1
        found: dict[str, Any] = {}
        while True:
            self._skip(" \t\r\n,")
            if self.at >= len(self.text):
                self.cut = True
                return found
            if self.text[self.at] in "})]":
                self.at += 1
                return found
            key = self._key()
            self._skip(" \t\r\n")
            if self.at >= len(self.text) or self.text[self.at] not in ":=":
                if self.at >= len(self.text):
                    self.cut = True
                    return found
                raise ValueError(f"no value for {key[:40]!r}")
            self.at += 1
            value = self._value(depth)
            if self.cut and not isinstance(value, dict | list):
                return found
            found[key] = value
            if self.cut:
                return found

    def _key(self) -> str:
        if self.text[self.at] in "\"'" or self.text.startswith(QUOTE, self.at):
            return str(self._quoted())
        start = self.at
        while self.at < len(self.text) and self.text[self.at] not in ":={}[](),\n":
            self.at += 1
        key = self.text[start : self.at].strip()
        if not key:
            raise ValueError("no name where one should stand")
        return key

    def _value(self, depth: int) -> Any:
        self._skip(" \t\r\n")
        if self.at >= len(self.text):
            self.cut = True
            return None
        sign = self.text[self.at]
        if sign in "\"'" or self.text.startswith(QUOTE, self.at):
            return self._quoted()
        if sign == "{":
            return self.object(depth + 1)
        if sign == "[":
            return self._array(depth + 1)
        start = self.at
        while self.at < len(self.text) and self.text[self.at] not in ",}])\n":
            self.at += 1
        if self.at >= len(self.text):
            self.cut = True  # "tru" may have become "true" or "trunk"
        return _literal(self.text[start : self.at].strip())

    def _array(self, depth: int) -> list[Any]:
        if depth > MAX_DEPTH:
            raise ValueError("nested too deeply")
        self.at += 1
        found: list[Any] = []
        while True:
            self._skip(" \t\r\n,")
            if self.at >= len(self.text):
                self.cut = True
                return found
            if self.text[self.at] in "]})":
                self.at += 1
                return found
            value = self._value(depth)
            if self.cut and not isinstance(value, dict | list):
                return found
            found.append(value)

    def _quoted(self) -> Any:
        if self.text.startswith(QUOTE, self.at):
            start = self.at + len(QUOTE)
            end = self.text.find(QUOTE, start)
            self.cut = self.cut or end < 0
            self.at = len(self.text) if end < 0 else end + len(QUOTE)
            return self.text[start : end if end >= 0 else None]
        quote, start = self.text[self.at], self.at + 1
        end = start
        while end < len(self.text) and self.text[end] != quote:
            end += 2 if self.text[end] == "\\" else 1
        if end >= len(self.text):
            self.cut, self.at = True, len(self.text)
            return None
        self.at = end + 1
        raw = self.text[start:end]
        try:
            return json.loads(f'"{raw}"', strict=False) if quote == '"' else raw
        except ValueError:
            return raw

    def _skip(self, signs: str) -> None:
        while self.at < len(self.text) and self.text[self.at] in signs:
            self.at += 1


def _literal(text: str) -> Any:
    lowered = text.lower()
    if lowered in {"true", "false"}:
        return lowered == "true"
    if lowered in {"null", "none", ""}:
        return None
    try:
        return float(text) if any(sign in text for sign in ".eE") else int(text)
    except ValueError:
        return text


def _next(text: str, at: int, bare: list[re.Match[str]]) -> re.Match[str] | None:
    # ``bare`` has its first match last; those that lie behind ``at`` are used up.
    while bare and bare[-1].start() < at:
        bare.pop()
    marked = _MARKED.search(text, at)
    if marked is None or not bare:
        return marked or (bare[-1] if bare else None)
    return marked if marked.start() <= bare[-1].start() else bare[-1]


def _read_marked(text: str, match: re.Match[str]) -> tuple[Written | None, int]:
    name, at = match[1] or "", match.end()
    if at >= len(text) or text[at] == "<":  # no arguments at all, or nothing after the opener
        closer = _CLOSER.match(text, at)
        end = closer.end() if closer else max(at, match.start() + 1)
        call = Written(name, {}, text[match.start() : end], cut=not closer) if name else None
        return call, end
    reader = _Reader(text, at)
    try:
        value = reader.object(0)
    except ValueError:
        closer = _CLOSER.search(text, at)
        return None, closer.end() if closer else len(text)
    closer = _CLOSER.match(text, reader.at)
    end = closer.end() if closer else reader.at
    if not name:
        calls = _named(value, None)
        whole = [Written(c.name, c.arguments, text[match.start() : end], reader.cut) for c in calls]
        return (whole[0] if whole else None), end
    return Written(name, value, text[match.start() : end], reader.cut), end


def _from_block(text: str, known: Collection[str]) -> list[Written]:
    if text.startswith(("{", "[")):
        return _from_json(text, known)
    bare = re.match(rf"(?:call:)?({_NAME})\s*(?=\{{)", text)
    if bare and bare[1] in known:
        reader = _Reader(text, bare.end())
        try:
            return [Written(bare[1], reader.object(0), text, reader.cut)]
        except ValueError:
            return []
    return _from_code(text, known)


def _from_json(text: str, known: Collection[str]) -> list[Written]:
    reader = _Reader(text if text.startswith("{") else "{calls:" + text + "}")
    try:
        value = reader.object(0)
    except ValueError:
        return []
    return [Written(c.name, c.arguments, text, reader.cut) for c in _named(value, known)]


def _named(value: Any, known: Collection[str] | None) -> list[Written]:
    if isinstance(value, list):
        return [call for part in value for call in _named(part, known)]
    if not isinstance(value, dict):
        return []
    for key in ("tool_calls", "calls"):
        if isinstance(value.get(key), list):
            return _named(value[key], known)
    if isinstance(value.get("function"), dict):
        return _named(value["function"], known)
    name = next((value[key] for key in _NAMES if isinstance(value.get(key), str)), "")
    if not name and known and len(value) == 1:
        ((only, inner),) = value.items()
        if only in known and isinstance(inner, dict):
            return [Written(only, inner, "")]
    if not name or (known is not None and name not in known):
        return []
    arguments: Any = next((value[key] for key in _ARGUMENTS if key in value), {})
    if isinstance(arguments, str):
        try:
            arguments = parse_object(arguments)[0]
        except ValueError:
            return []
    return [Written(name, arguments, "")] if isinstance(arguments, dict) else []


def _from_code(text: str, known: Collection[str]) -> list[Written]:
    # Gemma 3's habit: ```tool_code with one Python call, perhaps inside print().
    if len(text) > 2000:
        return []
    try:
        node: ast.expr = ast.parse(text, mode="eval").body
        while isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            if node.func.id in known and not node.args:
                arguments = {k.arg: ast.literal_eval(k.value) for k in node.keywords if k.arg}
                return [Written(node.func.id, arguments, text)]
            if node.func.id != "print" or len(node.args) != 1:
                return []
            node = node.args[0]
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return []
    return []
