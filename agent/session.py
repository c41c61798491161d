"""The only door for any front end: open a session, ask, diagnose, cancel, close.

One process at a time holds a session: an operating-system lock beside state.db, which the
kernel releases when the process dies, however it dies.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from agent.approval import shown, weigh
from agent.attachments import Attachment, read_attachment, tokens_of
from agent.capabilities import Servers
from agent.catalogs import catalog_state, leave_out, load_catalog
from agent.database import prepare_file
from agent.events import (
    AnswerFinished,
    ApprovalAsked,
    Decision,
    Event,
    TurnFailed,
    TurnFinished,
    TurnStarted,
    VerdictReached,
)
from agent.intents import Intents
from agent.memory import Memory
from agent.modalities import why_not_attached
from agent.settings import Settings
from agent.state import TurnContext, TurnKind, TurnState
from agent.storable import storable_text
from agent.waiting import cut_off_turn, waiting_turn, withdraw
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
    without: tuple[str, ...] = ()  # runbooks left out, to see what is recognised without them


class Session:
    """A conversation; its turns are kept in state.db and its steps checkpointed beside it."""

    def __init__(self, settings: Settings, memory: Memory, session: str, lock: FileLock) -> None:
        self.id = session
        self.settings = settings
        self.memory = memory
        self._lock = lock
        self.interactive = False  # whether a person can be asked before something changes
        self._task: asyncio.Task[None] | None = None
        self._catalog: tuple[tuple[object, ...], Catalog] | None = None
        self._saver: Any = None
        self._graph: Any = None
        self._stack = contextlib.AsyncExitStack()
        self._servers = Servers()
        self._reached: Any = None
        self._attached: tuple[Attachment, ...] = ()

    @classmethod
    async def open(
        cls, settings: Settings, *, session: str | None = None, interactive: bool = False
    ) -> Session:
        """Open a new session, or an existing one that no other process holds.

        Only an ``interactive`` one ever asks for an approval; without a person all is refused.
        Raises UsageError for an unknown id, StateError when it is held elsewhere.
        """
        memory = Memory.open(settings.state)
        try:
            if session is None:
                session = memory.start_session()
            elif not memory.has_session(session):
                raise UsageError(f"There is no session {session!r}.")
            lock = session_lock(settings.state, session)
            try:
                lock.acquire(blocking=False)
            except Timeout as error:
                raise StateError(
                    f"Session {session} is open in another gemma-sre.", fix="Close that one first."
                ) from error
        except BaseException:
            memory.close()
            raise
        opened = cls(settings, memory, session, lock)
        opened.interactive = interactive
        return opened

    @classmethod
    async def open_for(cls, settings: Settings, request: DiagnoseRequest) -> Session:
        """Open the session in which a killed process left this very diagnosis, else a new one."""
        memory = Memory.open(settings.state)
        try:
            for turn in memory.unfinished_turns(_request(settings, request)):
                lock = session_lock(settings.state, turn["session"])
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

    async def ask(self, text: str, *, thinking: bool | None = None) -> AsyncIterator[Event]:
        """Answer a question in the chat; ``thinking`` overrides the setting for this question."""
        plain = _request(self.settings, DiagnoseRequest(service=self.settings.service))
        if thinking is not None:
            plain["thinking"] = thinking
        attached, self._attached = self._attached, ()
        async for event in self._run("ask", text, plain, None, attached):
            yield event

    async def attach(self, path: str | Path, budget: int = 280) -> Attachment:
        """Send an image or a sound with the next question; ``budget`` is an image's tokens.

        Raises UsageError, with the reason, for what can't be read, or what this model or server
        does not take. Nothing is woken to find that out.
        """
        attachment = await asyncio.to_thread(read_attachment, path, budget)
        used = tokens_of(self._attached)
        context = self._context(lambda _: None)
        why = await why_not_attached(attachment, context, used)
        self._reached = context.reached
        if why:
            raise UsageError(f"{attachment.name} can't be sent: {why}.")
        self._attached = (*self._attached, attachment)
        return attachment

    # -- approvals

    async def pending_approval(self) -> ApprovalAsked | None:
        """Return what a person still has to decide here, after a restart too; None if nothing."""
        waiting = await waiting_turn(self.memory, self.id, self._load)
        return None if waiting is None else shown(waiting[1])

    async def approve(
        self, approval: str, decisions: Mapping[str, Decision]
    ) -> AsyncIterator[Event]:
        """Go on with the turn that waits, with a decision for each call; without one: denied.

        Raises UsageError when no such approval waits. One that has expired is asked for again.
        """
        waiting = await waiting_turn(self.memory, self.id, self._load)
        if waiting is None or waiting[1]["approval"] != approval:
            raise UsageError(f"No approval {approval!r} is waiting.", fix="Ask for it again.")
        turn, asked = waiting
        answer = weigh(asked, decisions, self.memory.file.clock())
        intents = Intents(self.memory)
        intents.ask(turn["turn"], self.id, asked)
        if answer["expired"]:
            intents.decide(asked, "expired", {})
        else:
            intents.decide(asked, "decided", answer["calls"])
        async for event in self._go_on(turn, answer):
            yield event

    async def deny(self, approval: str, reason: str = "") -> AsyncIterator[Event]:
        """Go on with the turn that waits, every call denied."""
        waiting = await waiting_turn(self.memory, self.id, self._load)
        calls = [] if waiting is None else waiting[1]["calls"]
        denied = {call["call"]: Decision(False, reason) for call in calls}
        async for event in self.approve(approval, denied):
            yield event

    def was_cut_off(self) -> bool:
        """Return whether a turn that a person had answered was cut off; ``resume`` ends it."""
        return bool(Intents(self.memory).answered(self.id))

    async def resume(self) -> AsyncIterator[Event]:
        """Go on with the turn that was cut off after an approval; nothing is run twice."""
        kept = await cut_off_turn(self.memory, self.id, self._load)
        if kept is not None:
            async for event in self._go_on(kept, None):
                yield event

    async def _go_on(
        self, state: Mapping[str, Any], answer: dict[str, Any] | None
    ) -> AsyncIterator[Event]:
        async for event in self._run(
            state["kind"], state["question"], state["request"], state["turn"], (), answer
        ):
            yield event

    async def cancel(self) -> None:
        """Stop the current turn; the session and what it has stored stay."""
        if self._task is not None and not self._task.done():
            self._task.cancel()
            await asyncio.wait([self._task])

    async def close(self) -> None:
        """Cancel what runs, close the files, give the session free."""
        await self.cancel()
        await self._servers.close()
        await self._stack.aclose()
        self.memory.close()
        self._lock.release()

    async def _run(
        self,
        kind: TurnKind,
        question: str,
        request: dict[str, Any],
        turn: str | None,
        attached: tuple[Attachment, ...] = (),
        answer: dict[str, Any] | None = None,
    ) -> AsyncIterator[Event]:
        resumed = turn is not None
        if turn is None:
            turn = self.memory.start_turn(self.id, kind, question, request)
        queue: asyncio.Queue[Event | None] = asyncio.Queue()
        if answer is None:
            queue.put_nowait(TurnStarted(turn, self.id, question, resumed))
        state: TurnState = {
            "turn": turn,
            "session": self.id,
            "kind": kind,
            "question": storable_text(question),
            "request": request,
        }
        self._task = asyncio.create_task(self._drive(state, queue, resumed, attached, answer))
        try:
            while (event := await queue.get()) is not None:
                yield event
            with contextlib.suppress(asyncio.CancelledError):
                await self._task  # what was not foreseen is the front end's to show
            self.memory.settle_turn(turn)
        finally:
            await self.cancel()

    async def _drive(
        self,
        state: TurnState,
        queue: asyncio.Queue[Event | None],
        resumed: bool,
        attached: tuple[Attachment, ...] = (),
        answer: dict[str, Any] | None = None,
    ) -> None:
        turn, started, outcome = state["turn"], time.monotonic(), "failed"
        asked: dict[str, Any] | None = None
        context: TurnContext | None = None
        try:
            # Inside: a runbook that does not exist is an answer too, and must not hang the turn.
            context = self._context(queue.put_nowait, state["request"], attached)
            if resumed and (stored := self.memory.recorded_turn(turn)) is not None:
                _show_again(stored, queue)
                outcome = "finished"
                return
            graph = await self._load()
            from langgraph.types import Command

            from agent.acting import settle_cut_off

            await withdraw(self.memory, self.id, turn, self._load)
            await settle_cut_off(context, self.id, turn)
            config: Any = {"configurable": {"thread_id": turn}, "recursion_limit": 1000}
            begun = resumed and (await graph.aget_state(config)).next
            start: Any = None if begun else state
            if answer is not None:
                start = Command(resume=answer)
            async for chunk in graph.astream(
                start, config, context=context, durability="sync", stream_mode="updates"
            ):
                if "__interrupt__" in chunk:
                    asked = chunk["__interrupt__"][0].value
            if asked is not None:
                Intents(self.memory).ask(turn, self.id, asked)
                queue.put_nowait(shown(asked))
                outcome = "waiting"
                return
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
            if context is not None:
                self._reached = context.reached
            if outcome != "waiting":  # a turn that waits for a person is not over
                seconds = time.monotonic() - started
                queue.put_nowait(TurnFinished(turn, seconds, outcome == "cancelled"))
            queue.put_nowait(None)

    async def _load(self) -> Any:
        # LangGraph takes most of a second to import: after the first paint, not before it.
        if self._graph is None:
            import aiosqlite
            from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
            from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver

            from agent.graph import build_graph

            path = checkpoints_path(self.settings.state)
            self.memory.notice = prepare_file(path) or self.memory.notice
            connection = await aiosqlite.connect(path)
            # In WAL mode this survives a killed process; only a power cut may lose the last step,
            # and what must not be lost then, intents and results, stands in state.db.
            await connection.execute("PRAGMA synchronous = NORMAL")
            self._stack.push_async_callback(connection.close)
            # None: only types on LangGraph's safe list are ever decoded.
            serde = JsonPlusSerializer(allowed_msgpack_modules=None)
            self._saver = AsyncSqliteSaver(connection, serde=serde)
            self._graph = build_graph(self._saver)
        return self._graph

    def _context(
        self,
        emit: Callable[[Event], None],
        request: Mapping[str, Any] | None = None,
        attached: tuple[Attachment, ...] = (),
    ) -> TurnContext:
        return TurnContext(
            self.settings,
            self.memory,
            self._library(request or {}),
            emit,
            time.monotonic(),
            interactive=self.interactive,
            reached=self._reached,
            servers=self._servers,
            attachments=attached,
        )

    def _library(self, request: Mapping[str, Any]) -> Catalog:
        # Read anew when a file or an approval changed: what was approved counts from then on.
        current = catalog_state(self.settings, self.memory)
        if self._catalog is None or self._catalog[0] != current:
            self._catalog = (current, load_catalog(self.settings, self.memory))
        return leave_out(self._catalog[1], request.get("without", ()))


def _show_again(stored: Mapping[str, Any], queue: asyncio.Queue[Event | None]) -> None:
    # Killed between the record and the screen: nothing is left to do but to show it.
    if stored["report"]:
        queue.put_nowait(VerdictReached(json.loads(stored["report"])))
    queue.put_nowait(AnswerFinished(stored["answer"], stored["author"]))


def checkpoints_path(state: Path) -> Path:
    """Return where LangGraph keeps its checkpoints: a file of its own beside state.db."""
    return state.with_name(f"{state.stem}.checkpoints.db")


def session_lock(state: Path, session: str) -> FileLock:
    """Return the lock that the process which has the session open holds."""
    return FileLock(state.with_name(f"{state.name}.{session}.lock"), thread_local=False)


def _request(settings: Settings, request: DiagnoseRequest) -> dict[str, Any]:
    plain: Mapping[str, Any] = asdict(request) | {
        "logs": list(request.logs),
        "without": list(request.without),
    }
    # The same words for another project are another question.
    return {
        **plain,
        "project": settings.project,
        "location": settings.location,
        "base_url": settings.base_url,
        "simulated": settings.simulated,
    }
