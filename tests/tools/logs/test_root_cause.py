from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from tools.domain import LogRecord
from tools.logs.digest import digest_of
from tools.logs.reassembly import reassembled
from tools.logs.records import record_from_entry
from tools.logs.root_cause import FailureFinder, find_failures, message_template
from tools.logs.traceback_rules import short_path, traceback_rules, wrapper_of

Make = Callable[..., list[LogRecord]]
ENGINE = "(EngineCore pid=119) ERROR 06-06 03:41:48 [core.py:1165] "
API = "(APIServer pid=1) "
WRAPPER = (
    "RuntimeError: Engine core initialization failed. See root cause above. Failed core proc(s): {}"
)


def trace(*frames: str, error: str, prefix: str = ENGINE, line: int = 10) -> str:
    out = ["Traceback (most recent call last):"]
    for frame in frames:
        path, function = frame.split(":")
        out += [
            f'  File "/usr/local/lib/python3.12/dist-packages/{path}", line {line}, in {function}',
            "    x()",
        ]
    return "\n".join(prefix + text for text in [*out, *error.split("\n")])


ROOT = trace(
    "vllm/v1/engine/core.py:run_engine_core",
    "vllm/model.py:load",
    error="ValueError: no kernel for layer 7",
)
OUTER = trace(
    "vllm/entrypoints/cli/main.py:main", "vllm/v1/engine/utils.py:wait", error=WRAPPER, prefix=API
)


def test_the_real_export_has_one_failure(export: list[dict[str, Any]]) -> None:
    (failure,) = digest_of(record_from_entry(entry) for entry in export).failures
    assert failure.exception.type == "ValueError"
    assert failure.exception.message == (
        "Failed to find a kernel that can implement the WNA16 linear layer. Reasons: \n"
        "CutlassW4A8LinearKernel requires capability 90, current compute  capability is 89"
    )
    assert failure.block.process == "EngineCore pid=119"
    assert failure.block.copies == 1
    assert [w.exceptions[0].message.split(".")[0] for w in failure.wrappers] == [
        "Engine core initialization failed"
    ]
    assert failure.record.ref in {entry["insertId"] for entry in export}
    assert failure.launch is not None
    assert failure.launch.args["linear_backend"] == "cutlass"
    assert failure.launch.args["kv_cache_dtype"] == "nvfp4"
    assert "VLLM_DISABLE_MARLIN" in failure.launch.unknown_env
    assert failure.launch.version == "0.22.1"


def test_other_values_have_the_same_fingerprint(export: list[dict[str, Any]]) -> None:
    def changed(value: Any) -> Any:
        if isinstance(value, str):
            for old, new in {
                "pid=119": "pid=4711", "line 685": "line 701", "capability 90": "capability 100",
                "gemma-4-12B-it-qat-w4a16-ct": "gemma-4-31B-it-qat-w4a16-ct", "python3.12": "python3.13",
                "dist-packages": "site-packages", "002f8ffd": "99999999",
            }.items():  # fmt: skip
                value = value.replace(old, new)
            return value
        if isinstance(value, dict):
            return {k: changed(v) for k, v in value.items()}
        return [changed(v) for v in value] if isinstance(value, list) else value

    (one,) = digest_of(map(record_from_entry, export)).failures
    (two,) = digest_of(map(record_from_entry, changed(export))).failures
    assert one.fingerprint == two.fingerprint
    assert len(one.fingerprint) == 12
    assert int(one.fingerprint, 16) >= 0


def test_a_fingerprint_tells_failures_apart(lines: Make) -> None:
    def of(text: str) -> str:
        (failure,) = find_failures(reassembled(lines(text)))
        return failure.fingerprint

    root = of(ROOT)
    assert root == of(ROOT.replace("layer 7", "layer 8").replace("line 10", "line 11"))
    assert root != of(ROOT.replace("ValueError", "TypeError"))
    assert root != of(ROOT.replace("vllm/model.py", "vllm/other.py"))
    bare = of("torch.OutOfMemoryError: Tried to allocate 2.62 GiB. GPU 0 has 21.96 GiB")
    assert bare == of("torch.OutOfMemoryError: Tried to allocate 1.00 GiB. GPU 1 has 79.96 GiB")
    assert bare != of("torch.OutOfMemoryError: Out of something else")


def test_wrappers_are_skipped_in_chains_too(printed: Make) -> None:
    chain = (
        ROOT
        + "\n"
        + "\n".join(
            ENGINE + text
            for text in [
                "",
                "The above exception was the direct cause of the following exception:",
                "",
            ]
        )
        + "\n"
        + trace(
            "vllm/v1/executor/multiproc_executor.py:init",
            error="Exception: WorkerProc initialization failed due to an exception",
        )
    )
    (failure,) = digest_of(printed(chain)).failures
    assert failure.exception.message == "no kernel for layer 7"


def test_a_wrapper_alone_is_no_failure(printed: Make) -> None:
    records = printed(OUTER, stream="stderr") + printed(
        "Container called exit(1).", at=1, stream="system"
    )
    assert digest_of(records).failures == ()


def test_what_was_handled_long_before_is_not_the_cause(printed: Make) -> None:
    handled = trace(
        "vllm/plugins.py:load",
        error="ImportError: no module named x",
        prefix="(APIServer pid=1) ERROR 06-06 03:40:00 [p.py:1] ",
    )
    records = (
        printed(handled)
        + printed(ROOT, at=100)
        + printed(OUTER, at=102, stream="stderr")
        + printed("Container called exit(1).", at=103, stream="system")
    )
    assert [f.exception.type for f in digest_of(records).failures] == ["ValueError"]


