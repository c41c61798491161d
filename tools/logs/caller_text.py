"""What a caller of the endpoint controls, replaced by placeholders.

A request can put any words into a log: in its prompt, its id, its path, the name of the model
that it asks for. Such words are never evidence, so they do not survive into canonical text.
Lines of vLLM are known by their wording: ``entrypoints/logger.py``, ``v1/engine/async_llm.py``
(0.8 to 0.32), uvicorn's access log, and pydantic's echo of the input that it refused. Where a
caller's text runs to the end of the message, everything from its start is replaced: its end
can't be told from text that only looks like an end.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import re2

OPEN = "⟨prompt…⟩"  # the caller's quote was still open at the end of the text
INNER = "⟨prompt⟩"
CLOSE = "⟨…prompt⟩"  # a line that may be where the caller's quote ended

# Substrings of which every pattern below needs at least one.
CALLER_HINTS = (
    "Received request ",
    r"[Rr]equest(?:s|\(s\))?[ :]",
    "[Gg]enerated response ",
    r" HTTP/[0-9]",
    "error=ErrorInfo",
    "object='error'",
    "does not exist",
    "input_value=",
    r"""["']input["']: """,
    r"""["']messages\\?["']\s*:""",
    r"""["']prompt\\?["']\s*:""",
    "(?i:x-request-id|user-agent|referer|x-forwarded-for|headers[=:])",
    "LoRA (?:adapter|module)",
    "[Tt]he model [`'\"]",
    "(?:in|from|for|of) (?:the )?request: ",
)

# What follows a prompt in vLLM's request lines; a line that holds it may end a prompt.
_END = (
    r"""['"]\]?, (?:params|prompt_token_ids|prompt_embeds shape|output_token_ids|lora_request"""
    r"""|sampling_params|finish_reason): """
)
CLOSES = re2.compile(_END)
ENDS_QUOTE = re2.compile(r"""['"][\])}]*\.?\s*$""")

# Routes of vLLM's server (routes printed by vLLM 0.22 and 0.32 at start-up).
_ROUTES = (
    r"/(?:health|ping|live|load|metrics|version|tokenize|detokenize|invocations|pooling|classify|score"
    r"|rerank|docs|redoc|openapi\.json|generative_scoring|is_sleeping|sleep|wake_up|server_info"
    r"|reset_prefix_cache|collective_rpc|generate|abort_requests"
    r"|v1/models|v1/(?:chat/completions|completions|responses|messages|embeddings|rerank|score"
    r"|audio/transcriptions|audio/translations|load_lora_adapter|unload_lora_adapter"
    r"|chat/completions/(?:batch|render|derender)|completions/(?:render|derender)"
    r"|messages/(?:count_tokens|render)|responses/render)"
    r"|inference/v1/(?:generate|abort_requests))?"
)
_ROUTE = re2.compile(f"^{_ROUTES}$")
_METHODS = frozenset(
    {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "CONNECT", "TRACE"}
)
_ADDRESS = re2.compile(r"^(?:[0-9.]{7,15}|\[?[0-9a-fA-F:.]{2,45}\]?)(?::[0-9]{1,5})?$")


def known_path(path: str) -> str:
    """Return the path if it is a route of vLLM's server, else ``⟨path⟩``; its query is dropped."""
    route, mark, _ = path.partition("?")
    shown = route if _ROUTE.search(route) is not None else "⟨path⟩"
    return shown + ("?⟨query⟩" if mark else "")


def known_method(method: str) -> str:
    """Return the HTTP method if it is one of the standard ones, else ``⟨method⟩``."""
    return method if method in _METHODS else "⟨method⟩"


def replace_caller_text(text: str) -> str:
    """Return the text with caller-controlled parts replaced; idempotent on its own output."""
    for pattern, replace in _PATTERNS:
        if pattern.search(text) is not None:
            text = pattern.sub(replace, text)
    return text


def _quoted_tail(head: str, tail: str) -> str:
    """Return head and a placeholder for the tail, saying whether its quote had closed.

    The last line decides: a prompt printed raw has line feeds in it, and an end in an earlier
    line may be the caller's own.
    """
    if tail in (OPEN, INNER):
        return head + tail
    first_line = tail.split("\n", 1)[0]
    closed = "\n" not in tail and (
        CLOSES.search(first_line) is not None or ENDS_QUOTE.search(first_line) is not None
    )
    return head + (INNER if closed or not tail.strip() or tail[0] not in "'\"[" else OPEN)


def _request_line(match: Any) -> str:
    words, kind, tail = match.group(1), match.group(2), match.group(3)
    if kind == "params":
        return f"{words}⟨request-id⟩: params: ⟨params⟩"
    return _quoted_tail(f"{words}⟨request-id⟩: prompt: ", tail)


def _details_line(match: Any) -> str:
    return _quoted_tail("Request ⟨request-id⟩ details: prompt: ", match.group(1))


def _response_line(match: Any) -> str:
    return _quoted_tail(f"{match.group(1)}⟨request-id⟩: output: ", match.group(2))


def _access_line(match: Any) -> str:
    client, method, path, rest = match.groups()
    shown = client if _ADDRESS.search(client) is not None else "⟨client⟩"
    return f'{shown} - "{known_method(method)} {known_path(path)} {rest}'


