"""Chat completions of the simulated model: a strict script, or a canned freeform answer."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from random import Random
from typing import Any

import jsonschema

from tools.simulator.calls import ScriptMismatch
from tools.simulator.scenario import Scenario
from tools.simulator.tokens import count_text, message_text, split_tokens
from tools.simulator.vllm_errors import Reply, error_reply, json_reply

FINGERPRINT = "vllm-0.32.0-134722b3"
_EVIDENCE = re.compile(r"\bE\d{1,3}\b")


class ScriptedModel:
    """Answer each chat request with the next step of the script, if it is what the step expects."""

    def __init__(self, scenario: Scenario) -> None:
        self._chat = scenario.chat
        self._used = 0
        self.mismatches: list[str] = []

    def reset(self, chat: Any) -> None:
        """Follow another script from its first step on."""
        self._chat = chat if chat is None or chat == "freeform" else tuple(chat)
        self._used = 0

    def reply(self, request: Mapping[str, Any]) -> Mapping[str, Any] | None:
        """Return the reply of the script, None after noting a mismatch."""
        if self._chat == "freeform":
            return freeform_reply(request)
        steps = self._chat or ()
        if self._used >= len(steps):
            self._note(f"unexpected chat request {self._used + 1}: the script has {len(steps)}")
            return None
        step = steps[self._used]
        problem = _mismatch(step.get("expect", {}), request)
        problem = problem or _schema_problem(step["reply"], request)
        if problem:
            self._note(f"step {self._used + 1}: {problem}")
            return None
        self._used += 1
        reply: Mapping[str, Any] = step["reply"]
        return reply

    def assert_used(self) -> None:
        """Raise ScriptMismatch for an unexpected request, or for a step that was not used."""
        if self.mismatches:
            raise ScriptMismatch("; ".join(self.mismatches))
        if self._chat != "freeform" and self._used < len(self._chat or ()):
            raise ScriptMismatch(f"{self._used} of {len(self._chat or ())} chat steps were used")

    def _note(self, text: str) -> None:
        self.mismatches.append(text)


def mismatch_reply(model: ScriptedModel) -> Reply:
    """Return the 500 of a request that the script does not foresee."""
    message = f"simulation: {model.mismatches[-1]}"
    return error_reply(message, "InternalServerError", None, 500)


def _mismatch(expect: Mapping[str, Any], request: Mapping[str, Any]) -> str:
    messages = request["messages"]
    role = expect.get("last_role")
    if role and messages[-1]["role"] != role:
        return f"the last message is of {messages[-1]['role']}, not of {role}"
    text = "\n".join(message_text(message) for message in messages)
    for wanted in expect.get("contains", ()):
        if wanted not in text:
            return f"no message contains {wanted!r}"
    for unwanted in expect.get("lacks", ()):
        if unwanted in text:
            return f"a message contains {unwanted!r}"
    names = {tool["function"]["name"] for tool in request.get("tools") or ()}
    for wanted in expect.get("tools_include", ()):
        if wanted not in names:
            return f"the tool {wanted!r} is not offered; offered: {', '.join(sorted(names))}"
    if "stream" in expect and bool(request.get("stream")) != expect["stream"]:
        return f"stream is {bool(request.get('stream'))}"
    return ""


def _schema(request: Mapping[str, Any]) -> Mapping[str, Any] | None:
    wanted = request.get("response_format") or {}
    if wanted.get("type") != "json_schema":
        return None
    schema: Mapping[str, Any] = wanted["json_schema"].get("schema", {})
    return schema


def _schema_problem(reply: Mapping[str, Any], request: Mapping[str, Any]) -> str:
    # vLLM enforces json_schema, so a scripted answer that breaks it could never have been given.
    schema = _schema(request)
    if schema is None or "raw" in reply or "content" not in reply:
        return ""
    try:
        jsonschema.validate(json.loads(reply["content"]), schema)
    except ValueError as error:
        return f"the scripted reply is not JSON, but a schema was asked for: {error}"
    except jsonschema.ValidationError as error:
        return f"the scripted reply breaks the schema that was asked for: {error.message}"
    return ""


def freeform_reply(request: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a canned answer that names evidence ids which stand in the prompt."""
    text = "\n".join(message_text(message) for message in request["messages"])
    ids = list(dict.fromkeys(_EVIDENCE.findall(text)))[:3]
    schema = _schema(request)
    if schema is not None:
        return {"content": json.dumps(_instance(schema, ids))}
    if not ids:
        return {"content": "I am a simulated model: nothing in the prompt is marked as evidence."}
    quoted = next((line.strip() for line in text.split("\n") if ids[0] in line), "")[:160]
    return {
        "content": (
            f"The evidence that decides is {' and '.join(ids)}. In the words of {ids[0]}: "
            f"{quoted}. I am a simulated model that only repeats what stands in the prompt."
        )
    }


def _instance(schema: Mapping[str, Any], ids: list[str]) -> Any:
    if "const" in schema:
        return schema["const"]
    if schema.get("enum"):
        return schema["enum"][0]
    for key in ("anyOf", "oneOf"):
        if schema.get(key):
            return _instance(schema[key][0], ids)
    match schema.get("type"):
        case "object":
            wanted = schema.get("required", schema.get("properties", {}))
            return {name: _instance(schema["properties"].get(name, {}), ids) for name in wanted}
        case "array":
            items = schema.get("items", {})
            if items.get("type") == "string" and "enum" not in items and ids:
                return ids[: schema.get("maxItems", 3)]
            return [_instance(items, ids) for _ in range(schema.get("minItems", 0))]
        case "integer" | "number":
            return schema.get("minimum", 0)
        case "boolean":
            return False
        case "null":
            return None
    text = f"A simulated model sees {', '.join(ids) or 'no evidence'}."
    return text[: schema.get("maxLength", 200)]