def test_what_follows_the_first_symptom_is_shutdown_noise(printed: Make) -> None:
    noise = trace(
        "zmq/sugar.py:send", error="zmq.error.ZMQError: Socket operation on non-socket", prefix=API
    )
    records = (
        printed(ROOT)
        + printed(OUTER, at=2, stream="stderr")
        + printed(noise, at=3, stream="stderr")
    )
    assert [f.exception.type for f in digest_of(records).failures] == ["ValueError"]


def test_workers_that_fail_together_are_listed_earliest_first(printed: Make) -> None:
    first = trace(
        "vllm/w.py:worker_main",
        error="torch.OutOfMemoryError: CUDA out of memory",
        prefix="(Worker_TP0 pid=5) ERROR 06-06 03:41:48 [m.py:1] ",
    )
    second = trace(
        "vllm/nccl.py:check",
        error="RuntimeError: NCCL error: remote process exited",
        prefix="(Worker_TP1 pid=6) ERROR 06-06 03:41:50 [m.py:1] ",
    )
    records = printed(first) + printed(second, at=2) + printed(OUTER, at=4, stream="stderr")
    assert [f.exception.type for f in digest_of(records).failures] == [
        "torch.OutOfMemoryError",
        "RuntimeError",
    ]


@pytest.mark.parametrize("level", ["INFO", "WARNING", "DEBUG"])
def test_what_was_logged_below_error_ended_nothing(level: str, printed: Make) -> None:
    assert digest_of(printed(ROOT.replace("ERROR", level))).failures == ()


def test_an_error_before_readiness_was_survived(printed: Make) -> None:
    records = printed(ROOT) + printed(
        "INFO:     Application startup complete.", at=5, stream="stderr"
    )
    digest = digest_of(records)
    assert digest.failures == ()


def test_a_crash_after_readiness_counts(printed: Make) -> None:
    records = printed("INFO:     Application startup complete.", stream="stderr") + printed(
        ROOT, at=50
    )
    assert len(digest_of(records).failures) == 1


def test_request_errors_end_no_process(printed: Make) -> None:
    text = trace(
        "starlette/routing.py:app",
        "vllm/x.py:f",
        error="ValueError: Failed to find a kernel",
        prefix="",
    )
    assert digest_of(printed(text, stream="stderr")).failures == ()
    ended = printed(text, stream="stderr") + printed(
        "Container called exit(1).", at=1, stream="system"
    )
    assert digest_of(ended).failures == ()


def test_the_newest_start_comes_first_and_repeats_are_counted(printed: Make) -> None:
    def start(at: float, instance: str, root: str) -> list[LogRecord]:
        exit_ = printed("Container called exit(1).", at=at + 9, stream="system", instance=instance)
        return printed(root, at=at, instance=instance) + exit_

    other = ROOT.replace("ValueError", "TypeError")
    records = start(0, "i1", ROOT) + start(100, "i2", other) + start(200, "i3", ROOT)
    failures = digest_of(records).failures
    assert [(f.exception.type, f.block.copies) for f in failures] == [
        ("ValueError", 1),
        ("TypeError", 0),
    ]
    assert failures[0].record.instance == "i3"


def test_failures_of_the_platforms_helpers_count(printed: Make) -> None:
    records = printed(
        "panic: user: unknown userid 1001\n\ngoroutine 1 [running]:\nmain.main()", stream="system"
    )
    (failure,) = digest_of(records).failures
    assert failure.exception.type == "panic"


def test_the_rules_are_well_formed() -> None:
    rules = traceback_rules()
    assert len(rules.wrappers) > 15
    assert wrapper_of(
        "vllm.v1.engine.exceptions.EngineDeadError", "EngineCore encountered an issue"
    )
    assert wrapper_of("RuntimeError", "something else") is None
    assert short_path("/usr/local/lib/python3.12/dist-packages/vllm/x.py") == "vllm/x.py"
    assert short_path("/usr/lib/python3.12/asyncio/runners.py") == "asyncio/runners.py"
    assert short_path("/home/me/app/serve.py") == "app/serve.py"
    assert message_template("a 'b' 12.5 /x/y/z deadbeefdeadbeef") == "a <text> <n> <path> <hex>"


def test_signature_lines_that_are_exceptions_are_found_alone(
    signatures: list[dict[str, Any]], lines: Make
) -> None:
    exceptions = [s for s in signatures if s["line"].split(":")[0].split(".")[-1].endswith("Error")]
    assert len(exceptions) > 15
    found = {s["id"] for s in exceptions if len(digest_of(lines(s["line"])).failures) == 1}
    assert {s["id"] for s in exceptions} - found == {"engine-core-failed"}  # a wrapper


def test_memory_of_the_finder_is_bounded(printed: Make) -> None:
    (block,) = [b for b in reassembled(printed(ROOT)) if b.kind == "traceback"]
    finder = FailureFinder()
    for n in range(3_000):
        record = replace(block.first, instance=f"i{n // 2}")
        finder.add(replace(block, records=(record, *block.records[1:])))
    (failure,) = finder.failures()
    assert 500 < failure.block.copies <= 1_024
