"""Read the shell commands of a runbook, and check them against lists of what exists.

The lists stand in ``commands/*.toml``, each with its version, its source and the day it was read.
A command that no list knows is an error: what cannot be checked must not be pasted.
"""

from __future__ import annotations

import re
import shlex
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any, Literal

Effect = Literal["read", "change"]

_FENCE = re.compile(r"^```(?:bash|sh|shell)\n(.*?)^```", re.MULTILINE | re.DOTALL)
_INLINE = re.compile(r"`([^`\n]+)`")
_SUBSTITUTION = re.compile(r"\$\(([^()]*)\)")
_ASSIGNMENT = re.compile(r"[A-Za-z_]\w*=.*", re.DOTALL)
_PREFIXES = frozenset(["sudo", "do", "then", "else", "time"])  # a command follows
_OPERATORS = frozenset("|&;<>")


@dataclass(frozen=True, slots=True)
class Command:
    """One simple command: its words, as a shell would pass them."""

    words: tuple[str, ...]

    def __str__(self) -> str:
        """Return the words in one line."""
        return " ".join(self.words)


@dataclass(frozen=True, slots=True)
class Checked:
    """What the lists say of a command: what it does, and what is wrong with it."""

    effect: Effect
    problems: tuple[str, ...] = ()


def fenced_commands(text: str) -> list[Command]:
    """Return the commands of the fenced shell blocks. Raises ValueError for an open quote."""
    return [command for block in _FENCE.findall(text) for command in split_commands(block)]


def inline_commands(text: str, programs: Sequence[str]) -> list[Command]:
    """Return the commands in backticks that begin with one of the programs."""
    return [
        command
        for inline in _INLINE.findall(text)
        if inline.split(" ")[0] in programs
        for command in split_commands(inline)
    ]


def inline_options(text: str) -> list[str]:
    """Return the options in backticks that stand without a command, such as ``--max-num-seqs``."""
    return [
        word
        for inline in _INLINE.findall(text)
        if inline.startswith("--") and not inline.startswith("--args")
        for word in inline.split(" ")
        if word.startswith("--")
    ]


def split_commands(script: str) -> list[Command]:
    """Return the simple commands of a script, those inside ``$(…)`` included."""
    return list(_split(script.replace("\\\n", " ")))


def _split(script: str) -> Iterator[Command]:
    for line in script.split("\n"):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        for inner in _SUBSTITUTION.findall(line):
            yield from _split(inner)
        lexer = shlex.shlex(_SUBSTITUTION.sub("VALUE", line), posix=True, punctuation_chars=True)
        lexer.whitespace_split = True
        lexer.commenters = ""
        words: list[str] = []
        skip = False
        for word in lexer:
            if word and set(word) <= _OPERATORS:
                skip = word[0] in "<>"  # what follows is a file, not a word of the command
                if not skip:
                    yield from _command(words)
                    words = []
            elif skip:
                skip = False
            else:
                words.append(word)
        yield from _command(words)


def _command(words: list[str]) -> Iterator[Command]:
    while words and (words[0] in _PREFIXES or _ASSIGNMENT.fullmatch(words[0])):
        words = words[1:]
    if words:
        yield Command(tuple(words))


@cache
def tables() -> Mapping[str, Mapping[str, Any]]:
    """Return the lists by program."""
    folder = resources.files("runbooks") / "commands"
    return {
        item.name.removesuffix(".toml"): tomllib.loads(item.read_text("utf-8"))
        for item in folder.iterdir()
        if item.name.endswith(".toml")
    }


@cache
def known_options(program: str) -> frozenset[str]:
    """Return every option that a program's list holds, whatever the sub-command."""
    table = tables()[program]
    return frozenset(table.get("flags", ())).union(
        *(command.get("flags", ()) for command in table.get("commands", {}).values())
    )


def check_command(command: Command) -> Checked:
    """Say what a command does, and which of its parts the lists do not know."""
    program, *words = command.words
    table = tables().get(program)
    if table is None:
        plain = tables()["shell"]["programs"]
        if program in plain:
            return _plain(program, words, plain[program])
        return Checked("change", (f"{program!r} is not a command that can be checked",))
    if not table.get("commands"):
        return Checked(_method(words), _unknown(words, table, {}))
    name, entry = _subcommand(words, table["commands"])
    if entry is None:
        path = " ".join(word for word in words[:4] if not word.startswith("-"))
        return Checked("change", (f"{program} has no sub-command like {path!r} in its list",))
    problems = list(_unknown(words, table, entry))
    effect: Effect = entry.get("effect", "read")
    if any(word.split("=", 1)[0] == "--help" for word in words):
        effect = "read"
    for inner in _nested(words, entry):
        checked = check_command(inner)
        problems += checked.problems
        effect = "change" if checked.effect == "change" else effect
    return Checked(effect, tuple(f"{program} {name}: {problem}" for problem in problems))


def _plain(program: str, words: list[str], effect: Effect) -> Checked:
    if program == "sed" and any(word.startswith("-i") for word in words):
        effect = "change"
    return Checked(effect)


def _method(words: list[str]) -> Effect:
    for name in ("-X", "--request"):
        if name in words[:-1] and words[words.index(name) + 1] not in {"GET", "POST", "HEAD"}:
            return "change"
    return "read"


def _subcommand(
    words: list[str], commands: Mapping[str, Any]
) -> tuple[str, Mapping[str, Any] | None]:
    path = [word for word in words if not word.startswith("-")]
    for length in range(min(len(path), 6), 0, -1):
        name = " ".join(path[:length])
        if name in commands:
            return name, commands[name]
    return "", None


def _unknown(
    words: list[str], table: Mapping[str, Any], entry: Mapping[str, Any]
) -> tuple[str, ...]:
    known = {*table.get("flags", ()), *entry.get("flags", ())}
    found = []
    rest = list(words[1:] if entry.get("rest") else words)
    while rest:
        word = rest.pop(0)
        if word == "--" or (entry.get("rest") and not word.startswith("-")):
            break  # what follows belongs to another program
        if word in entry.get("valued", ()):
            del rest[:1]
        name = word.split("=", 1)[0]
        if not name.startswith("-") or name == "-" or name in known:
            continue
        if table.get("dotted") and name.split(".", 1)[0] in known:
            continue  # vLLM: --limit-mm-per-prompt.image=0
        letters = table.get("letters", "")
        if name.startswith("--") or any(letter not in letters for letter in name[1:]):
            found.append(f"{name} is not in its list of options")
    return tuple(found)


def _nested(words: list[str], entry: Mapping[str, Any]) -> Iterator[Command]:
    option = entry.get("command_in")  # an option whose value is a command, run elsewhere
    for index, word in enumerate(words):
        if option and word == option and index + 1 < len(words):
            yield from split_commands(words[index + 1])
        elif option and word.startswith(f"{option}="):
            yield from split_commands(word.split("=", 1)[1])
    if "--" in words and entry.get("command_after_dashes"):
        yield from _command(words[words.index("--") + 1 :])
