"""Severity from the text, for entries that carry none.

What a container prints on Cloud Run has no severity, so the level that the program printed is
all there is: vLLM's logger, glog (``E0606``, ``[W606``), uvicorn, logfmt (``severity=INFO``),
and the first words of a crash.
"""

from __future__ import annotations

import re

from tools.domain import Severity

_WORDS = {
    "TRACE": Severity.DEBUG,
    "DEBUG": Severity.DEBUG,
    "INFO": Severity.INFO,
    "NOTICE": Severity.NOTICE,
    "WARN": Severity.WARNING,
    "WARNING": Severity.WARNING,
    "ERROR": Severity.ERROR,
    "ERR": Severity.ERROR,
    "SEVERE": Severity.ERROR,
    "FATAL": Severity.CRITICAL,
    "PANIC": Severity.CRITICAL,
    "CRITICAL": Severity.CRITICAL,
    "ALERT": Severity.ALERT,
    "EMERGENCY": Severity.EMERGENCY,
    "DEFAULT": Severity.DEFAULT,
}
_GLOG = {
    "I": Severity.INFO,
    "W": Severity.WARNING,
    "E": Severity.ERROR,
    "F": Severity.CRITICAL,
    "C": Severity.CRITICAL,
    "V": Severity.DEBUG,
}

# Behind the process: "ERROR 06-06 …", "INFO:     …", "[E606 03:41:27.1 file.cpp:1]", "E0606 …".
_START = re.compile(
    r"(?:\\x1b\[[0-9;]*m)*(?:\([A-Za-z][^()\n]{0,80} pid=\d+[^()\n]{0,60}\)(?:\\x1b\[[0-9;]*m)* ?)?"
    r"(?:\[rank\d+\]: ?)?(?:\\x1b\[[0-9;]*m)*"
    r"(?:(?:\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d\S* +(?:- +)?)?"
    r"(?P<word>DEBUG|INFO|NOTICE|WARNING|WARN|ERROR|CRITICAL|FATAL)(?::|\b(?=\\x1b|[ \]|-]))"
    r"|\[?(?P<glog>[IWEFCV])\d{3,4} \d\d:\d\d:\d\d"
    r"|\[(?P<boxed>DEBUG|INFO|WARNING|WARN|ERROR|CRITICAL|FATAL)\]"
    r"|(?P<crash>Traceback \(most recent call last\)|panic: |fatal error: |Fatal Python error"
    r"|terminate called|\*\*\* SIG|Segmentation fault|E: |ERROR\b"
    r"|[\w.]*(?:Error|Exception)(?:: |$)|[\w./ -]{1,60}: error: ))"
)
_LOGFMT = re.compile(r"\b(?:severity|level|lvl)=\"?([A-Za-z]{3,9})\b")
_EXIT = re.compile(
    r"Container called exit\((\d+)\)|Container terminated on signal (\d+)"
    r"|Memory limit of .{1,40} exceeded|probe failed|Uncaught signal: \d+"
)


def severity_named(name: object) -> Severity | None:
    """Return the severity that a field names, by word or number, or None."""
    if isinstance(name, bool):
        return None
    if isinstance(name, int):
        return Severity(name) if name in Severity._value2member_map_ else None
    return _WORDS.get(name.strip().upper()) if isinstance(name, str) else None


def infer_severity(text: str) -> Severity:
    """Return the severity that the text gives away, DEFAULT if it does not."""
    match = _START.match(text)
    if match is not None:
        word = match["word"] or match["boxed"]
        if word is not None:
            return _WORDS[word]
        if match["glog"] is not None:
            return _GLOG[match["glog"]]
        return Severity.ERROR
    if "=" in text:
        logfmt = _LOGFMT.search(text, 0, 4096)
        if logfmt is not None:
            return _WORDS.get(logfmt[1].upper(), Severity.DEFAULT)
    return Severity.DEFAULT


def infer_platform_severity(text: str) -> Severity:
    """Return the severity of a line of the platform: exits, signals, probes, memory limits."""
    match = _EXIT.search(text, 0, 4096)
    if match is not None:
        # exit(0) and signal 15 are how an instance is scaled in.
        return Severity.INFO if match[1] == "0" or match[2] == "15" else Severity.ERROR
    return infer_severity(text)
