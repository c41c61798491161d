"""What is known of wrappers, plumbing and request handling, read from ``tracebacks.toml``."""

from __future__ import annotations

import re
import tomllib
from functools import lru_cache
from importlib.resources import files
from typing import NamedTuple


class Wrapper(NamedTuple):
    """An exception that only reports another one."""

    type: str
    message: str
    ends: bool  # the process that printed it ended


class TracebackRules(NamedTuple):
    """The rules, ready for use; prefixes as tuples for ``str.startswith``."""

    wrappers: tuple[Wrapper, ...]
    symptoms: tuple[str, ...]
    plumbing: tuple[str, ...]
    request: tuple[str, ...]
    own_words: tuple[str, ...]


@lru_cache(maxsize=1)
def traceback_rules() -> TracebackRules:
    """Return the rules that ship with the package."""
    data = tomllib.loads((files("tools.logs") / "tracebacks.toml").read_text("utf-8"))
    return TracebackRules(
        wrappers=tuple(Wrapper(w["type"], w["message"], w["ends"]) for w in data["wrapper"]),
        symptoms=tuple(data["symptoms"]["lines"]),
        plumbing=tuple(data["frames"]["plumbing"]),
        request=tuple(data["frames"]["request"]),
        own_words=tuple(data["frames"]["own_words"]),
    )


def wrapper_of(type_name: str, message: str) -> Wrapper | None:
    """Return the rule by which an exception is a wrapper, or None."""
    last = type_name.rpartition(".")[2]
    for wrapper in traceback_rules().wrappers:
        if wrapper.type == last and message.startswith(wrapper.message):
            return wrapper
    return None


def is_plumbing(frame: str) -> bool:
    """Tell whether a frame only carries the call."""
    return frame.startswith(traceback_rules().plumbing)


def is_request_frame(frame: str) -> bool:
    """Tell whether a frame handles one request."""
    return frame.startswith(traceback_rules().request)


_PACKAGES = re.compile(r".*/(?:dist-packages|site-packages)/|.*/lib(?:64)?/python3\.\d+/")


def short_path(path: str) -> str:
    """Return a source path without the parts that differ between machines and Python releases."""
    short = _PACKAGES.sub("", path)
    if short != path or path.startswith("<") or not path.startswith("/"):
        return short
    return "/".join(path.rsplit("/", 2)[-2:])
