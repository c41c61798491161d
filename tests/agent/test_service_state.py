from __future__ import annotations

import pytest

from agent.facts import Facts
from agent.service_state import decide_state
from tools.domain import Observation, Scalar

NEWEST_FAILED = {"run.revision": "r2", "run.revision_ready": False}


@pytest.mark.parametrize(
    ("facts", "state"),
    [
        ({}, "unknown"),
        ({"endpoint.state": "ready"}, "serving"),
        ({"endpoint.state": "ready", "vllm.waiting": 3, "vllm.kv_usage": 0.95}, "degraded"),
        ({"endpoint.state": "ready", "vllm.waiting": 3, "vllm.kv_usage": 0.5}, "serving"),
        ({"endpoint.state": "not_probed", "run.instances": 0, "run.ready": True}, "scaled_to_zero"),
        ({"run.instances": 0, **NEWEST_FAILED}, "failing"),
        ({"run.instances": 0, **NEWEST_FAILED, "run.serving_revision": "r1"}, "scaled_to_zero"),
        ({**NEWEST_FAILED, "run.serving_revision": "r1"}, "degraded"),
        ({**NEWEST_FAILED, "endpoint.state": "refused"}, "failing"),
        ({"endpoint.state": "starting", "run.revision": "r2"}, "cold_starting"),
        ({"endpoint.state": "stalled"}, "failing"),
        ({"run.exists": False}, "failing"),
        ({"tpu.state": "WAITING_FOR_RESOURCES"}, "cold_starting"),
        ({"tpu.state": "FAILED"}, "failing"),
        ({"tpu.state": "ACTIVE", "endpoint.state": "ready"}, "serving"),
        ({"tpu.state": "ACTIVE", "endpoint.state": "refused"}, "failing"),
        ({"logs.ready": True}, "serving"),
        ({"logs.exit_code": 1}, "failing"),
        ({"logs.probe_failed": True}, "failing"),
    ],
)
def test_the_state_follows_from_the_facts(facts: dict[str, Scalar], state: str) -> None:
    seen = Facts([Observation("t", "r", "q", facts={name: value}) for name, value in facts.items()])
    decided = decide_state(seen)
    assert decided.state == state
    assert decided.impact
