from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tools.domain import Block, LogRecord, Origin, Severity
from tools.logs.digest import LogDigest, digest_of
from tools.logs.launch_args import parse_args
from tools.logs.lifecycle import Lifecycle
from tools.logs.records import record_from_entry
from tools.logs.sources import read_logs

Make = Callable[..., list[LogRecord]]
API = "(APIServer pid=1) INFO 06-06 03:40:07 [utils.py:278] "
ARGS = API + "non-default args: {'model': 'google/gemma-4-12B-it', 'linear_backend': 'cutlass'}"
LOADING = "Loading safetensors checkpoint shards:  42% Completed | 5/12 [00:10<00:20,  2.00s/it]"
READY = "INFO:     Application startup complete."


def facts(records: list[LogRecord]) -> dict[str, object]:
    found: dict[str, object] = {}
    for observation in digest_of(records).observations():
        found |= observation.facts
    return found


def test_the_real_export(export: list[dict[str, Any]]) -> None:
    seen: list[Block] = []
    digest = digest_of((record_from_entry(entry) for entry in export), seen.append)
    assert digest.total == 269
    assert sum(digest.by_severity.values()) == 269
    assert digest.first is not None
    assert digest.last is not None
    assert digest.service == "gpu-12b-l4-devops-agent"
    assert digest.location == "us-east4"
    observations = {name: o for o in digest.observations() for name in o.facts}
    assert {name: o.facts[name] for name, o in observations.items()} == {
        "logs.entries": 269,
        "logs.ready": False,
        "logs.exit_code": 1,
        "logs.probe_failed": True,
        "logs.loading": False,
    }
    by_id = {entry["insertId"]: entry for entry in export}
    exit_ = observations["logs.exit_code"]
    assert by_id[exit_.ref]["textPayload"] == exit_.quote == "Container called exit(1)."
    assert exit_.origin is Origin.PLATFORM
    assert [p.name for p in digest.starts[-1].phases] == ["arguments", "engine", "weights"]
    assert sum(1 for b in seen if b.kind == "traceback") == 2
    assert len(digest.blocks) < 20


def test_a_healthy_start(startup_path: Path) -> None:
    digest = digest_of(read_logs([str(startup_path)]))
    assert digest.failures == ()
    assert {k: v for o in digest.observations() for k, v in o.facts.items()} == {
        "logs.entries": digest.total,
        "logs.ready": True,
        "logs.weights_percent": 100,
        "logs.loading": False,
    }
    (launch,) = digest.launches
    assert (launch.version, launch.model) == ("0.32.0", "/models/hf-smol-g4")
    assert launch.args["max_num_seqs"] == 4


def test_weights_still_loading_when_the_probe_gave_up(printed: Make) -> None:
    records = (
        printed(ARGS)
        + printed(
            "(EngineCore pid=9) INFO 06-06 03:41:47 [r.py:1] Starting to load model google/gemma...",
            at=1,
        )
        + printed(LOADING.replace("42%", "33%"), at=2, stream="stderr")
        + printed(LOADING, at=3, stream="stderr")
        + printed(
            'STARTUP HTTP probe failed 10 times consecutively for container "vllm" on port 8000.',
            at=4,
            stream="system",
        )
        + printed("Container terminated on signal 9.", at=5, stream="system")
    )
    assert facts(records) == {
        "logs.entries": 6,
        "logs.ready": False,
        "logs.signal": 9,
        "logs.probe_failed": True,
        "logs.loading": True,
        "logs.weights_percent": 42,
    }


def test_the_newest_start_decides(printed: Make) -> None:
    def start(at: float, instance: str, *more: str) -> list[LogRecord]:
        out = printed(
            "Starting new instance. Reason: AUTOSCALING", at=at, stream="system", instance=instance
        )
        for n, text in enumerate((ARGS, *more)):
            stream = "system" if text.startswith("Container") else "stdout"
            out += printed(text, at=at + 1 + n, stream=stream, instance=instance)
        return out

    crashed = start(0, "i1", "Container called exit(1).")
    served = start(100, "i2", READY)
    assert facts(crashed + served)["logs.ready"] is True
    assert facts(served + start(200, "i3", "Container called exit(1)."))["logs.ready"] is False
    assert facts(start(0, "i1", READY, "Container called exit(0)."))["logs.ready"] is True
    assert facts(start(0, "i1", READY, "Container terminated on signal 15."))["logs.ready"] is True
    assert facts(start(0, "i1", READY, "Container called exit(137)."))["logs.ready"] is False
    assert facts(served + start(200, "i3"))["logs.ready"] is False  # not there yet


def test_only_the_platform_tells_of_exits_and_probes(printed: Make) -> None:
    lines = "Container called exit(1).\nContainer terminated on signal 9.\nSTARTUP HTTP probe failed 3 times"
    found = facts(printed(lines))
    assert found == {"logs.entries": 3}
    ready = facts(printed("STARTUP TCP probe succeeded after 1 attempt\n" + READY, stream="system"))
    assert ready["logs.ready"] is True
    (exit_,) = printed("Container called exit(1).", stream="system")
    by_caller = replace(exit_, origin=Origin.CALLER)
    assert not Lifecycle().add(Block("line", by_caller.text, (by_caller,)))
    assert facts(printed(ARGS, stream="system")) == {"logs.entries": 1}


@pytest.mark.parametrize(
    "text", [API + READY, "prompt says " + READY, API + "x non-default args: {'a': 1}"]
)
def test_words_in_the_middle_of_a_line_say_nothing(text: str, printed: Make) -> None:
    digest = digest_of(printed("user wrote: " + text))
    assert digest.launches == ()
    assert [name for o in digest.observations() for name in o.facts] == ["logs.entries"]


def test_memory_limits(printed: Make) -> None:
    digest = digest_of(
        printed(ARGS)
        + printed("Memory limit of 32768 MiB exceeded with 33000 MiB used.", at=1, stream="system")
    )
    assert digest.endings[0].memory
    assert digest.endings[0].is_failure


def test_blocks_are_bounded(cloud: Callable[..., LogRecord]) -> None:
    digest = LogDigest()
    record = cloud("ERROR 06-06 03:41:48 [x.py:1] again")
    for _ in range(5_000):
        digest.add(record)
    digest.finish()
    assert len(digest.blocks) == 500
    assert digest.by_severity == {Severity.ERROR: 5_000}


@pytest.mark.parametrize(
    ("text", "args"),
    [
        ("{'a': 1, 'b': ['x'], 'c': None}", {"a": 1, "b": ["x"], "c": None}),
        ("{'mode': <Mode.NONE: 0>, 'b': 'x, y', 'c': Config(a=1, b={'d': 2})}",
         {"mode": "<Mode.NONE: 0>", "b": "x, y", "c": "Config(a=1, b={'d': 2})"}),
        ("Namespace(host=None, port=8000, names=['a', 'b'], f=<function x at 0x7>)",
         {"host": None, "port": 8000, "names": ["a", "b"], "f": "<function x at 0x7>"}),
        ("__import__('os').system('x')", {}),
        ("{'a': __import__('os')}", {"a": "__import__('os')"}),
        ("{" * 5000, {}),
        ("{'a': " + "[" * 5000, None),
        ("", {}),
    ],
)  # fmt: skip
def test_arguments_are_read_and_never_run(text: str, args: dict[str, object] | None) -> None:
    found = parse_args(text)
    assert args is None or found == args
