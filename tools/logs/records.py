"""One shape for every log entry: text, structured, audit and request entries become records.

Names of logs are those that Cloud Run writes (seen in a real export of 2026-06):
``run.googleapis.com/stdout`` and ``/stderr`` for the container, ``/varlog/system`` and
``//var/log/system`` for the platform, gcsfuse included, ``cloudaudit.googleapis.com/…`` for the
control plane, ``run.googleapis.com/requests`` for requests. On GKE ``stdout`` and ``stderr`` stand
alone and ``events`` is the cluster's; Vertex AI writes ``…/prediction_access`` for requests (both
after Google's documentation, not seen).
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any
from urllib.parse import unquote

from tools.domain import LogRecord, Origin, Severity, Stream
from tools.logs.canonical import canonical_text
from tools.logs.payloads import (
    Words,
    audit_words,
    front_end_verdict,
    http_status,
    json_words,
    request_words,
    text_words,
)
from tools.logs.prefix import has_forged_process
from tools.logs.severity import infer_platform_severity, infer_severity, severity_named

MAX_TEXT = 262_144  # characters; Cloud Logging takes entries of 256 KiB

_NO_LABELS: Mapping[str, Any] = {}


def record_from_entry(entry: Mapping[str, Any], *, fallback_ref: str = "") -> LogRecord:
    """Return a log entry, in the JSON form of the API, as a record.

    ``fallback_ref`` names the record when the entry has no insertId. Fields of a wrong type count
    as missing: an export is input, and may be anything.
    """
    stream, origin = _place(_text(entry.get("logName")))
    request = entry.get("httpRequest")
    proto = entry.get("protoPayload")
    structured = entry.get("jsonPayload")
    status: int | None = None
    if isinstance(proto, Mapping):
        words = audit_words(proto)
        stream, origin = "audit", Origin.CONTROL_PLANE
    elif isinstance(request, Mapping) and (stream == "request" or not _has_words(entry)):
        words = request_words(request)
        stream, origin, status = "request", Origin.CALLER, http_status(request)
        verdict = front_end_verdict(entry.get("textPayload"))
        if verdict:  # then no word of the entry is the caller's
            words, origin = Words(f"{words.text} {verdict}"), Origin.PLATFORM
    elif isinstance(structured, Mapping):
        words = json_words(structured)
    elif "textPayload" in entry:
        words = text_words(entry["textPayload"])
    else:
        words = json_words({k: v for k, v in entry.items() if k not in _ENVELOPE})
    text = _canonical(f"{words.text}\n{words.trace}" if words.trace else words.text)
    if origin is Origin.PROCESS and has_forged_process(text):
        origin = Origin.CALLER
    severity, inferred = _severity(entry, words, text, origin)
    resource = entry.get("resource")
    kind, labels = "", _NO_LABELS
    if isinstance(resource, Mapping):
        kind = _text(resource.get("type"))
        found = resource.get("labels")
        labels = found if isinstance(found, Mapping) else _NO_LABELS
    own = entry.get("labels")
    own = own if isinstance(own, Mapping) else _NO_LABELS
    return LogRecord(
        ref=_safe(entry.get("insertId")) or fallback_ref,
        text=text,
        time=parse_time(entry.get("timestamp")) or parse_time(entry.get("receiveTimestamp")),
        severity=severity,
        severity_inferred=inferred,
        stream=stream,
        origin=origin,
        resource=_safe(kind),
        project=_first(labels, "project_id"),
        location=_first(labels, "location", "zone", "region"),
        service=_first(labels, "service_name", "endpoint_id", "container_name", "node_id"),
        revision=_first(labels, "revision_name", "deployed_model_id"),
        instance=_first(own, "instanceId") or _first(labels, "instance_id", "pod_name", "node_id"),
        status=status,
        method=_safe(words.method),
    )


_ENVELOPE = frozenset(
    {
        "insertId", "logName", "receiveTimestamp", "timestamp", "resource", "labels", "severity",
        "httpRequest", "trace", "spanId", "traceSampled", "sourceLocation", "operation", "split",
    }
)  # fmt: skip


def cut_mark(number: int) -> str:
    """Return what stands at the end of a text of which so many bytes or characters were cut."""
    return f"⟨cut: {number} more⟩"


def _canonical(text: str) -> str:
    if len(text) > MAX_TEXT + 64:  # room for the mark of a line that was cut on reading
        text = f"{text[:MAX_TEXT]} {cut_mark(len(text) - MAX_TEXT)}"
    return canonical_text(text)


def record_from_line(line: str, ref: str, *, time: datetime | None = None) -> LogRecord:
    """Return one line of plain text as a record; its severity is inferred, its stream unknown."""
    text = _canonical(line)
    severity = infer_severity(text)
    origin = Origin.CALLER if has_forged_process(text) else Origin.PROCESS
    return LogRecord(
        ref=ref,
        text=text,
        time=time,
        severity=severity,
        severity_inferred=severity is not Severity.DEFAULT,
        origin=origin,
    )


def parse_time(value: object) -> datetime | None:
    """Return an RFC 3339 time in UTC, None if it is none; nanoseconds become microseconds."""
    if not isinstance(value, str) or not 19 <= len(value) <= 40:
        return None
    if len(value) > 27 and value[19:20] == ".":  # nanoseconds
        digits = value[20:].rstrip("Zz")
        for mark in "+-":
            digits = digits.partition(mark)[0]
        value = value[:20] + digits[:6] + value[20 + len(digits) :]
    try:
        time = datetime.fromisoformat(value)
    except ValueError:
        return None
    try:
        return time.astimezone(UTC) if time.tzinfo is not None else time.replace(tzinfo=UTC)
    except (OverflowError, ValueError):
        return None


@lru_cache(maxsize=1024)
def _place(log_name: str) -> tuple[Stream, Origin]:
    name = unquote(log_name.rpartition("/logs/")[2] or log_name)
    if name.startswith("cloudaudit.googleapis.com"):
        return "audit", Origin.CONTROL_PLANE
    if name.endswith(("/requests", "/prediction_access")):
        return "request", Origin.CALLER
    if name == "events" or name.endswith(
        ("varlog/system", "var/log/system", "/cluster-autoscaler-visibility")
    ):
        return "system", Origin.PLATFORM
    if name == "stdout" or name.endswith("/stdout"):
        return "stdout", Origin.PROCESS
    if name == "stderr" or name.endswith("/stderr"):
        return "stderr", Origin.PROCESS
    return "unknown", Origin.PROCESS


def _has_words(entry: Mapping[str, Any]) -> bool:
    return "textPayload" in entry or "jsonPayload" in entry


def _severity(
    entry: Mapping[str, Any], words: Words, text: str, origin: Origin
) -> tuple[Severity, bool]:
    named = severity_named(entry.get("severity"))
    if named is None or named is Severity.DEFAULT:
        named = severity_named(words.severity)
    if named is not None and named is not Severity.DEFAULT:
        if origin is Origin.PLATFORM and named < Severity.ERROR:
            # Cloud Run calls "Container called exit(1)." a warning.
            inferred = infer_platform_severity(text)
            if inferred >= Severity.ERROR:
                return inferred, True
        return named, False
    if origin is Origin.PLATFORM:
        inferred = infer_platform_severity(text)
    elif origin is Origin.CALLER:
        return Severity.DEFAULT, False
    else:
        inferred = infer_severity(text)
    return inferred, inferred is not Severity.DEFAULT


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


@lru_cache(maxsize=4096)
def _clean(value: str) -> str:
    return canonical_text(value).replace("\n", " ").replace("\t", " ")


def _safe(value: object) -> str:
    return _clean(value[:512]) if isinstance(value, str) and value else ""


def _first(labels: Mapping[str, Any], *names: str) -> str:
    for name in names:
        value = labels.get(name)
        if isinstance(value, str) and value:
            return _clean(value[:512])
    return ""
