"""A report as text, Markdown or JSON; which one is a matter of form, not of content."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Mapping
from typing import Any, Literal

from tui.headless_markdown import render_markdown
from tui.headless_text import Paint, render_text

Style = Literal["text", "markdown", "json"]

# Not escaped by json.dumps, and not to be obeyed by a terminal: DEL and C1 controls,
# separators, bidirectional controls; lone surrogates could not be encoded at all.
_ESCAPE = re.compile(
    "[\x7f-\x9f\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069\ufeff\ud800-\udfff]"
)


def render(report: Mapping[str, Any], style: Style = "text") -> str:
    """Return the report in the form asked for, coloured only for a terminal that wants it."""
    if style == "json":
        return render_json(report)
    if style == "markdown":
        return render_markdown(report)
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    return render_text(report, paint=Paint(wants_color()), encoding=encoding)


def render_json(value: object) -> str:
    """Return JSON on lines, safe to show on a terminal, with a newline at its end."""
    text = json.dumps(value, indent=2, ensure_ascii=not _unicode_stdout(), default=str)
    return _ESCAPE.sub(lambda match: f"\\u{ord(match.group()):04x}", text) + "\n"


def wants_color() -> bool:
    """Return whether stdout is a terminal whose user did not refuse colour (no-color.org)."""
    if os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        return False
    return sys.stdout.isatty()


def _unicode_stdout() -> bool:
    return (getattr(sys.stdout, "encoding", None) or "utf-8").lower().replace("-", "") == "utf8"
