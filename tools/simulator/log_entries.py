"""Log entries of a scenario: compact blocks → LogEntry, as Cloud Run writes them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote

from google.cloud.audit import audit_log_pb2
from google.cloud.logging_v2.types import LogEntry
from google.protobuf import json_format, struct_pb2

from tools.simulator.scenario import Scenario
from tools.simulator.timeline import parse_span, parse_time

_LOG_IDS = {
    "stdout": "run.googleapis.com/stdout",
    "stderr": "run.googleapis.com/stderr",
    "system": "run.googleapis.com/varlog/system",
    "fuse": "run.googleapis.com//var/log/system",
    "requests": "run.googleapis.com/requests",
    "system_event": "cloudaudit.googleapis.com/system_event",
    "activity": "cloudaudit.googleapis.com/activity",
}
#: A traceback printed at once lands in the log some microseconds a line apart.
_STEP = "3us"


@dataclass(frozen=True, slots=True)
class StoredEntry:
    """An entry as it is served, and as the filter sees it."""

    time: datetime
    proto: LogEntry
    view: Mapping[str, Any]


def build_entries(scenario: Scenario, seed: int = 0) -> tuple[StoredEntry, ...]:
    """Return the scenario's entries, oldest first."""
    entries: list[StoredEntry] = []
    for block in scenario.logs:
        times = int(block.get("times", 1))
        every = parse_span(block.get("every", "1s"))
        start = parse_time(block["at"], scenario.now)
        for round_number in range(times):
            for fields in _lines(scenario, block, start + every * round_number, round_number):
                entries.append(_store(fields, f"{seed}/{scenario.name}/{len(entries)}"))
    return tuple(sorted(entries, key=lambda entry: entry.time))


def _lines(
    scenario: Scenario, block: Mapping[str, Any], start: datetime, round_number: int
) -> Iterator[dict[str, Any]]:
    base = _base(scenario, block)
    if "audit" in block:
        yield _audit(scenario, block, base) | {"timestamp": start}
    elif "request" in block:
        yield base | {"httpRequest": _request(block["request"]), "timestamp": start}
    elif "json" in block:
        yield base | {"jsonPayload": dict(block["json"]), "timestamp": start}
    else:
        step = parse_span(block.get("step", _STEP))
        prefix = block.get("prefix", "")
        for number, line in enumerate(str(block["text"]).rstrip("\n").split("\n")):
            moment = start + step * number
            text = (
                (prefix + line)
                .replace("{{time}}", moment.strftime("%m-%d %H:%M:%S"))
                .replace("{{clock}}", moment.strftime("%m/%d/%Y %H:%M:%S.%f"))
                .replace("{{n}}", str(round_number))
            )
            yield base | {"textPayload": text, "timestamp": moment}


def _base(scenario: Scenario, block: Mapping[str, Any]) -> dict[str, Any]:
    log_id = block.get("log") or _LOG_IDS[block.get("stream", "stdout")]
    labels = dict(block.get("labels", {}))
    if "instance" in block:
        digest = hashlib.sha512(f"{scenario.name}/{block['instance']}".encode()).hexdigest()
        labels["instanceId"] = "00" + digest[:118]
    fields: dict[str, Any] = {
        "logName": f"projects/{scenario.project}/logs/{quote(log_id, safe='')}",
        "resource": _resource(scenario, block),
    }
    if labels:
        fields["labels"] = labels
    # What a container prints carries no severity on Cloud Run.
    if "severity" in block:
        fields["severity"] = block["severity"]
    return fields