def _bare_request(match: Any) -> str:
    return f'"{known_method(match.group(1))} {known_path(match.group(2))} {match.group(3)}'


def _bad_request(match: Any) -> str:
    return f"{match.group(1)}⟨request-id⟩{match.group(2)}⟨message⟩"


def _echoed_value(match: Any) -> str:
    # pydantic's echo, cut off before its end.
    whole = str(match.group(0))
    return whole if ", input_type=" in whole else f"{match.group(1)}⟨value⟩"


def _body(match: Any) -> str:
    # A genuine end of an enclosing prompt in the part that goes must still be seen as one.
    tail = match.group(2)
    if tail in ("⟨body⟩", "⟨body⟩', params: ⟨params⟩"):
        return str(match.group(0))
    end = "', params: ⟨params⟩" if CLOSES.search(tail) is not None else ""
    return f"{match.group(1)}⟨body⟩{end}"


def _keep(placeholder: str, end: str = "") -> Callable[[Any], str]:
    # A function, because RE2's own templates take the replacement for Latin-1.
    def replace(match: Any) -> str:
        kept = [group or "" for group in match.groups()]
        return kept[0] + placeholder + "".join(kept[1:]) + end

    return replace


_PATTERNS: tuple[tuple[Any, Callable[[Any], str]], ...] = (
    # Closed forms first: their tail is everything that follows, other lines included.
    (
        re2.compile(r"(?s)(Received request )(?:[^\n]*?): (prompt|params): (.*)$"),
        _request_line,
    ),
    (re2.compile(r"(?s)Request [^\n]*? details: prompt: (.*)$"), _details_line),
    (
        re2.compile(r"(?s)(Generated response )[^\n]*?: output: (.*)$"),
        _response_line,
    ),
    (
        re2.compile(r"(?s)(Request )[^\n]*?( failed \((?:bad request|input error)\): ).*$"),
        _bad_request,
    ),
    (
        re2.compile(
            r"(Request )[^\n]*( (?:failed|aborted|cancelled)(?: \(engine dead\))?\.?)(?:: [^\n]*)?$"
        ),
        _keep("⟨request-id⟩"),
    ),
    (
        re2.compile(
            r"(?s)((?:Added|Aborted|Finished|Cancelled|Aborting) request(?:\(s\)|s)?:? ).*$"
        ),
        _keep("⟨request-id⟩", "."),
    ),
    (
        re2.compile(r"(?s)(fields were present in the request but ignored: ).*$"),
        _keep("⟨fields⟩"),
    ),
    (
        re2.compile(
            r"(?s)(error=ErrorInfo\(message=).*?"
            r"(?:(, type='[A-Za-z]{1,60}', )(?:param=[^\n]*, )?(code=[0-9]{3}\)))?$"
        ),
        _keep("⟨message⟩"),
    ),
    (
        re2.compile(
            r"(?s)(object='error' message=).*?"
            r"(?:( type='[A-Za-z]{1,60}' )(?:param=[^\n]* )?(code=[0-9]{3}))?$"
        ),
        _keep("⟨message⟩"),
    ),
    (re2.compile(r"([Tt]he model [`'\"])[^\n]*([`'\"] does not exist)"), _keep("⟨model-name⟩")),
    (re2.compile(r"(LoRA (?:adapter|module) [`'\"])[^\n]*([`'\"])"), _keep("⟨model-name⟩")),
    # A name with a line feed in it: what follows in other entries is still the caller's.
    (
        re2.compile(r"((?:[Tt]he model|LoRA (?:adapter|module)) [`'\"])[^`'\"\n]*$"),
        _keep(OPEN),
    ),
    (
        re2.compile(r"(?i)(\berror [^\n:]{0,60} (?:in|from|for|of) (?:the )?request: )\S[^\n]*"),
        _keep("⟨message⟩"),
    ),
    # uvicorn: INFO:     1.2.3.4:5 - "GET /x?y HTTP/1.1" 200 OK
    (
        re2.compile(r'([^\s"]+) - "([^\s"]+) ([^\n]*) (HTTP/[0-9.]+" [0-9]{3})'),
        _access_line,
    ),
    (re2.compile(r'"([A-Z]{3,7}) (/[^\n]*) (HTTP/[0-9.]+")'), _bare_request),
    (re2.compile(r"(\binput_value=)[^\n]*$"), _echoed_value),
    (re2.compile(r"(\binput_value=)[^\n]*(, input_type=[A-Za-z_]{1,60}\])"), _keep("⟨value⟩")),
    (re2.compile(r"""(?s)(["']input["']: ).*$"""), _keep("⟨value⟩")),
    (re2.compile(r"""(?s)(["'](?:messages|prompt)\\?["']\s*: ?)(.*)$"""), _body),
    (
        re2.compile(
            r"""(?i)(\b(?:x-request-id|user-agent|referer|x-forwarded-for)\\?["']?\s*[:=]\s*)[^\n]*$"""
        ),
        _keep("⟨header⟩"),
    ),
    (re2.compile(r"(?is)(\b(?:request )?headers[=:]\s*)\S.*$"), _keep("⟨header⟩")),
)
