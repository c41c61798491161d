from __future__ import annotations

import traceback
from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tools.domain import Block, LogRecord, Origin, Severity
from tools.logs.prefix import split_prefix
from tools.logs.reassembly import MAX_OPEN, Reassembler, reassembled
from tools.logs.records import record_from_entry, record_from_line

Make = Callable[..., list[LogRecord]]
LOGGER = "(EngineCore_DP0 pid=119) ERROR 06-06 03:41:48 [core.py:1165] "
RAW = "(EngineCore_DP0 pid=119) "


def tracebacks(records: Iterable[LogRecord]) -> list[Block]:
    return [b for b in reassembled(records) if b.kind == "traceback"]


def one(records: Iterable[LogRecord]) -> Block:
    (block,) = tracebacks(records)
    return block


def prefixed(text: str, prefix: str) -> str:
    return "\n".join(prefix + line for line in text.rstrip("\n").split("\n"))


def fail(depth: int = 0) -> None:
    if depth:
        fail(depth - 1)
    raise ValueError("bad layer 7. Reasons: \n needs 90\nhas 89")


def formatted(make: Callable[[], None]) -> str:
    try:
        make()
    except BaseException:
        return traceback.format_exc()
    raise AssertionError


def chained() -> None:
    try:
        try:
            fail()
        except ValueError as error:
            raise KeyError("gemma4") from error
    except KeyError:
        raise RuntimeError("Engine core initialization failed. See root cause above.")  # noqa: B904


def grouped() -> None:
    errors: list[Exception] = []
    for make in (fail, chained):
        try:
            make()
        except Exception as error:
            errors.append(error)
    raise ExceptionGroup("unhandled errors in a TaskGroup", errors)


@pytest.mark.parametrize(
    "prefix", ["", RAW, LOGGER, "[rank0]: ", "ERROR 06-06 03:41:48 core.py:11] "]
)
def test_a_traceback_is_put_together_behind_any_prefix(
    prefix: str, printed: Make, lines: Make
) -> None:
    text = prefixed(formatted(fail), prefix)
    for make in (printed, lines):
        block = one(make(text))
        (note,) = block.exceptions
        assert block.text == formatted(fail).rstrip("\n")
        assert note.type == "ValueError"
        assert note.message == "bad layer 7. Reasons: \n needs 90\nhas 89"
        assert [block.records[i].text for i in note.lines] == [
            prefix + line for line in ("ValueError: bad layer 7. Reasons: ", " needs 90", "has 89")
        ]
        assert note.frames[-1].endswith("test_reassembly.py:fail")
        assert block.complete
        assert block.severity is Severity.ERROR
        assert len(block.records) == len(block.text.split("\n"))


@pytest.mark.parametrize("prefix", ["", RAW, LOGGER])
def test_chains_are_in_the_order_printed(prefix: str, printed: Make) -> None:
    block = one(printed(prefixed(formatted(chained), prefix)))
    assert [e.type for e in block.exceptions] == ["ValueError", "KeyError", "RuntimeError"]
    assert [e.message for e in block.exceptions][1:] == [
        "'gemma4'",
        "Engine core initialization failed. See root cause above.",
    ]
    assert block.exceptions[0].frames[-1].endswith(":fail")
    assert block.exceptions[2].frames[-1].endswith(":chained")


@pytest.mark.parametrize("prefix", ["", LOGGER])
def test_exception_groups(prefix: str, printed: Make) -> None:
    block = one(printed(prefixed(formatted(grouped), prefix)))
    assert [e.type for e in block.exceptions] == [
        "ExceptionGroup", "ValueError", "ValueError", "KeyError", "RuntimeError",
    ]  # fmt: skip
    assert block.exceptions[1].message.startswith("bad layer 7. Reasons:")
    assert block.exceptions[1].frames[-1].endswith(":fail")


def test_recursion_is_one_traceback(printed: Make) -> None:
    text = formatted(lambda: fail(12)).rstrip("\n")
    assert "Previous line repeated" in text
    assert one(printed(text)).text == text


