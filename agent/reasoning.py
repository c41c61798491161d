"""How the model is asked: whether at all, with which words and tools, what counts as a reply."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from agent.attachments import extra_body, tokens_of, with_attachments
from agent.audit import audited
from agent.breakers import broken, closing, endpoint_down, saturated
from agent.budget import DEFAULT_WINDOW, answer_room, compact, input_limit
from agent.capabilities import Server, overflow, read_card
from agent.events import AnswerDelta, BrainChanged, EndpointState, ReasoningDelta, Stalled
from agent.messages import BrainDown, Call, Message, Reply
from agent.opening import brief, opening
from agent.patience import HICCUP, with_retries
from agent.reach import forget, patient, stand_in
from agent.repair import mend
from agent.schema_step import read_step, step_prompt, step_schema
from agent.state import TurnContext, TurnState
from agent.tokens import text_of
from agent.tool_choice import NOTE, OWN, READ_OUTPUT, choose_tools, offer
from tools.tool import Effect

__all__ = [
    "NOTE",
    "READ_OUTPUT",
    "Thought",
    "brief",
    "choose_tools",
    "opening",
    "think",
    "wants_reach",
    "why_not_model",
]

# Below this room an answer is cut before it says anything.
MIN_ANSWER = 96
# How a reply is asked for: freely, once more with what was wrong, then in an enforced form.
RUNGS = ("free", "told", "schema")


@dataclass(frozen=True, slots=True)
class Thought:
    """One step of the model: an answer, or calls to run.

    ``window`` is what was sent, compacted; ``messages`` join it.
    """

    messages: list[Message]
    calls: tuple[Call, ...] = ()
    answer: str = ""
    model: str = ""
    model_calls: int = 1
    prompt_tokens: int = 0
    hypotheses: list[dict[str, str]] = field(default_factory=list)
    window: list[Message] = field(default_factory=list)
    offered: list[str] = field(default_factory=list)
    compactions: int = 0
    closed: str = ""


def wants_reach(state: TurnState) -> bool:
    """Return whether a chat turn has to know of the endpoint before it can ask a model."""
    request = state["request"]
    return not (
        request.get("rules_only") or request.get("logs") or state.get("brain", {}).get("mode")
    )


def why_not_model(state: TurnState, context: TurnContext) -> str:
    """Return why the rules answer alone, empty when a model may be asked."""
    if state["request"].get("rules_only"):
        return "--rules-only was given"
    if state.get("brain", {}).get("mode") == "rules":
        return state["brain"]["why"]
    if why := broken(state, context):
        return why
    return "" if stand_in(context) is not None else why_not_patient(state, context)


def why_not_patient(state: TurnState, context: TurnContext) -> str:
    """Return why the endpoint that is looked after can't think or should be spared."""
    if state["request"].get("logs"):
        if not context.settings.base_url:
            return "log files alone were given, and no endpoint is configured"
        return ""
    if context.look is None and context.reached is not None and context.reached.why:
        return str(context.reached.why)
    facts = context.facts()
    return endpoint_down(facts) or saturated(facts)


async def think(state: TurnState, context: TurnContext, messages: list[Message]) -> Thought:
    """Ask the patient, or the stand-in that was allowed; raises BrainDown when neither answers."""
    other = stand_in(context)
    why = why_not_patient(state, context)
    if other is not None and context.settings.stand_in.first:
        why = why or "it is asked first"
    if not why:
        try:
            return await _Step(state, context, patient(context), messages).take()
        except BrainDown as error:
            forget(context)
            if other is None:
                raise
            why = str(error)
    if other is None:
        raise BrainDown(why)
    context.emit(BrainChanged("model", f"the stand-in {other.model} is asked ({why})"))
    return await _Step(state, context, other, messages).take()


