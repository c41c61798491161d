"""What state the service is in, and what its users get; decided by facts alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from agent.facts import Facts

State = Literal["serving", "degraded", "cold_starting", "scaled_to_zero", "failing", "unknown"]

# Above this share of the KV cache new requests begin to wait or to preempt others
# (alert threshold of the reference deployments, docs/facts.md).
KV_FULL = 0.85

_TPU_WAITING = {"CREATING", "ACCEPTED", "WAITING_FOR_RESOURCES", "PROVISIONING"}
_TPU_DEAD = {"FAILED", "SUSPENDED", "SUSPENDING", "DELETING"}
_NO_ANSWER = {"refused", "stalled", "error", "no_instance", "nonsense"}


@dataclass(frozen=True, slots=True)
class ServiceState:
    """The state, what users of the endpoint get now, and the facts that it rests on."""

    state: State
    impact: str
    rests_on: tuple[str, ...] = ()


def decide_state(facts: Facts) -> ServiceState:
    """Return the state of the service as its users see it."""
    endpoint = facts.text("endpoint.state")
    if endpoint == "ready":
        return _ready(facts)
    if (tpu := facts.text("tpu.state")) and endpoint not in _NO_ANSWER:
        found = _tpu(tpu, facts)
        if found:
            return found
    if facts.get("run.exists") is False:
        return ServiceState("failing", "There is no such service.", ("run.exists",))
    failed = facts.get("run.revision_ready") is False
    older = _older_revision(facts)
    if facts.get("run.instances") == 0 and (not failed or older) and endpoint in {"", "not_probed"}:
        return ServiceState(
            "scaled_to_zero",
            "No instance runs; the next request starts one and waits for it."
            + (f" {_failed_newest(facts)} {older} takes the traffic." if failed else ""),
            ("run.instances", "run.revision_ready"),
        )
    if endpoint == "starting" or (
        facts.get("run.ready") is not True
        and facts.seen("run.revision")
        and facts.get("run.revision_ready") is None
        and endpoint not in _NO_ANSWER
    ):
        return ServiceState(
            "cold_starting",
            "Requests wait until the server is up.",
            ("endpoint.state", "run.revision"),
        )
    if failed and older:
        return ServiceState(
            "degraded",
            f"{_failed_newest(facts)} {older} carries the traffic"
            + (
                f", but its endpoint does not answer ({endpoint})."
                if endpoint in _NO_ANSWER
                else "."
            ),
            ("run.revision_ready", "run.serving_revision", "endpoint.state"),
        )
    if failed:
        return ServiceState(
            "failing",
            f"{_failed_newest(facts)} No older revision takes traffic: users get errors.",
            ("run.revision_ready", "endpoint.state"),
        )
    if endpoint in _NO_ANSWER:
        return ServiceState(
            "failing",
            f"Users get no answer: the endpoint is {_words(endpoint)}.",
            ("endpoint.state",),
        )
    return _from_logs(facts)


def _ready(facts: Facts) -> ServiceState:
    waiting, usage = facts.number("vllm.waiting") or 0.0, facts.number("vllm.kv_usage") or 0.0
    if waiting > 0 and usage > KV_FULL:
        return ServiceState(
            "degraded",
            f"It answers, but {waiting:.0f} requests wait and the KV cache is {usage:.0%} full.",
            ("vllm.waiting", "vllm.kv_usage"),
        )
    if facts.get("run.revision_ready") is False:
        older = _older_revision(facts)
        return ServiceState(
            "serving",
            f"{_failed_newest(facts)} {older or 'An older revision'} serves users as before.",
            ("endpoint.state", "run.revision_ready", "run.serving_revision"),
        )
    return ServiceState("serving", "Users are served.", ("endpoint.state",))


def _tpu(state: str, facts: Facts) -> ServiceState | None:
    if state in _TPU_WAITING:
        waited = facts.number("tpu.waiting_s")
        return ServiceState(
            "cold_starting",
            f"Nothing serves yet: the queued resource is {state}"
            + (f" since {waited / 60:.0f} min." if waited else "."),
            ("tpu.state",),
        )
    if state in _TPU_DEAD:
        return ServiceState(
            "failing", f"Nothing serves: the queued resource is {state}.", ("tpu.state",)
        )
    return None


def _from_logs(facts: Facts) -> ServiceState:
    if facts.get("logs.ready") is True:
        return ServiceState("serving", "The server reached readiness.", ("logs.ready",))
    ended = [n for n in ("logs.exit_code", "logs.signal", "logs.probe_failed") if facts.seen(n)]
    if ended:
        return ServiceState(
            "failing",
            "The newest start of the server ended before it could serve; whether an older"
            " revision serves can't be told from here.",
            tuple(ended),
        )
    return ServiceState("unknown", "What users get could not be seen.")


def _older_revision(facts: Facts) -> str:
    serving, newest = facts.text("run.serving_revision"), facts.text("run.revision")
    return serving if serving and serving != newest else ""


def _failed_newest(facts: Facts) -> str:
    return f"Revision {facts.text('run.revision') or '(unnamed)'} did not become ready."


def _words(endpoint: str) -> str:
    return {
        "refused": "refusing connections",
        "stalled": "accepting connections and not answering",
        "error": "answering with errors",
        "no_instance": "without an available instance",
        "nonsense": "answering with something that is not vLLM",
    }[endpoint]
