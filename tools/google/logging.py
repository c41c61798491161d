"""Cloud Logging: typed queries in, log records out."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from tools.domain import LogRecord, Severity
from tools.errors import UsageError
from tools.google.clients import Cloud
from tools.google.quoting import any_of, label_key, quoted, timestamp
from tools.logs.records import record_from_entry

if TYPE_CHECKING:
    from google.cloud.logging_v2.types import LogEntry

# A larger page_size is refused (entries.list, google-cloud-logging 3.17.0).
MAX_PAGE = 1000
# A longer filter is refused (docs.cloud.google.com/logging/quotas).
MAX_FILTER = 20_000


@dataclass(frozen=True, slots=True)
class LogQuery:
    """What to read; an empty field does not restrict.

    ``log_ids`` are decoded log ids such as ``run.googleapis.com/stderr``; ``text`` is looked for
    in the text payload; times are ``start <= timestamp <= end``. ``labels`` are those of the
    monitored resource, ``entry_labels`` those of the entry itself.

    What a container prints to Cloud Run has no severity: ``min_severity`` hides it, so use that
    only for entries of the platform.
    """

    resource_types: tuple[str, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    entry_labels: Mapping[str, str] = field(default_factory=dict)
    log_ids: tuple[str, ...] = ()
    start: datetime | None = None
    end: datetime | None = None
    min_severity: Severity = Severity.DEFAULT
    text: str = ""
    oldest_first: bool = True

    def filter(self, project: str) -> str:
        """Return the filter in the Logging query language; raises UsageError if it is too long."""
        parts: list[str] = []
        if self.resource_types:
            parts.append(f"resource.type={any_of(self.resource_types)}")
        for key, value in self.labels.items():
            parts.append(f"resource.labels.{label_key(key)}={quoted(value)}")
        for key, value in self.entry_labels.items():
            parts.append(f"labels.{quoted(key)}={quoted(value)}")
        if self.log_ids:
            names = [f"projects/{project}/logs/{quote(name, safe='')}" for name in self.log_ids]
            parts.append(f"logName={any_of(names)}")
        if self.start is not None:
            parts.append(f"timestamp>={timestamp(self.start)}")
        if self.end is not None:
            parts.append(f"timestamp<={timestamp(self.end)}")
        if self.min_severity > Severity.DEFAULT:
            parts.append(f"severity>={self.min_severity.name}")
        if self.text:
            parts.append(f"textPayload:{quoted(self.text)}")
        text = " AND ".join(parts)
        if len(text) > MAX_FILTER:
            raise UsageError(
                f"The log filter has {len(text)} characters, and Cloud Logging takes {MAX_FILTER}."
            )
        return text


async def read_records(
    cloud: Cloud,
    query: LogQuery,
    limit: int,
    *,
    page_token: str = "",
    on_page: Callable[[Page], None] | None = None,
) -> AsyncIterator[LogRecord]:
    """Yield at most ``limit`` records in the query's order; see ``read_entries``."""
    async for entry in read_entries(cloud, query, limit, page_token=page_token, on_page=on_page):
        yield record_of(entry)


@dataclass(frozen=True, slots=True)
class Page:
    """One page that was read: how far the reading has come, and how to go on from there.

    ``token`` continues the same query, with the same window and order, and nothing else; it is
    empty when there is no more.
    """

    entries: int  # so far
    pages: int
    token: str


async def read_entries(
    cloud: Cloud,
    query: LogQuery,
    limit: int,
    *,
    page_token: str = "",
    on_page: Callable[[Page], None] | None = None,
) -> AsyncIterator[LogEntry]:
    """Yield at most ``limit`` entries as the API gives them; raises a CloudError.

    ``page_token`` goes on where an earlier reading of the same query ended; ``on_page`` hears of
    each page once its entries were taken. A page may be empty and still name a next one: Cloud
    Logging then ran out of time, not of entries.
    """
    from google.cloud.logging_v2.types import ListLogEntriesRequest

    left, token, pages = limit, page_token, 0
    while left > 0:
        await cloud.log_reads.take(cloud.config.limits.cloud)
        page: Any = await cloud.call(
            "logging",
            cloud.logging.list_log_entries,
            ListLogEntriesRequest(
                resource_names=[f"projects/{cloud.project}"],
                filter=query.filter(cloud.project),
                order_by="timestamp asc" if query.oldest_first else "timestamp desc",
                page_size=min(left, MAX_PAGE),
                page_token=token,
            ),
        )
        pages += 1
        for entry in page.entries:
            if left == 0:
                return
            left -= 1
            yield entry
        token = page.next_page_token
        if on_page is not None:
            on_page(Page(limit - left, pages, token))
        if not token:
            return


def record_of(entry: LogEntry) -> LogRecord:
    """Return an entry as a record.

    Nearly every entry is a line of text; those skip the conversion of whole messages, which
    takes longer than everything else that is done with them.
    """
    message = type(entry).pb(entry)
    if message.WhichOneof("payload") != "text_payload" or message.HasField("http_request"):
        return record_from_entry(entry_json(entry))
    known: dict[str, Any] = {
        "insertId": message.insert_id,
        "logName": message.log_name,
        "textPayload": message.text_payload,
        "resource": {"type": message.resource.type, "labels": dict(message.resource.labels)},
        "labels": dict(message.labels),
    }
    if message.severity:
        known["severity"] = Severity(message.severity).name
    for key in ("timestamp", "receive_timestamp"):
        if message.HasField(key):
            name = "receiveTimestamp" if key == "receive_timestamp" else key
            known[name] = getattr(message, key).ToJsonString()
    return record_from_entry(known)


def entry_json(entry: LogEntry) -> dict[str, Any]:
    """Return an entry as the mapping that ``gcloud logging read --format=json`` prints.

    An audit payload that holds a message of an unknown type loses that part, not the entry.
    """
    from google.protobuf.json_format import MessageToDict

    message = type(entry).pb(entry)
    if not message.HasField("proto_payload"):
        return dict(MessageToDict(message))
    from google.cloud.audit import audit_log_pb2

    try:
        return dict(MessageToDict(message))
    except TypeError:
        url = message.proto_payload.type_url
        audit = audit_log_pb2.AuditLog()
        known = message.proto_payload.Unpack(audit)
        bare = type(message)()
        bare.CopyFrom(message)
        bare.ClearField("proto_payload")
        payload: dict[str, Any] = {"@type": url}
        if known:
            audit.ClearField("service_data")
            del audit.status.details[:]
            payload |= MessageToDict(audit)
        return {**MessageToDict(bare), "protoPayload": payload}
