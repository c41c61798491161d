"""The routes of the simulated vLLM 0.32: what they accept, and what they answer."""

from __future__ import annotations

import json
from collections.abc import Mapping
from random import Random
from typing import Any

from tools.simulator.clock import SimulatedClock
from tools.simulator.scenario import Scenario
from tools.simulator.tokens import count_chat, message_text, token_ids
from tools.simulator.vllm_chat import Completion, ScriptedModel, mismatch_reply
from tools.simulator.vllm_errors import (
    BadRequest,
    Reply,
    bad_json,
    bad_request,
    json_reply,
    missing_field,
    unknown_model,
)
from tools.simulator.vllm_metrics import EndpointCounters, render_metrics

#: What the endpoint answers on chat in these behaviours, in place of the script.
_MISBEHAVED: dict[str, dict[str, Any]] = {
    "empty_reply": {"content": ""},
    "only_reasoning": {
        "reasoning": "The revision failed, so I must look at the evidence again and again. " * 6,
        "content": None,
        "finish_reason": "length",
    },
    "cut_tool_call": {
        "tool_calls": [{"name": "read_logs", "arguments": '{"minutes": 30, "contains": "Val'}],
        "finish_reason": "length",
    },
    "tool_call_as_text": {"content": "<|tool_call>call:read_logs{minutes:30}<tool_call|>"},
    "stall_stream": {"content": "The revision failed because the", "ending": "stall"},
    "cut_stream": {"content": "The revision failed because the", "ending": "cut"},
}


