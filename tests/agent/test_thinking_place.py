"""Where a chat thinks: the discovered endpoint, the stand-in, or nowhere and the rules answer."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest

from agent.attachments import extra_body, modality_limits, read_attachment
from agent.demo import demo_settings
from agent.events import (
    AnswerDelta,
    AnswerFinished,
    BrainChanged,
    PhaseChanged,
    ReasoningDelta,
    Stalled,
    TurnFinished,
)
from agent.messages import BrainDown, Message
from agent.model import Brain
from agent.rules_chat import intent
from agent.session import Session
from agent.settings import Settings, StandIn
from tools.config import EndpointConfig
from tools.errors import UsageError
from tools.simulator.cloud import SimulatedCloud
from tools.simulator.scenario import load_scenario

PNG = b"\x89PNG\r\n\x1a\n" + bytes(64)
WAV = b"RIFF\x24\x00\x00\x00WAVEfmt " + bytes(32)
HELLO = {"reply": {"content": "Hello, I am here."}}


@asynccontextmanager
async def chat(cloud: SimulatedCloud, settings: Settings, **changes: Any) -> AsyncIterator[Session]:
    session = await Session.open(demo_settings(cloud, settings).model_copy(update=changes))
    try:
        yield session
    finally:
        await session.close()


async def ask(session: Session, text: str, **options: Any) -> list[Any]:
    return [event async for event in session.ask(text, **options)]


def answer(events: list[Any]) -> AnswerFinished:
    (found,) = (e for e in events if isinstance(e, AnswerFinished))
    return found


def brain(events: list[Any]) -> BrainChanged:
    return [e for e in events if isinstance(e, BrainChanged)][-1]


async def test_a_chat_finds_the_endpoint_and_trusts_it_for_a_while(settings: Settings) -> None:
    async with SimulatedCloud(load_scenario("healthy").with_chat([HELLO] * 2)) as cloud:
        async with chat(cloud, settings) as session:
            first = await ask(session, "hello")
            probed = len(cloud.calls_to("http:/health"))
            second = await ask(session, "hello again")
        cloud.assert_script_used()
        assert (probed, len(cloud.calls_to("http:/health"))) == (1, 1)
        assert not cloud.calls_to("logging.ListLogEntries")
    for events in (first, second):
        assert (answer(events).text, answer(events).author) == ("Hello, I am here.", "model")


async def test_a_sleeping_service_is_not_woken_by_a_question(settings: Settings) -> None:
    async with SimulatedCloud(load_scenario("scaled-to-zero")) as cloud:
        async with chat(cloud, settings) as session:
            events = await ask(session, "hello")
        assert not cloud.woken
    assert "scaled to zero" in brain(events).why
    assert answer(events).author == "rules"
    assert "The model is not answering" in answer(events).text


async def test_an_endpoint_that_dies_is_looked_at_again(settings: Settings) -> None:
    scenario = load_scenario("healthy").with_chat([HELLO] * 2)
    async with SimulatedCloud(scenario) as cloud, chat(cloud, settings) as session:
        await ask(session, "hello")
        cloud.behave("cut_stream")
        broken = await ask(session, "tell me a joke")
        cloud.behave("normal")
        healed = await ask(session, "hello")
    assert (answer(broken).author, answer(healed).author) == ("rules", "model")


async def test_a_chat_waits_for_a_start_and_counts_down(settings: Settings) -> None:
    limits = settings.limits.model_copy(update={"cold_start": 8.0})
    async with SimulatedCloud(load_scenario("healthy").with_chat([HELLO])) as cloud:
        cloud.behave("starting_503")
        events = []
        async with chat(cloud, settings, limits=limits) as session:
            async for event in session.ask("hello"):
                events.append(event)
                if isinstance(event, PhaseChanged) and "s more" in event.detail:
                    cloud.behave("normal")
    assert any("the endpoint is starting" in getattr(e, "detail", "") for e in events)
    assert answer(events).author == "model"


async def test_a_start_that_takes_too_long_is_left_to_the_rules(settings: Settings) -> None:
    async with SimulatedCloud(load_scenario("healthy")) as cloud:
        cloud.behave("starting_503")
        started = time.monotonic()
        async with chat(cloud, settings) as session:
            events = await ask(session, "hello")
    assert time.monotonic() - started < 10
    assert "still starting" in brain(events).why


async def test_a_hiccup_is_tried_again(settings: Settings) -> None:
    async with SimulatedCloud(load_scenario("healthy").with_chat([HELLO])) as cloud:
        cloud.inject("http:/v1/chat/completions", error={"status": 503}, times=1)
        async with chat(cloud, settings) as session:
            events = await ask(session, "hello")
    assert answer(events).author == "model"


async def test_a_saturated_patient_is_spared(settings: Settings) -> None:
    busy = load_scenario("healthy").with_endpoint(metrics={"waiting": 7, "kv_usage": 0.97})
    async with SimulatedCloud(busy) as cloud:
        async with chat(cloud, settings) as session:
            events = await ask(session, "hello")
        assert not cloud.calls_to("http:/v1/chat/completions")
    assert "saturated" in brain(events).why


@pytest.mark.parametrize("consent", [True, False])
async def test_the_stand_in_answers_with_consent_and_is_announced(
    settings: Settings, consent: bool
) -> None:
    other = load_scenario("healthy").with_chat([HELLO]).with_endpoint(max_model_len=9000)
    async with SimulatedCloud(load_scenario("healthy")) as cloud, SimulatedCloud(other) as spare:
        cloud.behave("unavailable")
        place = StandIn(base_url=spare.base_url + "/v1", model=spare.model, consent=consent)
        limits = settings.limits.model_copy(update={"cold_start": 0.0})
        async with chat(cloud, settings, stand_in=place, limits=limits) as session:
            events = await ask(session, "hello")
        assert bool(spare.calls_to("http:/v1/models")) is consent
    if not consent:
        assert (answer(events).author, spare.calls) == ("rules", [])
        return
    said = [e.why for e in events if isinstance(e, BrainChanged)]
    assert "the stand-in" in said[0]
    assert "HTTP 503" in said[0]
    assert "the stand-in" in said[-1]
    assert any(getattr(e, "window", 0) == 9000 for e in events)


async def test_a_stalled_stream_is_shown_and_cancelled_at_once(settings: Settings) -> None:
    limits = settings.limits.model_copy(update={"between_tokens": 30.0, "answer": 60.0})
    async with SimulatedCloud(load_scenario("healthy").with_chat([HELLO])) as cloud:
        cloud.inject("http:/v1/chat/completions", behaviour="stall_stream", times=1)
        async with chat(cloud, settings, limits=limits) as session:
            events, took = [], 9.0
            async for event in session.ask("hello"):
                events.append(event)
                if isinstance(event, Stalled) and took == 9.0:
                    before = time.monotonic()
                    await session.cancel()
                    took = time.monotonic() - before
            assert took < 0.3
            assert isinstance(events[-1], TurnFinished)
            assert events[-1].cancelled
            assert answer(await ask(session, "hello")).author == "model"


async def test_thinking_is_asked_for_shown_and_never_stored(settings: Settings) -> None:
    reply = {"reply": {"reasoning": "secret thoughts", "content": "Hello."}}
    scenario = load_scenario("healthy").with_chat([reply, reply])
    async with SimulatedCloud(scenario) as cloud, chat(cloud, settings) as session:
        events = await ask(session, "hello", thinking=True)
        await ask(session, "hello", thinking=False)
        stored = json.dumps(session.memory.turns(session.id), default=str)
    assert "secret thoughts" in "".join(e.text for e in events if isinstance(e, ReasoningDelta))
    assert answer(events).text == "Hello."
    assert "secret thoughts" not in stored


async def test_thinking_and_the_stop_token_go_into_the_request() -> None:
    bodies: list[dict[str, Any]] = []

    def serve(request: httpx2.Request) -> httpx2.Response:
        bodies.append(json.loads(request.content))
        return httpx2.Response(503)

    brain = Brain(EndpointConfig(url="http://127.0.0.1:9"), model="m")
    brain._client._client = httpx2.AsyncClient(transport=httpx2.MockTransport(serve))
    for thinking, extensions in ((True, True), (False, True), (False, False)):
        with pytest.raises(BrainDown, match="503"):
            await brain.reply(
                [Message(role="user", content="x")],
                [],
                max_tokens=5,
                on_delta=lambda kind, text: None,
                thinking=thinking,
                extensions=extensions,
            )
    await brain.close()
    assert [b.get("chat_template_kwargs", {}).get("enable_thinking") for b in bodies] == [
        True,
        False,
        None,
    ]
    assert [b.get("stop_token_ids") for b in bodies] == [[106], [106], None]
    assert all("tools" not in body for body in bodies)


@pytest.mark.parametrize(
    ("question", "wanted"),
    [
        ("why is it down?", "diagnose"),
        ("status", "diagnose"),
        ("show me the logs", "logs"),
        ("how full is the kv cache?", "metrics"),
        ("have we seen this before, any incidents?", "incidents"),
        ("how do I fix a gated repo?", "runbook"),
        ("does 31B fit on an L4?", "size"),
        ("what does 12B cost on an L4?", "cost"),
        ("tell me a joke", "unknown"),
    ],
)
def test_plain_questions_are_recognised(question: str, wanted: str) -> None:
    assert intent(question) == wanted


@pytest.mark.parametrize(
    ("question", "words"),
    [
        ("does 31B fit on an L4?", "31B"),
        ("what does 12B cost on an L4?", "USD an hour"),
        ("show me the logs", "entries"),
        ("how busy is the queue?", "instances"),
        ("which runbooks are there for a gated repo?", "gated"),
        ("any incidents?", "No incident"),
        ("tell me a joke", "I can look without it"),
    ],
)
async def test_chat_answers_without_a_model(settings: Settings, question: str, words: str) -> None:
    scenario = load_scenario("gated-repo")
    async with SimulatedCloud(scenario) as cloud, chat(cloud, settings) as session:
        events = await ask(session, question)
    found = answer(events)
    assert found.author == "rules"
    assert found.text.startswith("The model is not answering (")
    assert words.lower() in found.text.lower()


# -- other servers


async def lacking(settings: Settings, cloud: SimulatedCloud, question: str = "hello") -> list[Any]:
    async with chat(cloud, settings) as session:
        return await ask(session, question)


async def test_a_server_without_version_load_and_tokenize(settings: Settings) -> None:
    scenario = load_scenario("healthy").with_chat([HELLO]).with_endpoint(llama_cpp=True)
    async with SimulatedCloud(scenario) as cloud:
        cloud.inject("http:/tokenize", error={"status": 404, "message": "Not Found"})
        events = await lacking(settings, cloud)
        assert len(cloud.calls_to("http:/tokenize")) == 1
    assert answer(events).author == "model"


async def test_a_server_without_tool_calls_gets_a_schema_instead(settings: Settings) -> None:
    call = {"action": "call", "tool": "get_endpoint", "arguments": {}}
    done = {"action": "answer", "answer": "It is up."}
    steps = [{"reply": {"content": json.dumps(step)}} for step in (call, done)]
    scenario = load_scenario("healthy").with_chat(steps).with_endpoint(tool_parser=False)
    async with SimulatedCloud(scenario) as cloud:
        events = await lacking(settings, cloud, "is the endpoint up?")
        cloud.assert_script_used()
    assert answer(events).author == "model"
    assert answer(events).text.startswith("It is up.")
    assert "action" not in "".join(e.text for e in events if isinstance(e, AnswerDelta))


async def test_a_server_that_knows_no_extensions(settings: Settings) -> None:
    refusal = {"status": 400, "message": "Extra inputs are not permitted: stop_token_ids"}
    async with SimulatedCloud(load_scenario("healthy").with_chat([HELLO])) as cloud:
        cloud.inject("http:/v1/chat/completions", error=refusal, times=1)
        events = await lacking(settings, cloud)
    assert answer(events).author == "model"


async def test_a_server_that_knows_its_window_better(settings: Settings) -> None:
    refusal = {
        "status": 400,
        "message": "This model's maximum context length is 2500 tokens. However, your prompt"
        " contains 2600 input tokens.",
    }
    async with SimulatedCloud(load_scenario("healthy").with_chat([HELLO])) as cloud:
        cloud.inject("http:/v1/chat/completions", error=refusal, times=1)
        events = await lacking(settings, cloud)
        assert len(cloud.calls_to("http:/v1/chat/completions")) == 2
    assert answer(events).author == "model"


# -- attachments


async def test_an_image_is_sent_once_with_its_budget(settings: Settings, tmp_path: Path) -> None:
    file = tmp_path / "dashboard.png"
    file.write_bytes(PNG)
    async with SimulatedCloud(load_scenario("healthy").with_chat([HELLO] * 2)) as cloud:
        async with chat(cloud, settings) as session:
            kept = await session.attach(file, budget=560)
            await ask(session, "what is that?")
            await ask(session, "and without it?")
        first, second = cloud.calls_to("http:/v1/chat/completions")
    assert kept.tokens >= 560
    assert "data:image/png;base64," in first.request
    assert "image_url" not in second.request
    assert extra_body((kept,)) == {"mm_processor_kwargs": {"max_soft_tokens": 560}}


async def test_what_the_model_can_not_take_is_refused_with_the_reason(
    settings: Settings, tmp_path: Path
) -> None:
    sound, text = tmp_path / "a.wav", tmp_path / "a.txt"
    sound.write_bytes(WAV)
    text.write_text("no picture")
    scenario = load_scenario("healthy")
    async with SimulatedCloud(scenario) as cloud, chat(cloud, settings) as session:
        with pytest.raises(UsageError, match="can't hear"):
            await session.attach(sound)
        with pytest.raises(UsageError, match="neither an image nor a sound"):
            await session.attach(text)
        with pytest.raises(UsageError, match="One of 70, 140, 280, 560, 1120"):
            await session.attach(sound, budget=100)
        with pytest.raises(UsageError, match="can't be read"):
            await session.attach(tmp_path / "none.png")


def test_large_files_are_not_read(tmp_path: Path) -> None:
    file = tmp_path / "large.png"
    with file.open("wb") as handle:
        handle.write(PNG)
        handle.truncate(11_000_000)
    with pytest.raises(UsageError, match="the limit is 10 MB"):
        read_attachment(file)


@pytest.mark.parametrize(
    ("args", "limits"),
    [
        (["--limit-mm-per-prompt", "image=0,audio=0"], {"image": 0, "audio": 0}),
        (['--limit-mm-per-prompt={"image": 2}'], {"image": 2}),
        (["--limit-mm-per-prompt.image", "0"], {"image": 0}),
        (["--limit_mm_per_prompt", "image=1"], {"image": 1}),
        (["--language-model-only"], {"image": 0, "audio": 0, "video": 0}),
        (["--model", "x"], {}),
        (["--limit-mm-per-prompt", "nonsense"], {}),
    ],
)
def test_modalities_as_they_were_deployed(args: list[str], limits: dict[str, int]) -> None:
    assert modality_limits(args) == limits