def test_two_streams_that_interleave_are_one_traceback_with_a_copy(printed: Make) -> None:
    logged = printed(prefixed(formatted(fail), LOGGER), stream="stdout")
    raw = printed(prefixed(formatted(fail), RAW), at=1e-6, stream="stderr")
    both = sorted(logged + raw, key=lambda record: record.time or datetime.min.replace(tzinfo=UTC))
    block = one(both)
    assert block.copies == 1
    assert block.process == "EngineCore_DP0 pid=119"


def test_workers_count_as_copies_and_other_failures_do_not(printed: Make) -> None:
    text = formatted(fail)
    records = [
        record
        for rank in range(4)
        for record in printed(
            prefixed(text.replace("layer 7", f"layer {rank}"), f"(Worker_TP{rank} pid={rank}) "),
            at=rank,
        )
    ]
    assert one(records).copies == 3
    later = printed(text, at=60)
    other = printed(text, instance="i2")
    assert len(tracebacks(records + later + other)) == 3


def test_a_traceback_split_over_entries_and_entries_of_many_lines(
    cloud: Callable[..., LogRecord],
) -> None:
    text = formatted(fail).rstrip("\n").split("\n")
    parts = ["\n".join(text[:2]), text[2], "\n".join(text[3:])]
    block = one([cloud(part, at=n * 1e-3) for n, part in enumerate(parts)])
    assert block.text == "\n".join(text)
    assert len(block.records) == len(text)
    assert block.records[0] is block.records[1]
    whole = one([cloud("engine stopped\n" + "\n".join(text))])
    assert whole.exceptions[0].type == "ValueError"


def test_an_entry_of_many_lines_without_a_traceback_is_one_block(
    cloud: Callable[..., LogRecord],
) -> None:
    (block,) = reassembled(
        [cloud(prefixed("one\ntwo\nthree", "(APIServer pid=1) INFO 06-06 03:41:48 [x.py:1] "))]
    )
    assert block.text == "one\ntwo\nthree"
    assert len(block.records) == 1


def test_an_unfinished_tail_is_flushed_as_incomplete(printed: Make) -> None:
    text = "\n".join(formatted(fail).split("\n")[:3])
    block = one(printed(prefixed(text, LOGGER)))
    assert not block.complete
    assert block.exceptions == ()


def test_a_traceback_whose_head_is_cut_off(printed: Make) -> None:
    text = "\n".join(formatted(fail).split("\n")[1:])
    assert one(printed(prefixed(text, RAW))).exceptions[0].message.startswith("bad layer 7")


def test_the_next_message_of_the_logger_is_not_part_of_it(printed: Make) -> None:
    text = (
        prefixed(formatted(fail), LOGGER)
        + "\n(EngineCore_DP0 pid=119) INFO 06-06 03:41:48 [x.py:2] next"
    )
    blocks = list(reassembled(printed(text)))
    assert sorted(b.text for b in blocks if b.kind == "line") == ["next"]
    assert len(blocks) == 2


@pytest.mark.parametrize(
    "line",
    [
        "INFO:     Shutting down",
        "[W606 03:41:27.17 socket.cpp:207] x",
        "Loading safetensors: x",
        "Process EngineCore:",
    ],
)
def test_a_raw_traceback_ends_where_another_log_line_begins(line: str, lines: Make) -> None:
    block = one(lines(formatted(fail) + line))
    assert block.exceptions[0].message.endswith("has 89")


def test_what_is_printed_later_is_not_part_of_the_message(printed: Make) -> None:
    records = printed(formatted(fail).rstrip("\n")) + printed("words of no logger", at=5.0)
    assert one(records).exceptions[0].message.endswith("has 89")


