"""Errors of Google's APIs: a code, a message, and details packed as the real services pack them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from google.protobuf import any_pb2, duration_pb2
from google.rpc import code_pb2, error_details_pb2, status_pb2

#: The trailing metadata key under which a google.rpc.Status travels (gRPC's richer error model).
DETAILS_KEY = "grpc-status-details-bin"


@dataclass(slots=True)
class Refusal(Exception):
    """An error answer: ``code`` by its google.rpc name, details as protobuf messages."""

    code: str
    message: str
    details: tuple[Any, ...] = field(default_factory=tuple)

    def status(self) -> status_pb2.Status:
        """Return the error as google.rpc.Status."""
        packed = []
        for detail in self.details:
            holder = any_pb2.Any()
            holder.Pack(detail)
            packed.append(holder)
        return status_pb2.Status(
            code=code_pb2.Code.Value(self.code), message=self.message, details=packed
        )


def invalid(message: str) -> Refusal:
    """Return INVALID_ARGUMENT with the service's words."""
    return Refusal("INVALID_ARGUMENT", message)


def not_found(message: str) -> Refusal:
    """Return NOT_FOUND with the service's words."""
    return Refusal("NOT_FOUND", message)


_SERVICES = {
    "logging": "logging.googleapis.com",
    "monitoring": "monitoring.googleapis.com",
    "run": "run.googleapis.com",
    "tpu": "tpu.googleapis.com",
}


def from_fault(error: Mapping[str, Any], *, method: str, project: str) -> Refusal:
    """Return the refusal that a scenario's ``error`` describes, for the call ``method``.

    Texts follow errors that users reported: of IAM "Permission 'X' denied on resource (or it may
    not exist)." with ErrorInfo (reason IAM_PERMISSION_DENIED, metadata permission), of quotas
    "Quota exceeded for quota metric 'M' and limit 'L' of service 'S' …" with ErrorInfo
    RATE_LIMIT_EXCEEDED, QuotaFailure and RetryInfo.
    """
    code = str(error["code"])
    service = str(error.get("service") or _SERVICES.get(method.split(".")[0], "googleapis.com"))
    details: list[Any] = []
    message = str(error.get("message", ""))
    if code == "PERMISSION_DENIED":
        permission = str(error.get("permission", ""))
        message = message or (
            f"Permission '{permission}' denied on resource (or it may not exist)."
            if permission
            else "The caller does not have permission"
        )
        if permission:
            details.append(
                error_details_pb2.ErrorInfo(
                    reason="IAM_PERMISSION_DENIED",
                    domain="iam.googleapis.com",
                    metadata={"permission": permission, "resource": f"projects/{project}"},
                )
            )
    elif code == "RESOURCE_EXHAUSTED":
        metric = str(error.get("quota_metric", "Read requests"))
        limit = str(error.get("quota_limit", "Read requests per minute"))
        value = str(error.get("quota_value", 60))
        message = message or (
            f"Quota exceeded for quota metric '{metric}' and limit '{limit}' of service "
            f"'{service}' for consumer 'projects/{project}'."
        )
        details.append(
            error_details_pb2.ErrorInfo(
                reason="RATE_LIMIT_EXCEEDED",
                domain="googleapis.com",
                metadata={
                    "service": service,
                    "quota_metric": metric,
                    "quota_limit": limit,
                    "quota_limit_value": value,
                    "consumer": f"projects/{project}",
                },
            )
        )
        violation = error_details_pb2.QuotaFailure.Violation(
            subject=f"projects/{project}", description=message
        )
        details.append(error_details_pb2.QuotaFailure(violations=[violation]))
    elif code == "UNAVAILABLE":
        message = message or "The service is currently unavailable."
    if "retry_after" in error:
        delay = duration_pb2.Duration()
        delay.FromNanoseconds(round(float(error["retry_after"]) * 1_000_000_000))
        details.append(error_details_pb2.RetryInfo(retry_delay=delay))
    return Refusal(code, message or code.replace("_", " ").capitalize() + ".", tuple(details))