class SimulatedVllm:
    """Answer requests of vLLM's API from a scenario's ``endpoint`` and ``chat``."""

    def __init__(self, scenario: Scenario, clock: SimulatedClock, seed: int) -> None:
        endpoint = scenario.endpoint
        self.model = str(endpoint.get("model", "google/gemma-4-12B-it-qat-w4a16-ct"))
        self.window = int(endpoint.get("max_model_len", 16_384))
        self.script = ScriptedModel(scenario)
        self._version = str(endpoint.get("version", "0.32.0"))
        self._tools = bool(endpoint.get("tool_parser", True))
        self._blocks = int(endpoint.get("kv_blocks", 6_000))
        self._llama_cpp = bool(endpoint.get("llama_cpp", False))
        self._counters = EndpointCounters(endpoint.get("metrics", {}))
        self._clock = clock
        self._random = Random(seed)  # noqa: S311 - ids, not secrets

    def answer(self, method: str, path: str, body: bytes, behaviour: str) -> Reply:
        """Return the answer to one request."""
        route = path.partition("?")[0]
        try:
            match method, route:
                case "GET" | "POST", "/ping":
                    return Reply()
                case "GET", "/health":
                    return Reply()
                case "GET", "/version" if not self._llama_cpp:
                    return json_reply({"version": self._version})
                case "GET", "/load" if not self._llama_cpp:
                    return json_reply({"server_load": int(self._counters.values.get("running", 0))})
                case "GET", "/v1/models":
                    return json_reply(self._models())
                case "GET", "/metrics":
                    text = render_metrics(self._counters, self.model, self._blocks)
                    return Reply(
                        body=text.encode(), content_type="text/plain; version=1.0.0; charset=utf-8"
                    )
                case "POST", "/tokenize":
                    return json_reply(self._tokenize(_object(body)))
                case "POST", "/v1/chat/completions":
                    return self._chat(_object(body), behaviour)
        except BadRequest as refused:
            return refused.reply
        return json_reply({"detail": "Not Found"}, 404)

    def _models(self) -> dict[str, Any]:
        created = int(self._clock.seconds())
        permission = {
            "id": f"modelperm-{self._random.getrandbits(64):016x}",
            "object": "model_permission",
            "created": created,
            "allow_create_engine": False,
            "allow_sampling": True,
            "allow_logprobs": True,
            "allow_search_indices": False,
            "allow_view": True,
            "allow_fine_tuning": False,
            "organization": "*",
            "group": None,
            "is_blocking": False,
        }
        model = {
            "id": self.model,
            "object": "model",
            "created": created,
            "owned_by": "vllm",
            "root": self.model,
            "parent": None,
            "max_model_len": self.window,
            "permission": [permission],
        }
        return {"object": "list", "data": [model]}

    def _check_model(self, request: Mapping[str, Any]) -> None:
        wanted = request.get("model", self.model)
        if wanted != self.model:
            raise unknown_model(str(wanted), self.model)

    def _tokenize(self, request: Mapping[str, Any]) -> dict[str, Any]:
        self._check_model(request)
        if "messages" in request:
            count = count_chat(request["messages"], request.get("tools"))
            if request.get("add_generation_prompt") is False:
                count -= 3
            text = "\n".join(message_text(message) for message in request["messages"])
            ids = (token_ids(text) + [2] * count)[:count]
        elif "prompt" in request:
            ids = token_ids(str(request["prompt"]))
        else:
            raise missing_field("body.prompt", len(request))
        return {
            "count": len(ids),
            "max_model_len": self.window,
            "tokens": ids,
            "token_strs": None,
        }

    def _chat(self, request: Mapping[str, Any], behaviour: str) -> Reply:
        prompt = self._check_chat(request)
        reply: Mapping[str, Any] | None = _MISBEHAVED.get(behaviour)
        if reply is None:
            reply = self.script.reply(request)
        if reply is None:
            return mismatch_reply(self.script)
        if "error" in reply:
            return json_reply({"error": reply["error"]}, int(reply.get("status", 500)))
        if "raw" in reply:
            kind = "text/event-stream" if request.get("stream") else "application/json"
            return Reply(int(reply.get("status", 200)), str(reply["raw"]).encode(), kind)
        completion = Completion(reply, self.model, prompt, int(self._clock.seconds()), self._random)
        self._counters.served(prompt, completion.completion_tokens, completion.finish_reason)
        if not request.get("stream"):
            answer = completion.body()
            answer.ending = str(reply.get("ending", "complete"))
            return answer
        options = request.get("stream_options") or {}
        return completion.stream(bool(options.get("include_usage")))

    def _check_chat(self, request: Mapping[str, Any]) -> int:
        # Checks and texts in the order in which vLLM 0.32 was seen to make them.
        if not isinstance(request.get("messages"), list) or not request["messages"]:
            raise missing_field("body.messages", len(request))
        self._check_tools(request)
        self._check_model(request)
        temperature = request.get("temperature")
        if temperature is not None and temperature < 0:
            message = f"temperature must be non-negative, got {float(temperature)}."
            raise bad_request(message, "temperature", float(temperature))
        limit = request.get("max_completion_tokens") or request.get("max_tokens")
        if limit is not None and limit > self.window:
            raise bad_request(
                f"max_tokens={limit} cannot be greater than max_model_len={self.window}. "
                "Please request fewer output tokens.",
                "max_tokens",
                limit,
            )
        prompt = count_chat(request["messages"], request.get("tools"))
        head = f"This model's maximum context length is {self.window} tokens. However, "
        if prompt > self.window:
            raise bad_request(
                f"{head}your prompt contains at least {self.window + 1} input tokens, which "
                "exceeds this limit even without any output tokens. Please reduce the length of "
                "the input prompt.",
                "input_tokens",
                self.window + 1,
            )
        if limit is not None and prompt + limit > self.window:
            raise bad_request(
                f"{head}you requested {limit} output tokens and your prompt contains {prompt} "
                f"input tokens, for a total of {prompt + limit} tokens. Please reduce the length "
                "of the input prompt or the number of requested output tokens.",
                "input_tokens",
                prompt,
            )
        return prompt

    def _check_tools(self, request: Mapping[str, Any]) -> None:
        tools = request.get("tools")
        if tools is None:
            return
        if not tools:
            raise bad_request(
                "`tools` must not be an empty array. Either provide at least one tool or omit the "
                "field entirely.",
                "tools",
            )
        for index, tool in enumerate(tools):
            if not tool.get("function", {}).get("name"):
                where = f"body.tools.{index}.function.name"
                raise missing_field(where, len(tool.get("function", {})))
        if not self._tools and request.get("tool_choice", "auto") == "auto":
            raise bad_request(
                '"auto" tool choice requires --enable-auto-tool-choice and --tool-call-parser to '
                "be set",
                "tool_choice",
            )


def _object(body: bytes) -> dict[str, Any]:
    try:
        value = json.loads(body)
    except json.JSONDecodeError as error:
        raise bad_json(error.pos) from None
    if not isinstance(value, dict):
        raise missing_field("body", 0)
    return value