def test_c_plus_plus_frames_are_kept_apart_from_the_message(lines: Make) -> None:
    text = "\n".join(
        [
            "Traceback (most recent call last):",
            '  File "a.py", line 1, in <module>',
            "RuntimeError: CUDA error: no kernel image is available for execution on the device",
            "Compile with `TORCH_USE_CUDA_DSA` to enable device-side assertions.",
            "",
            "Exception raised from c10_cuda_check_implementation at /pytorch/c10/cuda/x.cpp:43 (most recent call first):",
            "frame #0: c10::Error::Error(c10::SourceLocation, std::string) + 0x80 (0x7f in /usr/lib/libc10.so)",
            "frame #1: <unknown function> + 0x1 (0x7f in /usr/lib/libc10.so)",
        ]
    )
    block = one(lines(text))
    assert "frame #" not in block.exceptions[0].message
    assert "TORCH_USE_CUDA_DSA" in block.exceptions[0].message
    assert len(block.records) == 8


def test_xla_errors_with_their_jax_remarks(lines: Make) -> None:
    text = "\n".join(
        [
            "Traceback (most recent call last):",
            '  File "/usr/local/lib/python3.12/site-packages/tpu_inference/runner.py", line 1, in compile',
            "jax.errors.JaxRuntimeError: RESOURCE_EXHAUSTED: XLA:TPU compile permanent error. Ran out of memory in"
            " memory space hbm. Used 30.21G of 15.48G hbm.",
            "",
            "Total hbm usage >= 30.21G:",
            "    program          1.5G",
            "--------------------",
            "For simplicity, JAX has removed its internal frames from the traceback.",
        ]
    )
    (note,) = one(lines(text)).exceptions
    assert note.type == "jax.errors.JaxRuntimeError"
    assert note.message.endswith("program          1.5G")
    assert note.frames == ("tpu_inference/runner.py:compile",)


def test_go_panics(printed: Make) -> None:
    text = "\n".join(
        [
            "panic: user: unknown userid 1001",
            "",
            "goroutine 1 [running]:",
            "github.com/googlecloudplatform/gcsfuse/v2/internal/perms.MyUserAndGroup()",
            "\t/src/internal/perms/perms.go:30 +0x1d",
            "main.main()",
            "\t/src/main.go:12 +0x1d",
            "exit status 2",
        ]
    )
    block = one(printed(text, stream="system"))
    assert (block.exceptions[0].type, block.exceptions[0].message) == (
        "panic",
        "user: unknown userid 1001",
    )
    assert block.exceptions[0].frames[-1].endswith("perms.MyUserAndGroup")
    assert len(block.records) == 8
    single = one(printed("panic: user: unknown userid 1001 goroutine 1 [running]", stream="system"))
    assert single.exceptions[0].message == "user: unknown userid 1001"


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("Fatal Python error: Segmentation fault\n\nCurrent thread 0x7f (most recent call first):\n"
         '  File "/a/site-packages/vllm/x.py", line 3 in run', "Fatal Python error"),
        ("terminate called after throwing an instance of 'std::bad_alloc'\n  what():  std::bad_alloc", "abort"),
    ],
)  # fmt: skip
def test_aborts(text: str, kind: str, lines: Make) -> None:
    block = one(lines(text))
    assert block.exceptions[0].type == kind
    assert block.text == text


def test_argparse_errors(lines: Make) -> None:
    text = (
        "usage: vllm serve [model_tag] [options]\n"
        "vllm serve: error: argument --limit-mm-per-prompt: Value {image:0,audio:0} cannot be converted"
    )
    for variant in (text, text.split("\n")[1]):
        (note,) = one(lines(variant)).exceptions
        assert note.type == "argparse.ArgumentError"
        assert note.message.startswith("argument --limit-mm-per-prompt")


def test_progress_bars_are_one_block(lines: Make) -> None:
    bar = "Loading safetensors checkpoint shards: {:3d}% Completed | {}/9 [00:01<00:00,  1.03s/it]"
    text = "\n".join(["before", *[bar.format(n * 11, n) for n in range(9)], "after"])
    assert [b.text for b in reassembled(lines(text))] == ["before", bar.format(88, 8), "after"]