def _resource(scenario: Scenario, block: Mapping[str, Any]) -> dict[str, Any]:
    if "resource" in block:
        return {"type": block["resource"]["type"], "labels": dict(block["resource"]["labels"])}
    if scenario.kind == "tpu":
        node = str(block.get("node") or scenario.first_node)
        return {
            "type": "tpu_worker",
            "labels": {
                "project_id": scenario.project,
                "zone": scenario.zone,
                "node_id": node,
                "worker_id": str(block.get("worker", "0")),
            },
        }
    service = str(block.get("service") or scenario.service)
    return {
        "type": "cloud_run_revision",
        "labels": {
            "project_id": scenario.project,
            "location": scenario.location,
            "service_name": service,
            "configuration_name": service,
            "revision_name": str(block.get("revision") or scenario.newest_revision(service)),
        },
    }


def _audit(scenario: Scenario, block: Mapping[str, Any], base: Mapping[str, Any]) -> dict[str, Any]:
    audit = block["audit"]
    log_id = _LOG_IDS[audit.get("log", "system_event")]
    payload: dict[str, Any] = {
        "serviceName": audit.get("service", "run.googleapis.com"),
        "methodName": audit["method"],
        "resourceName": audit["resource"],
    }
    if "principal" in audit:
        payload["authenticationInfo"] = {"principalEmail": audit["principal"]}
    if "code" in audit:
        payload["status"] = {"code": audit["code"], "message": audit["message"]}
    for key in ("request", "response"):
        if key in audit:
            payload[key] = dict(audit[key])
    fields = dict(base) | {
        "logName": f"projects/{scenario.project}/logs/{quote(log_id, safe='')}",
        "protoPayload": {"@type": "type.googleapis.com/google.cloud.audit.AuditLog", **payload},
    }
    fields.setdefault("severity", "ERROR" if audit.get("code") else "NOTICE")
    return fields


def _request(row: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "requestMethod": row.get("method", "POST"),
        "requestUrl": row["url"],
        "status": int(row["status"]),
        "userAgent": row.get("user_agent", "OpenAI/Python"),
        "latency": f"{parse_span(row.get('latency', '0')).total_seconds():.6f}s",
    }


def _store(fields: dict[str, Any], key: str) -> StoredEntry:
    moment: datetime = fields["timestamp"]
    digest = hashlib.sha256(key.encode()).hexdigest()[:8]
    micros = moment.microsecond
    fields["insertId"] = f"{int(moment.timestamp()):08x}{micros:08x}{digest}"
    fields["receiveTimestamp"] = moment + timedelta(milliseconds=8)
    proto = LogEntry(
        log_name=fields["logName"],
        insert_id=fields["insertId"],
        labels=fields.get("labels", {}),
        severity=fields.get("severity", "DEFAULT"),
        timestamp=moment.astimezone(UTC),
        receive_timestamp=fields["receiveTimestamp"],
    )
    raw = LogEntry.pb(proto)
    raw.resource.type = fields["resource"]["type"]
    raw.resource.labels.update(fields["resource"]["labels"])
    if "textPayload" in fields:
        raw.text_payload = fields["textPayload"]
    elif "jsonPayload" in fields:
        json_format.ParseDict(fields["jsonPayload"], raw.json_payload)
    elif "protoPayload" in fields:
        raw.proto_payload.Pack(_audit_proto(fields["protoPayload"]))
    if "httpRequest" in fields:
        json_format.ParseDict(fields["httpRequest"], raw.http_request)
    return StoredEntry(moment, proto, fields)


def _audit_proto(payload: Mapping[str, Any]) -> audit_log_pb2.AuditLog:
    log = audit_log_pb2.AuditLog(
        service_name=payload["serviceName"],
        method_name=payload["methodName"],
        resource_name=payload["resourceName"],
    )
    if "authenticationInfo" in payload:
        log.authentication_info.principal_email = payload["authenticationInfo"]["principalEmail"]
    if "status" in payload:
        log.status.code = payload["status"]["code"]
        log.status.message = payload["status"]["message"]
    for key in ("request", "response"):
        if key in payload:
            struct = struct_pb2.Struct()
            json_format.ParseDict(payload[key], struct)
            getattr(log, key).CopyFrom(struct)
    return log