class Completion:
    """A reply as vLLM sends it: one body, or a stream of chunks."""

    def __init__(
        self, reply: Mapping[str, Any], model: str, prompt_tokens: int, created: int, random: Random
    ) -> None:
        self._reply = reply
        self._model = model
        self._prompt = prompt_tokens
        self._created = created
        self._id = f"chatcmpl-{random.getrandbits(64):016x}"
        self._calls: list[dict[str, Any]] = [
            {
                "id": f"chatcmpl-tool-{random.getrandbits(64):016x}",
                "type": "function",
                "function": {"name": call["name"], "arguments": _arguments(call)},
            }
            for call in reply.get("tool_calls", ())
        ]
        self._reasoning = str(reply.get("reasoning", ""))
        self._content = str(reply.get("content") or "")
        default = "tool_calls" if self._calls else "stop"
        self._finish = str(reply.get("finish_reason", default))

    @property
    def completion_tokens(self) -> int:
        """Return the tokens of the answer, reasoning and tool calls included."""
        calls = json.dumps(self._calls) if self._calls else ""
        return count_text(self._reasoning + self._content + calls) + 1

    @property
    def finish_reason(self) -> str:
        """Return why generation ended."""
        return self._finish

    def body(self) -> Reply:
        """Return the answer to a request without ``stream``."""
        message: dict[str, Any] = {
            "role": "assistant",
            "content": self._content if self._content or not self._calls else None,
            "refusal": None,
            "annotations": None,
            "audio": None,
            "function_call": None,
            "reasoning": self._reasoning or None,
        }
        if self._reply.get("content", "") is None:
            message["content"] = None
        if self._calls:
            message["tool_calls"] = self._calls
        choice = {
            "index": 0,
            "message": message,
            "logprobs": None,
            "finish_reason": self._finish,
            "stop_reason": None,
            "token_ids": None,
            "routed_experts": None,
        }
        usage = self._usage() | {"prompt_tokens_details": None}
        return json_reply(
            {
                "id": self._id,
                "object": "chat.completion",
                "created": self._created,
                "model": self._model,
                "choices": [choice],
                "service_tier": None,
                "system_fingerprint": FINGERPRINT,
                "usage": usage,
                "prompt_logprobs": None,
                "prompt_token_ids": None,
                "prompt_text": None,
                "kv_transfer_params": None,
                "ec_transfer_params": None,
                "metrics": None,
            }
        )

    def stream(self, include_usage: bool) -> Reply:
        """Return the answer to a request with ``stream``."""
        deltas: list[dict[str, Any]] = []
        deltas += [{"reasoning": piece} for piece in _pieces(self._reasoning)]
        deltas += [{"content": piece} for piece in self._reply.get("chunks", ())]
        if "chunks" not in self._reply:
            deltas += [{"content": piece} for piece in _pieces(self._content)]
        for index, call in enumerate(self._calls):
            function = call["function"]
            head = {**call, "index": index, "function": {"name": function["name"], "arguments": ""}}
            deltas.append({"tool_calls": [head]})
            deltas += [
                {"tool_calls": [{"index": index, "function": {"arguments": piece}}]}
                for piece in _pieces(function["arguments"])
            ]
        first = self._chunk({"role": "assistant", "content": ""}, None)
        del first["choices"][0]["token_ids"]
        chunks = [first | {"prompt_token_ids": None, "prompt_text": None}]
        chunks += [self._chunk(delta, None) for delta in deltas[:-1]]
        last = self._chunk(deltas[-1] if deltas else {"content": ""}, self._finish)
        chunks.append(last)
        if include_usage:
            usage = {key: last[key] for key in ("id", "object", "created", "model")}
            chunks.append(usage | {"choices": [], "usage": self._usage()})
        chunks[-1] = chunks[-1] | {"system_fingerprint": FINGERPRINT}
        lines = [_event(chunk) for chunk in chunks]
        return Reply(
            content_type="text/event-stream; charset=utf-8",
            chunks=[*lines, b"data: [DONE]\n\n"],
            ending=str(self._reply.get("ending", "complete")),
            delay=float(self._reply.get("delay", 0.0)),
        )

    def _usage(self) -> dict[str, Any]:
        return {
            "prompt_tokens": self._prompt,
            "total_tokens": self._prompt + self.completion_tokens,
            "completion_tokens": self.completion_tokens,
            "completion_tokens_details": {"reasoning_tokens": count_text(self._reasoning)},
        }

    def _chunk(self, delta: Mapping[str, Any], finish: str | None) -> dict[str, Any]:
        choice: dict[str, Any] = {
            "index": 0,
            "delta": delta,
            "logprobs": None,
            "finish_reason": finish,
        }
        if finish is not None:
            choice["stop_reason"] = None
        choice["token_ids"] = None
        return {
            "id": self._id,
            "object": "chat.completion.chunk",
            "created": self._created,
            "model": self._model,
            "choices": [choice],
        }


def _event(chunk: Mapping[str, Any]) -> bytes:
    return b"data: " + json.dumps(chunk, separators=(",", ":")).encode() + b"\n\n"


def _arguments(call: Mapping[str, Any]) -> str:
    arguments = call.get("arguments", {})
    return arguments if isinstance(arguments, str) else json.dumps(arguments)


def _pieces(text: str) -> list[str]:
    # Token by token, white space kept with what follows it.
    pieces: list[str] = []
    at = 0
    for token in split_tokens(text):
        end = text.index(token, at) + len(token)
        pieces.append(text[at:end])
        at = end
    if at < len(text):
        pieces.append(text[at:])
    return pieces