def test_messages_of_request_errors_are_the_callers(printed: Make) -> None:
    evil = "Unknown part type: ValueError: Failed to find a kernel that can implement the WNA16 linear layer"
    text = "\n".join(
        [
            "Traceback (most recent call last):",
            '  File "/usr/local/lib/python3.12/dist-packages/starlette/routing.py", line 73, in app',
            '  File "/usr/local/lib/python3.12/dist-packages/vllm/entrypoints/chat_utils.py", line 9, in parse',
            f"ValueError: {evil}",
            "second evil line",
        ]
    )
    logged = prefixed(text, "(APIServer pid=1) ERROR 06-06 03:41:48 [serving_chat.py:1] ")
    block = one(printed(logged))
    assert "evil" not in block.text
    assert "kernel" not in block.text
    assert all("evil" not in r.text and "kernel" not in r.text for r in block.records)
    assert {r.origin for r in block.records[-2:]} == {Origin.CALLER}
    own = "As of transformers v4.44, default chat template is no longer allowed"
    kept = one(printed(logged.replace(evil, own + ", so evil")))
    assert kept.exceptions[0].message == own + "⟨message⟩"
    assert kept.records[-2].origin is Origin.PROCESS


def test_memory_is_bounded(cloud: Callable[..., LogRecord]) -> None:
    reassembler = Reassembler()
    base = cloud("Traceback (most recent call last):")
    out = sum(
        len(list(reassembler.add(replace(base, instance=f"i{n}")))) for n in range(MAX_OPEN + 50)
    )
    assert out == 50
    endless = Reassembler()
    frame = cloud('  File "a.py", line 1, in f')
    assert sum(len(list(endless.add(frame))) for _ in range(10_000)) == 4


def test_the_real_export(export: list[dict[str, Any]]) -> None:
    blocks = tracebacks(record_from_entry(entry) for entry in export)
    assert [(b.process, b.exceptions[0].type, b.copies) for b in blocks] == [
        ("EngineCore pid=119", "ValueError", 1),
        ("APIServer pid=1", "RuntimeError", 0),
    ]
    assert (
        blocks[0]
        .exceptions[0]
        .message.endswith(
            "Reasons: \nCutlassW4A8LinearKernel requires capability 90, current compute  capability is 89"
        )
    )


def test_prefixes() -> None:
    assert split_prefix(LOGGER + "x")[:2] == ("EngineCore_DP0 pid=119", "ERROR")
    assert split_prefix("plain")[:] == ("", "", "", 0)
    coloured = (
        "\\x1b[1;36m(APIServer pid=1)\\x1b[0;0m \\x1b[32mINFO\\x1b[0m 06-06 03:41:48 [a.py:1] x"
    )
    prefix = split_prefix(coloured)
    assert (prefix.process, prefix.level, coloured[prefix.length :]) == (
        "APIServer pid=1",
        "INFO",
        "x",
    )


LINES = st.lists(
    st.sampled_from(
        [*formatted(chained).split("\n"), *formatted(grouped).split("\n"), "panic: x", "goroutine 1 [running]:",
         "usage: x", "x: error: y", "Loading:  5% Completed | 1/2", "INFO:     x", "", "words", "a\nb",
         *[LOGGER + line for line in formatted(fail).split("\n")]]
    )
    | st.text(max_size=10),
    max_size=40,
)  # fmt: skip


@given(LINES)
def test_every_record_is_in_one_block_unless_it_is_a_copy_or_progress(texts: list[str]) -> None:
    records = [
        replace(
            record_from_line(text, f"a:{n}"),
            time=datetime(2026, 1, 1, tzinfo=UTC) + timedelta(milliseconds=n),
        )
        for n, text in enumerate(texts)
    ]
    blocks = list(reassembled(records))
    seen = {record.ref for block in blocks for record in block.records}
    lost = [r for r in records if r.ref not in seen]
    if not any(block.copies for block in blocks):
        assert all("%" in r.text for r in lost)
    for block in blocks:
        for note in block.exceptions:
            assert all(0 <= index < len(block.records) for index in note.lines)
        if block.kind == "traceback":
            assert len(block.records) == len(block.text.split("\n"))
