"""The only door for any front end: open a session, ask, diagnose, cancel, close.

One process at a time holds a session: an operating-system lock beside state.db, which the
kernel releases when the process dies, however it dies.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from agent.events import (
    AnswerFinished,
    Event,
    TurnFailed,
    TurnFinished,
    TurnStarted,
    VerdictReached,
)
from agent.memory import Memory
from agent.settings import Settings
from agent.state import TurnContext, TurnKind, TurnState
from runbooks.catalog import Catalog
from tools.errors import GemmaSreError, StateError, UsageError


@dataclass(frozen=True, slots=True)
class DiagnoseRequest:
    """What to diagnose; ``logs`` are files, and then no cloud is asked."""

    service: str = ""
    kind: str = "auto"
    since: str = "1h"
    start: str = ""
    end: str = ""
    logs: tuple[str, ...] = ()
    rules_only: bool = False
    record: bool = True
    wake: bool = False


class Session:
    """A conversation; its turns are kept in state.db and its steps checkpointed beside it."""

    def __init__(self, settings: Settings, memory: Memory, session: str, lock: FileLock) -> None:
        self.id = session
        self.settings = settings
        self.memory = memory
        self._lock = lock
        self._task: asyncio.Task[None] | None = None
        self._catalog: Catalog | None = None
        self._saver: Any = None
        self._graph: Any = None
        self._stack = contextlib.AsyncExitStack()

    @classmethod
    async def open(cls, settings: Settings, *, session: str | None = None) -> Session:
        """Open a new session, or an existing one that no other process holds.

        Raises UsageError for an unknown id, StateError when it is held elsewhere.
        """
        memory = Memory.open(settings.state)
        try:
            if session is None:
                session = memory.start_session()
            elif not memory.has_session(session):
                raise UsageError(f"There is no session {session!r}.")
            lock = _lock(settings.state, session)
            try:
                lock.acquire(blocking=False)
            except Timeout as error:
                raise StateError(
                    f"Session {session} is open in another gemma-sre.", fix="Close that one first."
                ) from error
        except BaseException:
            memory.close()
            raise
        return cls(settings, memory, session, lock)

    @classmethod
    async def open_for(cls, settings: Settings, request: DiagnoseRequest) -> Session:
        """Open the session in which a killed process left this very diagnosis, else a new one."""
        memory = Memory.open(settings.state)
        try:
            for turn in memory.unfinished_turns(_request(settings, request)):
                lock = _lock(settings.state, turn["session"])
                with contextlib.suppress(Timeout):
                    lock.acquire(blocking=False)
                    return cls(settings, memory, turn["session"], lock)
        except BaseException:
            memory.close()
            raise
        memory.close()
        return await cls.open(settings)

    async def diagnose(self, request: DiagnoseRequest) -> AsyncIterator[Event]:
        """Diagnose; continues the same diagnosis where a killed process left it."""
        plain = _request(self.settings, request)
        left = [t for t in self.memory.unfinished_turns(plain) if t["session"] == self.id]
        question = f"diagnose {request.service}".strip()
        turn = left[0]["id"] if left else None
        async for event in self._run("diagnose", question, plain, turn):
            yield event

    async def ask(self, text: str) -> AsyncIterator[Event]:
        """Answer a question in the chat."""
        plain = _request(self.settings, DiagnoseRequest(service=self.settings.service))
        async for event in self._run("ask", text, plain, None):
            yield event

    async def cancel(self) -> None:
        """Stop the current turn; the session and what it has stored stay."""
        if self._task is not None and not self._task.done():
            self._task.cancel()
            await asyncio.wait([self._task])

    async def close(self) -> None:
        """Cancel what runs, close the files, give the session free."""
        await self.cancel()
        await self._stack.aclose()
        self.memory.close()
        self._lock.release()

    async def _run(
        self, kind: TurnKind, question: str, request: dict[str, Any], turn: str | None
    ) -> AsyncIterator[Event]:
        resumed = turn is not None
        if turn is None:
            turn = self.memory.start_turn(self.id, kind, question, request)
        queue: asyncio.Queue[Event | None] = asyncio.Queue()
        queue.put_nowait(TurnStarted(turn, self.id, question, resumed))
        state: TurnState = {
            "turn": turn,
            "session": self.id,
            "kind": kind,
            "question": question,
            "request": request,
        }
        self._task = asyncio.create_task(self._drive(state, queue, resumed))
        try:
            while (event := await queue.get()) is not None:
                yield event
            with contextlib.suppress(asyncio.CancelledError):
                await self._task  # what was not foreseen is the front end's to show
            self.memory.settle_turn(turn)
        finally:
            await self.cancel()

    async def _drive(
        self, state: TurnState, queue: asyncio.Queue[Event | None], resumed: bool
    ) -> None:
        turn, started, outcome = state["turn"], time.monotonic(), "failed"
        try:
            if resumed and (stored := self.memory.recorded_turn(turn)) is not None:
                _show_again(stored, queue)
                outcome = "finished"
                return
            graph = await self._load()
            context = TurnContext(
                self.settings, self.memory, self._library(), queue.put_nowait, started
            )
            config: Any = {"configurable": {"thread_id": turn}, "recursion_limit": 100}
            begun = resumed and (await graph.aget_state(config)).next
            async for _ in graph.astream(
                None if begun else state,
                config,
                context=context,
                durability="sync",
                stream_mode="updates",
            ):
                pass
            await self._saver.adelete_thread(turn)
            outcome = "finished"
        except asyncio.CancelledError:
            outcome = "cancelled"
            self.memory.finish_turn(turn, "cancelled")
            raise
        except GemmaSreError as error:
            with contextlib.suppress(StateError):  # the error may be the database's own
                self.memory.finish_turn(turn, "failed", answer=str(error))
            queue.put_nowait(TurnFailed(str(error), error.exit_code))
        except BaseException:
            self.memory.finish_turn(turn, "failed", answer="an unexpected error")
            raise
        finally:
            queue.put_nowait(TurnFinished(turn, time.monotonic() - started, outcome == "cancelled"))
            queue.put_nowait(None)

    async def _load(self) -> Any:
        # LangGraph takes most of a second to import: after the first paint, not before it.
        if self._graph is None:
            import aiosqlite
            from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
            from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver

            from agent.graph import build_graph

            path = checkpoints_path(self.settings.state)
            connection = await aiosqlite.connect(path)
            self._stack.push_async_callback(connection.close)
            # None: only types on LangGraph's safe list are ever decoded.
            serde = JsonPlusSerializer(allowed_msgpack_modules=None)
            self._saver = AsyncSqliteSaver(connection, serde=serde)
            self._graph = build_graph(self._saver)
        return self._graph

    def _library(self) -> Catalog:
        if self._catalog is None:
            self._catalog = Catalog.load(self.settings.runbooks)
        return self._catalog


def _show_again(stored: Mapping[str, Any], queue: asyncio.Queue[Event | None]) -> None:
    # Killed between the record and the screen: nothing is left to do but to show it.
    if stored["report"]:
        queue.put_nowait(VerdictReached(json.loads(stored["report"])))
    queue.put_nowait(AnswerFinished(stored["answer"], stored["author"]))


def checkpoints_path(state: Path) -> Path:
    """Return where LangGraph keeps its checkpoints: a file of its own beside state.db."""
    return state.with_name(f"{state.stem}.checkpoints.db")


def _lock(state: Path, session: str) -> FileLock:
    return FileLock(state.with_name(f"{state.name}.{session}.lock"), thread_local=False)


def _request(settings: Settings, request: DiagnoseRequest) -> dict[str, Any]:
    plain: Mapping[str, Any] = asdict(request) | {"logs": list(request.logs)}
    # The same words for another project are another question.
    return {
        **plain,
        "project": settings.project,
        "location": settings.location,
        "base_url": settings.base_url,
        "simulated": settings.simulated,
    }
