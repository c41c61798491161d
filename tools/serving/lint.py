"""Check the options of `vllm serve` against a version's snapshot and against known traps."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from tools.errors import UsageError
from tools.serving import lint_kernels, lint_setup
from tools.serving.finding import ORDER, Context, Finding, Given
from tools.serving.snapshot import Option, snapshot
from tools.sizing.accelerators import accelerator as card_of
from tools.sizing.flags import pairs
from tools.sizing.version import parse

Rule = Callable[[Given, Context], Iterator[Finding]]

RULES: tuple[Rule, ...] = (
    lint_setup.quotes, lint_kernels.kv_dtype, lint_kernels.weight_kernels, lint_kernels.parallel,
    lint_setup.tool_calls, lint_kernels.batch, lint_kernels.modalities, lint_setup.offline,
    lint_setup.address, lint_kernels.size, lint_setup.template, lint_setup.speculative,
    lint_setup.adapters, lint_setup.stack, lint_setup.spelling,
)  # fmt: skip


def lint_args(
    args: Sequence[str] | Mapping[str, Any],
    *,
    vllm_version: str,
    accelerator: str = "",
    model: str = "",
    chips: int = 0,
    env: Mapping[str, str] | None = None,
    packages: Mapping[str, str] | None = None,
) -> list[Finding]:
    """Return the findings, errors first.

    ``args`` are the words of a command line (``vllm serve`` in front may stay), or the mapping
    that vLLM prints as `non-default args`. ``chips`` is how many devices there are, ``env`` the
    container's environment, ``packages`` versions of transformers and huggingface_hub.
    Raises UsageError for a version or an accelerator that does not exist.
    """
    given = given_of(args)
    named = model or given.get("model", "model-tag") or (given.words[0] if given.words else "")
    context = Context(
        version=parse(vllm_version),
        version_text=vllm_version,
        accelerator=card_of(accelerator).name if accelerator else "",
        model=named,
        chips=chips,
        env=env,
        packages=packages,
    )
    found = [*_known(given, context)]
    for rule in RULES:
        found += rule(given, context)
    unique = dict.fromkeys(found)
    return sorted(unique, key=lambda finding: ORDER.index(finding.severity))


def given_of(args: Sequence[str] | Mapping[str, Any]) -> Given:
    """Return the options of a command line or of `non-default args`."""
    options: list[tuple[str, str | None]] = []
    words: list[str] = []
    for name, value in pairs(args):
        if name == "model-tag":  # vLLM's own name for the first word
            words.insert(0, value or "")
        elif name:
            options.append((name, value))
        elif value and value not in {"vllm", "serve"}:
            words.append(value)
    return Given(tuple(options), tuple(words), isinstance(args, Mapping))


def _known(given: Given, context: Context) -> Iterator[Finding]:
    options = snapshot(context.version_text)
    same = ".".join(map(str, context.version)) == options.version
    versions = options.version if same else ""
    for name, value in given.options:
        gone = lint_setup.removed(name, context)
        if gone:
            yield gone
            continue
        option = options.find(name)
        if option is None:
            yield _unknown(name, context, list(options.names), same, options.source)
        elif option.choices and value:
            yield from _choice(name, value, option, versions, options.source)
        elif not option.switch and value is None and not given.printed:
            yield Finding(
                "error", f"--{name}", "it needs a value", f"Write --{name} VALUE.", options.source
            )


def _unknown(name: str, context: Context, names: Sequence[str], same: bool, source: str) -> Finding:
    near = difflib.get_close_matches(name.split(".")[0], names, n=2, cutoff=0.6)
    fix = f"Did you mean {' or '.join('--' + one for one in near)}?" if near else "Drop it."
    if same:
        return Finding(
            "error", f"--{name}", "this vLLM has no such option: it exits with 2", fix, source,
            context.version_text,
        )  # fmt: skip
    return Finding(
        "warning",
        f"--{name}",
        f"not an option of the vLLM that is known best; {context.version_text} may differ",
        f"{fix} `vllm serve --help=all` of that image decides.",
        source,
    )


def _choice(name: str, value: str, option: Option, versions: str, source: str) -> Iterator[Finding]:
    chosen = value.strip('"')
    if chosen in option.choices or chosen.casefold() in map(str.casefold, option.choices):
        return
    near = difflib.get_close_matches(chosen, option.choices, n=2, cutoff=0.5)
    shown = " or ".join(near) if near else ", ".join(option.choices[:12])
    yield Finding(
        "warning" if option.open_choices else "error",
        f"--{name}",
        f"{chosen!r} is none of its choices"
        + (" and must then be registered by a plugin" if option.open_choices else ""),
        f"Choose {shown}.",
        source,
        versions,
    )


def parse_command(text: str) -> tuple[list[str], dict[str, str]]:
    """Return the words of a `vllm serve` command and the environment set in front of it.

    Understands a shell's quotes, line continuations, ``docker run … IMAGE --model X`` and
    ``VAR=value vllm serve``. Raises UsageError when a quote is not closed.
    """
    import shlex

    try:
        words = shlex.split(text.replace("\\\n", " "), comments=True)
    except ValueError as error:
        raise UsageError(f"The command can't be read: {error}.", fix="Close its quotes.") from None
    env: dict[str, str] = {}
    while words and "=" in words[0] and not words[0].startswith("-"):
        name, _, value = words.pop(0).partition("=")
        env[name] = value
    if "serve" in words:
        return words[words.index("serve") + 1 :], env
    for start in ("--model", "--model-tag"):
        if start in words:
            for index, word in enumerate(words):
                if word in {"-e", "--env"} and index + 1 < len(words):
                    name, _, value = words[index + 1].partition("=")
                    env[name] = value
            return words[words.index(start) :], env
    return words, env


__all__ = ["Finding", "lint_args", "parse_command"]
