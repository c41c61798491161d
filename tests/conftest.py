"""A small export of a failing start, in the shape that Cloud Logging exports have."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Export = Callable[..., Path]


def entries_of(
    model: str = "google/gemma-4-12B-it",
    layer: str = "language_model.model.layers.3.self_attn",
    card: str = "NVIDIA L4",
    held: int = 4096,
    asked: int = 8192,
    instance: str = "00aa11bb22cc33dd44ee55ff",
    pid: int = 119,
    cache: str = "compact",
    fails: bool = True,
) -> list[dict[str, Any]]:
    """Return the entries of one start; no shipped runbook knows how it fails."""
    api, engine = "(APIServer pid=1)", f"(EngineCore pid={pid})"
    day = "06-06 03:40:"
    vllm = "/usr/lib/python3.12/site-packages/vllm"
    options = (
        f"{{'model': '{model}', 'dtype': 'bfloat16', 'max_model_len': {asked}, "
        f"'rotary_cache_mode': '{cache}', 'max_num_seqs': 8}}"
    )
    unknown = "Unknown vLLM environment variable detected: VLLM_X"
    said = (
        f"vllm.layers.rotary.PositionCacheError: The rotary cache of layer {layer} holds {held} "
        f"positions, but the checkpoint asks for {asked} on {card}."
    )
    error = f"{engine} ERROR {day}31 [core.py:1165]"
    lines: list[tuple[str, str]] = [
        ("system", "Starting new instance. Reason: DEPLOYMENT_ROLLOUT - traffic shifting."),
        ("stderr", f"{api} INFO {day}07 [utils.py:278] non-default args: {options}"),
        (
            "stderr",
            f"{api} WARNING {day}07 [envs.py:20] {unknown}",
        ),
        ("stderr", f"{api} INFO {day}09 [model.py:617] Resolved architecture: Gemma4ForCausalLM"),
        (
            "stderr",
            f"{engine} INFO {day}20 [core.py:105] Initializing a V1 LLM engine (v0.22): '{model}'",
        ),
        (
            "stderr",
            f"{engine} INFO {day}21 [rotary.py:44] The rotary cache of layer {layer} is built.",
        ),
        (
            "stderr",
            f"{engine} INFO {day}30 [gpu_model_runner.py:5037] Starting to load model {model}...",
        ),
    ]
    if fails:
        lines += [
            ("stderr", f"{error} EngineCore failed to start."),
            ("stderr", f"{error} Traceback (most recent call last):"),
            ("stderr", f'{error}   File "{vllm}/v1/engine/core.py", line 1139, in run_engine_core'),
            ("stderr", f"{error}     engine_core = EngineCoreProc(*args, **kwargs)"),
            ("stderr", f'{error}   File "{vllm}/layers/rotary.py", line 88, in check_positions'),
            ("stderr", f"{error}     raise PositionCacheError(text)"),
            ("stderr", f"{error} {said}"),
            ("stderr", f"{error} The mode {cache} halves the cache."),
            ("system", "Container called exit(1)."),
        ]  # fmt: skip
    else:
        lines += [
            ("stderr", f"{api} INFO {day}40 [api_server.py:500] Starting vLLM server"),
            ("stderr", f"{api} INFO:     Application startup complete."),
        ]  # fmt: skip
    return [_entry(number, stream, text, instance) for number, (stream, text) in enumerate(lines)]


def _entry(number: int, stream: str, text: str, instance: str) -> dict[str, Any]:
    name = "run.googleapis.com%2F" + ("varlog%2Fsystem" if stream == "system" else stream)
    return {
        "insertId": f"{instance[:6]}{number:06d}",
        "labels": {"instanceId": instance},
        "logName": f"projects/demo-project/logs/{name}",
        "resource": {
            "type": "cloud_run_revision",
            "labels": {
                "location": "us-east4",
                "project_id": "demo-project",
                "revision_name": "gemma-00003-abc",
                "service_name": "gemma",
            },
        },
        "textPayload": text,
        "timestamp": f"2026-06-06T03:40:{10 + number:02d}.000000Z",
    }


@pytest.fixture
def export_of(tmp_path: Path) -> Export:
    """Write an export with these values and return its path."""
    written = 0

    def write(**values: Any) -> Path:
        nonlocal written
        written += 1
        path = tmp_path / f"export-{written}.json"
        path.write_text(json.dumps(entries_of(**values), indent=2))  # as gcloud prints it
        return path

    return write
