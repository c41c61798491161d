"""Tokens of the first request, for every tool set, counted with a real Gemma tokenizer.

    python benchmarks/first_request.py [--json]

A diagnosis of each shipped scenario and a few chat questions are sent to the simulated endpoint;
what was sent is rendered in the form of vLLM's Gemma 4 tool template (examples/
tool_chat_template_gemma4.jinja of vLLM 0.32) and counted, plus a margin of 10 %. The figures of
the peers were measured with cl100k over what they send, system prompt, tools and one question.
Without the tokenizer's package, a sentence says how to get it and nothing is measured.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from gemma_tokenizer import ABSENT, GemmaTokenizer, load_tokenizer

PEERS = {"HolmesGPT 0.45.0": 8132, "mistral-vibe 3.0.2": 7512}
MARGIN = 1.10
LIMIT = 1500
QUESTIONS = ("hello", "why does it fail?", "how slow is it and how full is the kv cache?",
             "what changed in the last deployment?", "does 31B fit on an L4?")  # fmt: skip


def render_tools(tools: Sequence[Mapping[str, Any]]) -> str:
    """Return tool declarations as the template writes them."""
    return "".join(f"<|tool>{_declaration(tool['function'])}<tool|>" for tool in tools)


def _declaration(function: Mapping[str, Any]) -> str:
    parameters = function["parameters"]
    text = f"declaration:{function['name']}{{description:{_quoted(function['description'])}"
    text += ",parameters:{"
    if parameters["properties"]:
        fields = sorted(parameters["properties"].items())
        text += "properties:{" + ",".join(_field(name, spec) for name, spec in fields) + "},"
    if parameters.get("required"):
        text += f"required:[{','.join(map(_quoted, parameters['required']))}],"
    return text + f"type:{_quoted('OBJECT')}}}}}"


def _field(name: str, spec: Mapping[str, Any]) -> str:
    parts = []
    if spec.get("description"):
        parts.append(f"description:{_quoted(spec['description'])}")
    if spec.get("enum"):
        parts.append(f"enum:[{','.join(map(_quoted, spec['enum']))}]")
    if spec.get("items"):
        parts.append(f"items:{{type:{_quoted(spec['items']['type'].upper())}}}")
    parts.append(f"type:{_quoted(spec['type'].upper())}")
    return f"{name}:{{{','.join(parts)}}}"


def _quoted(text: str) -> str:
    return f'<|"|>{text}<|"|>'


def render(messages: Sequence[Mapping[str, Any]], tools: Sequence[Mapping[str, Any]]) -> str:
    """Return a first request as the template writes it: system turn with tools, then the rest."""
    text = f"<bos><|turn>system\n{messages[0]['content'].strip()}{render_tools(tools)}<turn|>\n"
    for message in messages[1:]:
        role = "model" if message["role"] == "assistant" else message["role"]
        text += f"<|turn>{role}\n{(message['content'] or '').strip()}<turn|>\n"
    return text + "<|turn>model\n"


async def first_requests(state: Path) -> list[dict[str, Any]]:
    """Return what is sent first, for each scenario's diagnosis and each question."""
    from agent import reasoning
    from agent.demo import demo_settings
    from agent.messages import BrainDown
    from agent.session import DiagnoseRequest, Session
    from agent.settings import Settings, StandIn
    from tools.simulator.cloud import SimulatedCloud
    from tools.simulator.scenario import load_scenario, shipped_scenarios

    sent: list[dict[str, Any]] = []

    def recording(*args: Any) -> Any:
        async def record(messages: Any, tools: Any, **_options: Any) -> Any:
            sent.append({"messages": list(messages), "tools": list(tools), **told})
            raise BrainDown("recorded")

        del args
        return record

    told: dict[str, str] = {}
    reasoning.audited = recording  # type: ignore[assignment]
    names = [info.name for info in shipped_scenarios()]
    jobs = [(name, "") for name in names] + [("healthy", question) for question in QUESTIONS]
    for number, (name, question) in enumerate(jobs):
        told = {"what": question or f"diagnose: {name}"}
        async with SimulatedCloud(load_scenario(name)) as cloud:
            place = StandIn(base_url=cloud.base_url, model=cloud.model, consent=True, first=True)
            chosen = demo_settings(cloud, Settings.load(state=state.with_name(f"{number}.db")))
            session = await Session.open(chosen.model_copy(update={"stand_in": place}))
            before = len(sent)
            run = session.ask(question) if question else session.diagnose(DiagnoseRequest())
            try:
                async for _ in run:
                    pass
            finally:
                await session.close()
            del sent[before + 1 :]
    return sent


def every_set() -> list[tuple[str, list[dict[str, Any]]]]:
    """Return every set of tools that a request may offer, with its prompt."""
    from agent.tool_choice import (
        _BY_KIND,
        MAX_TOOLS,
        NOTE_SCHEMA,
        READ_OUTPUT_SCHEMA,
        compact_schema,
    )
    from tools.registry import load_tools

    tools = {name: compact_schema(tool) for name, tool in load_tools().items()}
    sets = [(f"diagnose {kind}", [tools[n] for n in names]) for kind, names in _BY_KIND.items()]
    chosen = itertools.combinations(sorted(tools), min(MAX_TOOLS, len(tools)))
    sets += [("chat, any six", [tools[n] for n in names]) for names in chosen]
    return [(name, [*schemas, NOTE_SCHEMA, READ_OUTPUT_SCHEMA]) for name, schemas in sets]


def measure(tokenizer: GemmaTokenizer, sent: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the tokens of each request, and the most that prompt and schemas take."""
    from importlib import resources

    def count(messages: Sequence[Mapping[str, Any]], tools: Sequence[Mapping[str, Any]]) -> int:
        return round(tokenizer.count(render(messages, tools)) * MARGIN)

    prompts = resources.files("agent").joinpath("prompts")
    overhead: dict[str, int] = {}
    for name, schemas in every_set():
        prompt = "chat" if name.startswith("chat") else "diagnose"
        system = {"content": prompts.joinpath(f"{prompt}.txt").read_text("utf-8")}
        overhead[name] = max(overhead.get(name, 0), count([system], schemas))
    return {
        "first_request": {row["what"]: count(row["messages"], row["tools"]) for row in sent},
        "prompt_and_schemas": overhead,
        "limit": LIMIT,
        "peers": PEERS,
    }


def main() -> int:
    """Measure and print; 1 when prompt and schemas pass the limit, 0 without a tokenizer."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    tokenizer = load_tokenizer()
    if tokenizer is None:
        print(f"skipped: {ABSENT}", file=sys.stderr)
        return 0
    with tempfile.TemporaryDirectory() as folder:
        found = measure(tokenizer, asyncio.run(first_requests(Path(folder) / "state.db")))
    if arguments.json:
        print(json.dumps(found, indent=1))
    else:
        for part in ("first_request", "prompt_and_schemas", "peers"):
            print(f"{part.replace('_', ' ')}, tokens:")
            for name, tokens in found[part].items():
                print(f"  {name:52} {tokens:6,}")
    return int(max(found["prompt_and_schemas"].values()) > LIMIT)


if __name__ == "__main__":
    raise SystemExit(main())
