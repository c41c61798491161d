"""A session that plays a script, and reports to show."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from agent import events as e
from tui.running import Opened

Step = e.Event | BaseException | asyncio.Event


class ScriptedSession:
    """Plays one list of events a turn; an unexpected turn and an unused one are failures.

    An ``asyncio.Event`` in a script waits until the test sets it, or the step is cancelled.
    """

    id = "s-scripted"

    def __init__(self, *turns: Sequence[Step]) -> None:
        self._turns = list(turns)
        self.asked: list[Any] = []
        self.cancelled = 0
        self.closed = False
        self.pending: e.ApprovalAsked | None = None
        self.cut_off = False
        self._stop = asyncio.Event()

    def ask(self, text: str) -> AsyncIterator[e.Event]:
        self.asked.append(text)
        return self._play()

    def diagnose(self, request: Any) -> AsyncIterator[e.Event]:
        self.asked.append(request)
        return self._play()

    def approve(self, approval: str, decisions: Any) -> AsyncIterator[e.Event]:
        self.asked.append((approval, dict(decisions)))
        return self._play()

    async def pending_approval(self) -> e.ApprovalAsked | None:
        return self.pending

    def was_cut_off(self) -> bool:
        return self.cut_off

    def resume(self) -> AsyncIterator[e.Event]:
        self.asked.append("resume")
        return self._play()

    async def cancel(self) -> None:
        self.cancelled += 1
        self._stop.set()

    async def close(self) -> None:
        self.closed = True

    @property
    def unused(self) -> int:
        return len(self._turns)

    async def _play(self) -> AsyncIterator[e.Event]:
        assert self._turns, "the script has no such turn"
        self._stop.clear()
        for step in self._turns.pop(0):
            if isinstance(step, BaseException):
                raise step
            if isinstance(step, asyncio.Event):
                waits = [asyncio.ensure_future(x.wait()) for x in (step, self._stop)]
                await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
                for wait in waits:
                    wait.cancel()
                await asyncio.gather(*waits, return_exceptions=True)
                if self._stop.is_set():
                    yield e.TurnFinished("t1", 1.0, cancelled=True)
                    return
                continue
            await asyncio.sleep(0)
            yield step


def connect_to(session: ScriptedSession, state: Path) -> Callable[[], Any]:
    @contextlib.asynccontextmanager
    async def connect() -> AsyncIterator[Opened]:
        try:
            yield Opened(session, "demo-project/us-central1", True, state)
        finally:
            await session.close()

    return connect


REPORT: dict[str, Any] = {
    "schema": 1,
    "target": {
        "kind": "cloud-run",
        "service": "gemma-4-12b",
        "project": "demo-project",
        "location": "us-central1",
        "url": "",
        "found_by": "flag",
        "simulated": True,
    },
    "verdict": "confirmed",
    "causes": [
        {
            "id": "wna16-no-kernel",
            "title": "No int4 kernel for this GPU",
            "component": "vLLM engine",
            "confidence": "confirmed",
            "explanation": "The option linear_backend=cutlass leaves one kernel only, and that one "
            "needs compute capability 9.0; an L4 has 8.9.",
            "evidence": ["E1", "E2"],
            "fix": ["Remove `--linear-backend cutlass`.", "Deploy again and wait for readiness."],
            "runbook": "wna16-no-kernel",
        }
    ],
    "service_state": "failing",
    "impact": "No revision serves; callers get 503.",
    "changes": [
        {"what": "args", "from": "", "to": "--linear-backend cutlass", "time": "2026-11-20T10:00Z"}
    ],
    "hypotheses": [{"title": "Wrong image", "why": "it is new", "against": "it started before"}],
    "evidence": [
        {
            "id": "E1",
            "source": "logging",
            "ref": "6a5ed2b9000a",
            "time": "2026-11-20T10:02:03Z",
            "quote": "ValueError: Failed to find a kernel that can implement the WNA16 linear "
            "layer. Reasons:\n CutlassW4A8LinearKernel requires capability 90",
        },
        {
            "id": "E2",
            "source": "run",
            "ref": "revisions/gemma-4-12b-00011",
            "time": None,
            "quote": "ContainerMissing: the revision never became ready",
        },
    ],
    "gaps": ["quota: not read; grant roles/serviceusage.serviceUsageViewer"],
    "brain": {"mode": "rules", "why": "the endpoint refused the connection"},
    "similar": [{"id": "i-20261101-abc123", "title": "No int4 kernel", "status": "resolved"}],
    "incident": "i-20261121-aa11bb",
    "stats": {"seconds": 2.1, "cloud_calls": 8, "model_calls": 0, "prompt_tokens": 0},
}

DIAGNOSIS: list[Step] = [
    e.TurnStarted("t1", "s-scripted", "/diagnose"),
    e.EndpointState("refused", "google/gemma-4-12b-it-qat-w4a16", window=4096, used=1200),
    e.PhaseChanged("probe"),
    e.ToolStarted("c1", "probe_endpoint", "https://gemma.example", {"wake": False}),
    e.ToolStarted("c2", "read_logs", "gemma-4-12b"),
    e.ToolFinished("c1", "probe_endpoint", "failed", 0.4, "connection refused", "ECONNREFUSED"),
    e.ToolFinished("c2", "read_logs", "ok", 1.3, "212 entries", "line\n" * 3, ("E1",)),
    e.BrainChanged("rules", "the endpoint refused the connection"),
    e.VerdictReached(REPORT),
    e.TurnFinished("t1", 2.1),
]

ANSWER: list[Step] = [
    e.TurnStarted("t2", "s-scripted", "why?"),
    e.BrainChanged("model", ""),
    e.ReasoningDelta("Let me think "),
    e.ReasoningDelta("about [bold]kernels[/bold]."),
    e.AnswerDelta("The **int4** "),
    e.AnswerDelta("kernel is missing:\n\n```bash\ngcloud run deploy\n```\n"),
    e.AnswerFinished(
        "The **int4** kernel is missing:\n\n```bash\ngcloud run deploy\n```\n", "model"
    ),
    e.TurnFinished("t2", 3.0),
]


@pytest.fixture
def scripted() -> type[ScriptedSession]:
    return ScriptedSession


@pytest.fixture
def connect(tmp_path: Path) -> Callable[..., Callable[[], Any]]:
    def connecting(session: ScriptedSession, state: Path | None = None) -> Callable[[], Any]:
        return connect_to(session, state or tmp_path / "state.db")

    return connecting


@pytest.fixture
def report() -> dict[str, Any]:
    import copy

    return copy.deepcopy(REPORT)


@pytest.fixture
def diagnosis() -> list[Step]:
    return list(DIAGNOSIS)


@pytest.fixture
def answer() -> list[Step]:
    return list(ANSWER)


@pytest.fixture(autouse=True)
def _quiet_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GEMMA_SRE_STATE", str(tmp_path / "state.db"))
    monkeypatch.setenv("GEMMA_SRE_CONFIG", str(tmp_path / "config.toml"))
    monkeypatch.delenv("GEMMA_SRE_DEBUG", raising=False)
