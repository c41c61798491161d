"""Secrets, replaced by a placeholder that says what stood there.

Formats are those that the issuers document, with their fixed prefixes; what has no prefix is
found by the name that it is assigned to (``api_key=``, ``--hf-token``). Entropy is not used: it
calls image digests, insertIds and instance ids secrets, and those are evidence.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import re2

# Substrings of which every pattern below needs at least one.
SECRET_HINTS = (
    "hf_",
    "api_org_",
    "AIza",
    r"ya29\.",
    "1//0",
    "GOCSPX",
    "eyJ",
    "PRIVATE KEY",
    "A[KS]IA[A-Z0-9]{12}",
    "gh[oprsu]_",
    "github_pat_",
    "glpat-",
    "sk-",
    "sk_live_",
    "xox[a-z]-",
    "xapp-",
    "hooks.slack.com",
    "nvapi-",
    "pypi-AgE",
    "npm_",
    r"://[^\s/@]*@",
    "(?i:authoriz|bearer|cookie|api.?key|token|secret|passw|pwd|passphrase|credential)",
    "(?i:signature|sig)=",
)

PRIVATE_KEY = "⟨redacted:private-key⟩"

_PREFIXED: tuple[tuple[str, str], ...] = (
    # A key whose end was cut off is taken up to the end of its base64 lines.
    (
        r"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY-----"
        r"(?:[^-]*-----END [A-Z0-9 ]{0,40}PRIVATE KEY-----"
        r"|[A-Za-z0-9+/=\\\s,:]*)",
        "private-key",
    ),
    (r"\bhf_[A-Za-z0-9]{16,}", "hf-token"),
    (r"\bapi_org_[A-Za-z0-9]{16,}", "hf-token"),
    (r"\bAIza[0-9A-Za-z_-]{30,}", "google-api-key"),
    (r"\bya29\.[0-9A-Za-z_.-]{10,}", "oauth-token"),
    (r"\b1//0[0-9A-Za-z_-]{20,}", "oauth-refresh-token"),
    (r"\bGOCSPX-[0-9A-Za-z_-]{20,}", "oauth-client-secret"),
    (r"\beyJ[0-9A-Za-z_-]{5,}\.[0-9A-Za-z_-]{5,}(?:\.[0-9A-Za-z_-]*)?", "jwt"),
    (r"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b", "aws-key"),
    (r"\bgh[oprsu]_[A-Za-z0-9]{20,}", "github-token"),
    (r"\bgithub_pat_[A-Za-z0-9_]{20,}", "github-token"),
    (r"\bglpat-[A-Za-z0-9_-]{16,}", "gitlab-token"),
    (r"\bsk-[A-Za-z0-9_-]{16,}", "api-key"),
    (r"\bsk_live_[A-Za-z0-9]{16,}", "api-key"),
    (r"\bxox[a-z]-[A-Za-z0-9-]{8,}", "slack-token"),
    (r"\bxapp-[A-Za-z0-9-]{8,}", "slack-token"),
    (r"\bhooks\.slack\.com/services/[A-Za-z0-9/_-]+", "slack-webhook"),
    (r"\bnvapi-[A-Za-z0-9_-]{16,}", "nvidia-key"),
    (r"\bpypi-AgE[A-Za-z0-9_-]{16,}", "pypi-token"),
    (r"\bnpm_[A-Za-z0-9]{20,}", "npm-token"),
)

# Group 1 stays, group 2 is the secret.
_HEADER = (
    r"""(?i)(\b(?:proxy-)?authorization\\?["']?\s*[:=]\s*\\?["']?(?:b["'])?"""
    r"""(?:(?:bearer|basic|token|digest|negotiate|apikey)\s+)?)([^\s"'⟨⟩,;}\])\\]+)"""
)
_BEARER = r"(?i)(\bbearer\s+)([A-Za-z0-9._~+/=-]{16,})"
_COOKIE = r"""(?i)(\b(?:set-)?cookie\\?["']?\s*:\s*\\?["']?)([^\s"'⟨⟩][^"'\n⟨⟩]*)"""
_URL = r"(://[^\s/:@?#'\"⟨⟩]*:)([^\s/@'\"⟨⟩]+)(@)"
_NAME = (
    r"(?:api[_-]?keys?|access[_-]?key|secret[_-]?key|account[_-]?key|token|secret|password|passwd|pwd"
    r"|passphrase|private[_-]?key|credentials?|signature|sig)"
)
# ``name=value``, ``"name": "value"``, ``'name': ['value']``; not ``max_tokens=5``.
_QUOTED = (
    rf"(?i)(\b[A-Za-z0-9_.-]*?{_NAME}"
    r"""\\?["']?\s*[:=]\s*[\[(]?\s*\\?["'])([^"'\\⟨⟩\n]{3,})"""
)
_ASSIGNED = rf"(?i)(\b[A-Za-z0-9_.-]*?{_NAME}=)([^\s\"'⟨⟩,;&)}}\]]{{3,}})"
_FLAG = rf"(?i)(--[A-Za-z0-9-]*?{_NAME}\s+)([^\s\"'⟨⟩-][^\s\"'⟨⟩]{{2,}})"
_COLON = rf"(?i)(\b[A-Za-z0-9_.-]*?{_NAME}:\s*)([^\s\"'⟨⟩,;&)}}\]{{\[(<]{{6,}})"

# Values that follow such a name and are no secret: they are what a failure may be about.
_HARMLESS = re2.compile(
    r"(?i)^(?:none|null|true|false|unset|missing|required|expected|invalid|empty|not|\*+"
    r"|[0-9.]+|\$.*|<.*|\.\.\..*|projects/.*|secret:.*|latest|/.*|gs://.*|\[.*"
    r"|redacted.*|xxx+)$"
)
# In prose ("password: hunter2") only a value with letters and digits is taken for a secret.
_MIXED = re2.compile(r"[A-Za-z].*[0-9]|[0-9].*[A-Za-z]")
# The name of a thing beside its secret is an identifier.
_IDENTIFIER = re2.compile(
    r"(?i)(?:num|max|min|pad|bos|eos|unk|special|per|stop|image|audio|next)_?token=$"
)


def redact_secrets(text: str) -> str:
    """Return the text with each secret replaced by ``⟨redacted:kind⟩``.

    Kinds are named after the issuer or, where only the name of the variable gives it away,
    ``secret``. The name, the scheme of a header and the user of a URL stay.
    """
    for pattern, kind in _PREFIX_PATTERNS:
        if pattern.search(text) is not None:
            text = pattern.sub(_placeholder(kind), text)
    for pattern, replace in _NAMED_PATTERNS:
        if pattern.search(text) is not None:
            text = pattern.sub(replace, text)
    return text


def _placeholder(kind: str) -> Callable[[Any], str]:
    # A function, because RE2's own templates take the replacement for Latin-1.
    shown = f"⟨redacted:{kind}⟩"
    return lambda _: shown


_SCHEMES = frozenset({"bearer", "basic", "token", "digest", "negotiate", "apikey"})


def _header(match: Any) -> str:
    if match.group(2).lower() in _SCHEMES:  # its credential has been replaced already
        return str(match.group(0))
    return f"{match.group(1)}⟨redacted:authorization⟩"


def _keep_name(kind: str) -> Callable[[Any], str]:
    def replace(match: Any) -> str:
        return f"{match.group(1)}⟨redacted:{kind}⟩"

    return replace


def _unless_harmless(match: Any) -> str:
    name, value = match.group(1), match.group(2)
    if _HARMLESS.search(value) is not None or _IDENTIFIER.search(name) is not None:
        return str(match.group(0))
    return f"{name}⟨redacted:secret⟩"


def _if_mixed(match: Any) -> str:
    if _MIXED.search(match.group(2)) is None:
        return str(match.group(0))
    return _unless_harmless(match)


def _password(match: Any) -> str:
    return f"{match.group(1)}⟨redacted:password⟩{match.group(3)}"


_PREFIX_PATTERNS = tuple((re2.compile(pattern), kind) for pattern, kind in _PREFIXED)
_NAMED_PATTERNS: tuple[tuple[Any, Callable[[Any], str]], ...] = (
    (re2.compile(_HEADER), _header),
    (re2.compile(_BEARER), _keep_name("bearer-token")),
    (re2.compile(_COOKIE), _keep_name("cookie")),
    (re2.compile(_URL), _password),
    (re2.compile(_QUOTED), _unless_harmless),
    (re2.compile(_ASSIGNED), _unless_harmless),
    (re2.compile(_FLAG), _unless_harmless),
    (re2.compile(_COLON), _if_mixed),
)