class _Step:
    """One step at one server: what is sent, how often, and what is made of the reply."""

    def __init__(
        self, state: TurnState, context: TurnContext, server: Server, messages: list[Message]
    ) -> None:
        self.state, self.context, self.server, self.messages = state, context, server, messages
        self.closing = closing(state, context)
        self.tools = [] if self.closing else offer(state, context, text_of(messages[0]))
        wanted = state["request"].get("thinking")
        self.thinking = bool(context.settings.thinking if wanted is None else wanted)
        self.window = messages
        self.calls = self.tokens = self.compactions = 0

    async def take(self) -> Thought:
        """Climb the rungs until a reply can be used; raises BrainDown with the last problem."""
        problem = ""
        for rung in RUNGS:
            if rung == "schema" and not self.server.schema:
                break
            reply = await self._ask(rung, problem)
            mended = mend(
                read_step(reply) if self._enforced(rung) else reply,
                _whole(self.tools),
                _given(self.window),
                prefix=f"r{self.state.get('steps', 0) + 1}",
            )
            problem = mended.problem or _unfit(mended.reply)
            if not problem:
                return self._thought(mended.reply)
            if reply.finish == "length" and self.thinking:
                self.thinking = False  # it thought until its limit: now it may not
        raise BrainDown(f"{self.closing}, and {problem}" if self.closing else problem)

    def _enforced(self, rung: str) -> bool:
        # Without tool calls of its own, the server's schema stands in for them from the start.
        free = self.server.tools or not self.tools
        return rung == "schema" or (not free and self.server.schema)

    async def _ask(self, rung: str, problem: str) -> Reply:
        await self._know()
        for _ in range(4):
            try:
                return await self._send(rung, problem)
            except BrainDown as error:
                if (found := overflow(error)) is not None:
                    self._too_long(*found)
                elif not self.server.learn_from(
                    error, tools=bool(self.tools), schema=self._enforced(rung)
                ):
                    raise
                elif rung == "schema" and not self.server.schema:
                    raise BrainDown(problem) from error
        raise BrainDown("its window is too small for the question")

    async def _know(self) -> None:
        if not self.server.window or not self.server.model:
            if self.server.stand_in or not self.context.facts().get("endpoint.window"):
                await read_card(self.server)
            self.server.window = self.server.window or DEFAULT_WINDOW

    async def _send(self, rung: str, problem: str) -> Reply:
        server, enforced = self.server, self._enforced(rung)
        tools = [] if enforced or not server.tools else self.tools
        words = self._words(problem, enforced)
        thinking = self.thinking and not enforced
        sent, used = await self._fit(words, tools, thinking)
        room = answer_room(server.window, used, thinking=thinking)
        if room < MIN_ANSWER:
            raise BrainDown(f"its window of {server.window} tokens has no room for an answer")
        context = self.context
        context.emit(
            EndpointState(
                "ready", model=server.model, url=server.config.url, window=server.window, used=used
            )
        )
        ask = audited(
            context.memory.audit,
            self.state["turn"],
            server.config.url,
            server.model,
            server.brain().reply,
        )

        async def once() -> Reply:
            self.calls += 1
            reply: Reply = await ask(
                with_attachments(sent, context.attachments),
                tools,
                max_tokens=room,
                on_delta=(lambda kind, text: self._show(kind, text, silent=enforced)),
                on_stall=lambda seconds: context.emit(Stalled("model", seconds)),
                thinking=thinking,
                extensions=server.extensions,
                schema=step_schema(self.tools) if enforced else None,
                extra=extra_body(context.attachments) if server.extensions else None,
            )
            return reply

        reply = await with_retries(once, self._patience(), context)
        self.tokens += reply.prompt_tokens
        if reply.prompt_tokens and not context.attachments:
            server.counter.learn(reply.prompt_tokens, sent, tools)
        return reply

    def _patience(self) -> float:
        # A diagnosis of something that fails waits for nobody.
        if self.state["kind"] == "diagnose" and endpoint_down(self.context.facts()):
            return 0.0
        return min(HICCUP, self.context.settings.limits.first_token)

    def _words(self, problem: str, enforced: bool) -> str:
        words = []
        if problem:
            words.append(f"That reply can't be used: {problem}. Try once more.")
        if self.closing:
            words.append("Answer now with what is known; no more tools.")
        if enforced:
            words.append(step_prompt(self.tools))
        return " ".join(words)

    async def _fit(
        self, words: str, tools: Sequence[Mapping[str, Any]], thinking: bool
    ) -> tuple[list[Message], int]:
        server, pictures = self.server, tokens_of(self.context.attachments)
        limit = input_limit(server.window, thinking=thinking) - pictures

        def measure(messages: Sequence[Message]) -> int:
            return server.counter.estimate(_told(messages, words), tools)

        fitted = compact(self.window, limit, measure)
        sent = _told(fitted.messages, words)
        used = server.counter.estimate(sent, tools)
        if server.tokenize and (not server.counter.calibrated or used > limit * 0.6):
            exact = await server.brain().count(sent, tools, thinking=thinking)
            if exact is None:
                server.tokenize = False
            else:
                server.counter.learn(exact, sent, tools)
                fitted = compact(self.window, limit, measure)
                again = _told(fitted.messages, words)
                used = exact if again == sent else server.counter.estimate(again, tools)
                sent = again
        if fitted.level:
            self.compactions += 1
            self.window = fitted.messages
        return sent, used + pictures

    def _too_long(self, window: int, prompt: int) -> None:
        # The server knows better: believe it, and cut.
        server = self.server
        if window:
            server.window = window
        tools = self.tools if server.tools else []
        estimate = server.counter.estimate(self.window, tools)
        counted = prompt or estimate * 2
        server.counter.learn(max(counted, estimate + estimate // 4), self.window, tools)

    def _show(self, kind: str, text: str, *, silent: bool) -> None:
        if kind == "reasoning":
            self.context.emit(ReasoningDelta(text))
        elif not silent:
            self.context.emit(AnswerDelta(text))

    def _thought(self, reply: Reply) -> Thought:
        message = Message(role="assistant", content=reply.content or None)
        if reply.calls:
            message["tool_calls"] = [
                {
                    "id": call.id,
                    "type": "function",
                    "function": {"name": call.name, "arguments": json.dumps(call.arguments)},
                }
                for call in reply.calls
            ]
        return Thought(
            [message],
            reply.calls,
            "" if reply.calls else reply.content.strip(),
            self.server.name,
            self.calls,
            self.tokens,
            [_hypothesis(call.arguments) for call in reply.calls if call.name == NOTE],
            self.window,
            [tool["function"]["name"] for tool in self.tools],
            self.compactions,
            self.closing if reply.calls else "",
        )


def _whole(tools: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    # Bounds are not sent, but arguments are mended by them.
    from tools.registry import load_change_tools, load_tools

    known = {**load_tools(), **load_change_tools()}
    names = [tool["function"]["name"] for tool in tools]
    if names:  # a change that was not offered is known all the same: the gate says why not
        names = list(dict.fromkeys([*names, *load_change_tools()]))
    return [OWN[name] if name in OWN else known[name].schema() for name in names]


def _unfit(reply: Reply) -> str:
    from tools.registry import load_change_tools, load_tools

    known = {**load_tools(), **load_change_tools()}
    for call in reply.calls:
        if call.repaired and call.name in known and known[call.name].effect is not Effect.READ:
            return f"a call of {call.name} must be whole: it changes something"
    return ""


def _given(messages: Sequence[Message]) -> str:
    return "\n".join(text_of(m) for m in messages if m.get("role") in {"user", "tool"})


def _told(messages: Sequence[Message], words: str) -> list[Message]:
    if not words:
        return list(messages)
    last = messages[-1]
    if last.get("role") != "user":
        return [*messages, Message(role="user", content=words)]
    return [*messages[:-1], Message(role="user", content=f"{text_of(last)}\n\n{words}")]


def _hypothesis(arguments: Mapping[str, Any]) -> dict[str, str]:
    from tools.logs.canonical import canonical_text

    def text(name: str, limit: int) -> str:
        return canonical_text(str(arguments.get(name, "")))[:limit]

    return {
        "title": text("title", 160) or "(untitled)",
        "why": f"the model believes: {text('why', 400)}",
        "against": text("against", 400) or "no runbook's rule supports it",
    }
