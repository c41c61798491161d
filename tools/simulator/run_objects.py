"""Services and revisions of Cloud Run Admin v2, made from a scenario's rows."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from google.cloud import run_v2

from tools.simulator.scenario import Scenario
from tools.simulator.timeline import parse_span, parse_time

_STATE: Any = run_v2.Condition.State
_REVISION_REASON: Any = run_v2.Condition.RevisionReason
_COMMON_REASON: Any = run_v2.Condition.CommonReason


def revision_times(row: Mapping[str, Any], now: datetime) -> tuple[datetime, datetime]:
    """Return when a revision was created, and when its readiness was decided."""
    created = parse_time(row["created"], now)
    if "ready_at" in row:
        return created, parse_time(row["ready_at"], now)
    return created, created + timedelta(minutes=3)


def readiness(row: Mapping[str, Any], base: datetime, now: datetime) -> bool | None:
    """Return whether a revision is ready at ``now``; None while it is not decided."""
    ready = row.get("ready", True)
    if ready is None or now < revision_times(row, base)[1]:
        return None
    return bool(ready)


def revision_message(scenario: Scenario, service: str, row: Mapping[str, Any]) -> str:
    """Return the message of a failed revision: the file's, or Cloud Run's usual one."""
    if "message" in row:
        return str(row["message"])
    # As an audit entry of 2026-06-06 has it.
    return (
        "The user-provided container failed the configured startup probe checks. Logs for this "
        "revision might contain more information.\n\nLogs URL: "
        f"https://console.cloud.google.com/logs/viewer?project={scenario.project}"
        f"&resource=cloud_run_revision/service_name/{service}/revision_name/{row['name']} \n"
        "For more troubleshooting guidance, see "
        "https://cloud.google.com/run/docs/troubleshooting#container-failed-to-start"
    )


def build_revision(
    scenario: Scenario, service: str, row: Mapping[str, Any], now: datetime
) -> run_v2.Revision:
    """Return a revision as it is at ``now``."""
    created, decided = revision_times(row, scenario.now)
    ready = readiness(row, scenario.now, now)
    parent = f"projects/{scenario.project}/locations/{scenario.location}/services/{service}"
    template = build_template(row)
    return run_v2.Revision(
        name=f"{parent}/revisions/{row['name']}",
        uid=str(uuid.uuid5(uuid.NAMESPACE_URL, str(row["name"]))),
        generation=1,
        labels=row.get("labels", {}),
        create_time=created,
        update_time=decided if ready is not None else created,
        service=service,
        scaling=template.scaling,
        max_instance_request_concurrency=template.max_instance_request_concurrency,
        timeout=template.timeout,
        service_account=template.service_account,
        containers=template.containers,
        volumes=template.volumes,
        execution_environment=run_v2.ExecutionEnvironment.EXECUTION_ENVIRONMENT_GEN2,
        node_selector=template.node_selector,
        gpu_zonal_redundancy_disabled=template.gpu_zonal_redundancy_disabled,
        reconciling=ready is None,
        conditions=_conditions(scenario, service, row, ready, created, decided),
        observed_generation=1,
        log_uri=(
            f"https://console.cloud.google.com/logs/viewer?project={scenario.project}"
            f"&resource=cloud_run_revision/service_name/{service}/revision_name/{row['name']}"
        ),
        creator=row.get("creator", "deployer@example.com"),
    )


def build_template(row: Mapping[str, Any]) -> run_v2.RevisionTemplate:
    """Return the template that makes the revision of a row."""
    limits = {"cpu": str(row.get("cpu", "8")), "memory": str(row.get("memory", "32Gi"))}
    if row.get("accelerator"):
        limits["nvidia.com/gpu"] = str(row.get("gpu", 1))
    container = run_v2.Container(
        name=row.get("container", "vllm-openai-1"),
        image=row["image"],
        command=row.get("command", ()),
        args=[str(arg) for arg in row.get("args", ())],
        env=[_env(key, value) for key, value in row.get("env", {}).items()],
        resources=run_v2.ResourceRequirements(
            limits=limits, cpu_idle=False, startup_cpu_boost=True
        ),
        ports=[run_v2.ContainerPort(name="http1", container_port=row.get("port", 8000))],
    )
    if "startup_probe" in row:
        container.startup_probe = _probe(row["startup_probe"], row.get("port", 8000))
    volumes = []
    for volume in row.get("volumes", ()):
        container.volume_mounts.append(
            run_v2.VolumeMount(name=volume["name"], mount_path=volume["mount"])
        )
        gcs = run_v2.GCSVolumeSource(
            bucket=volume["bucket"],
            read_only=volume.get("read_only", True),
            mount_options=volume.get("mount_options", ()),
        )
        volumes.append(run_v2.Volume(name=volume["name"], gcs=gcs))
    return run_v2.RevisionTemplate(
        labels=row.get("labels", {}),
        scaling=run_v2.RevisionScaling(
            min_instance_count=row.get("min_instances", 0),
            max_instance_count=row.get("max_instances", 1),
        ),
        timeout=parse_span(row.get("timeout", "1h")),
        service_account=row.get("service_account", ""),
        containers=[container],
        volumes=volumes,
        execution_environment=run_v2.ExecutionEnvironment.EXECUTION_ENVIRONMENT_GEN2,
        max_instance_request_concurrency=row.get("concurrency", 4),
        node_selector=(
            run_v2.NodeSelector(accelerator=row["accelerator"]) if row.get("accelerator") else None
        ),
        gpu_zonal_redundancy_disabled=bool(row.get("accelerator")),
    )


def _env(key: str, value: Any) -> run_v2.EnvVar:
    if isinstance(value, Mapping):
        reference = run_v2.SecretKeySelector(
            secret=value["secret"], version=str(value.get("version", "latest"))
        )
        return run_v2.EnvVar(name=key, value_source=run_v2.EnvVarSource(secret_key_ref=reference))
    return run_v2.EnvVar(name=key, value=str(value))


def _probe(row: Mapping[str, Any], port: int) -> run_v2.Probe:
    probe = run_v2.Probe(
        initial_delay_seconds=row.get("initial_delay", 0),
        timeout_seconds=row.get("timeout", 1),
        period_seconds=row.get("period", 10),
        failure_threshold=row.get("failures", 3),
    )
    if row.get("path"):
        probe.http_get = run_v2.HTTPGetAction(path=row["path"], port=port)
    else:
        probe.tcp_socket = run_v2.TCPSocketAction(port=port)
    return probe


def _conditions(
    scenario: Scenario,
    service: str,
    row: Mapping[str, Any],
    ready: bool | None,
    created: datetime,
    decided: datetime,
) -> list[run_v2.Condition]:
    if "conditions" in row:
        return [build_condition(item, scenario.now) for item in row["conditions"]]
    imported = run_v2.Condition(
        type_="ContainerReady",
        state=_STATE.CONDITION_SUCCEEDED,
        message="Container image import completed.",
        last_transition_time=created + timedelta(seconds=2),
    )
    if ready is None:
        pending = _STATE.CONDITION_RECONCILING
        return [
            run_v2.Condition(type_=kind, state=pending, last_transition_time=created)
            for kind in ("Ready", "ContainerHealthy")
        ] + [imported]
    failed = {"state": _STATE.CONDITION_FAILED, "last_transition_time": decided} | _reason(
        row.get("reason", "HEALTH_CHECK_CONTAINER_ERROR")
    )
    if not ready:
        failed["message"] = revision_message(scenario, service, row)
        broken = row.get("failed_condition", "ContainerHealthy")
        return [
            run_v2.Condition(type_="Ready", **failed),
            run_v2.Condition(type_=broken, **failed),
            imported,
        ]
    good = {"state": _STATE.CONDITION_SUCCEEDED, "last_transition_time": decided}
    kinds = ("Ready", "ContainerHealthy", "ResourcesAvailable")
    return [run_v2.Condition(type_=kind, **good) for kind in kinds] + [imported]


def _reason(name: str) -> dict[str, Any]:
    if name in _REVISION_REASON.__members__:
        return {"revision_reason": _REVISION_REASON[name]}
    return {"reason": _COMMON_REASON[name]}


def build_condition(row: Mapping[str, Any], now: datetime) -> run_v2.Condition:
    """Return a condition that the file spells out."""
    fields: dict[str, Any] = _reason(row["reason"]) if "reason" in row else {}
    return run_v2.Condition(
        type_=row["type"],
        state=_STATE[row["state"]],
        message=row.get("message", ""),
        last_transition_time=parse_time(row["at"], now) if "at" in row else now,
        **fields,
    )
