"""The last resort: one step whose form the server enforces, as it enforces no tool call.

vLLM 0.32 with ``--tool-call-parser gemma4`` ignores ``tool_choice: required`` and enforces
``response_format: json_schema``. The model does not see the schema, so the prompt states it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from agent.call_syntax import parse_object
from agent.messages import Call, Reply

MAX_ANSWER_CHARACTERS = 2400


def step_schema(tools: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the schema of a step: an answer, or a call to one of the tools."""
    answer = {"type": "string", "maxLength": MAX_ANSWER_CHARACTERS}
    if not tools:
        return {"type": "object", "properties": {"answer": answer}, "required": ["answer"]}
    return {
        "type": "object",
        "properties": {
            "action": {"type": "string", "enum": ["answer", "call"]},
            "answer": answer,
            "tool": {"type": "string", "enum": [tool["function"]["name"] for tool in tools]},
            "arguments": {"type": "object"},
        },
        "required": ["action"],
    }


def step_prompt(tools: Sequence[Mapping[str, Any]]) -> str:
    """Return the words that tell the model the schema."""
    if not tools:
        return 'Reply with one JSON object and nothing else: {"answer": "your answer as text"}.'
    names = "; ".join(_signature(tool["function"]) for tool in tools)
    return (
        "Reply with one JSON object and nothing else. To answer:"
        ' {"action": "answer", "answer": "your answer as text"}. To look first:'
        f' {{"action": "call", "tool": "NAME", "arguments": {{}}}}. Tools: {names}.'
    )


def read_step(reply: Reply) -> Reply:
    """Return the reply as if it had come without the schema; empty when it can't be read."""
    try:
        step, cut = parse_object(reply.content)
    except ValueError:
        return replace(reply, content="", calls=())
    if step.get("tool") and (step.get("action") == "call" or not step.get("answer")):
        arguments = step.get("arguments")
        call = Call(
            "",
            str(step["tool"]),
            arguments if isinstance(arguments, dict) else {},
            problem="the arguments of the call are cut" if cut else "",
            raw=json.dumps(arguments),
        )
        return replace(reply, content="", calls=(call,))
    answer = step.get("answer", "")
    return replace(reply, content=answer if isinstance(answer, str) else "", calls=())


def _signature(function: Mapping[str, Any]) -> str:
    parameters = function["parameters"]
    needed = parameters.get("required", ())
    names = [name + ("" if name in needed else "?") for name in parameters["properties"]]
    return f"{function['name']}({', '.join(names)})"
