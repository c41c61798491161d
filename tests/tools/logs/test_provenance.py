from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tools.domain import LogRecord, Origin
from tools.logs.digest import digest_of
from tools.logs.provenance import attributed
from tools.logs.records import record_from_entry, record_from_line

Make = Callable[..., list[LogRecord]]

OPENER = (
    "(APIServer pid=1) INFO 06-06 03:50:00 [logger.py:41] Received request cmpl-1: prompt: 'hello"
)
CLOSER = "', params: SamplingParams(n=1, temperature=1.0), lora_request: None."
CLOSED = OPENER + CLOSER
ENGINE = "(EngineCore pid=119) ERROR 06-06 03:50:00 [core.py:1165] "
FORGED = "\n".join(
    [
        ENGINE + "EngineCore failed to start.",
        ENGINE + "Traceback (most recent call last):",
        ENGINE
        + '  File "/usr/lib/python3/dist-packages/vllm/v1/engine/core.py", line 1, in run_engine_core',
        ENGINE + "ValueError: Failed to find a kernel that can implement the WNA16 linear layer.",
        "Container called exit(1).",
    ]
)
GENUINE = "(EngineCore pid=119) ERROR 06-06 03:51:00 [core.py:1] torch.OutOfMemoryError: CUDA out of memory"


def said(records: list[LogRecord]) -> list[str]:
    """Return what is left that could be evidence, after two passes: the second changes nothing."""
    once = list(attributed(records))
    assert sorted(map(repr, attributed(once))) == sorted(map(repr, once))
    assert len(once) == len(records)
    return [r.text for r in once if r.origin is not Origin.CALLER]


def test_lines_inside_an_open_prompt_are_the_callers(printed: Make) -> None:
    records = printed(f"{OPENER}\n{FORGED}\n{CLOSER}") + printed(GENUINE, at=3.0)
    kept = said(records)
    assert len(kept) == 2
    assert kept[0].endswith("prompt: ⟨prompt…⟩")
    assert kept[1] == GENUINE


def test_a_forged_end_does_not_end_the_prompt(printed: Make) -> None:
    records = printed(f"{OPENER}\n{CLOSER}\n{FORGED}\n{CLOSER}") + printed(GENUINE, at=2.5)
    assert said(records)[1:] == [GENUINE]


def test_without_an_end_a_prompt_lasts_a_minute(printed: Make) -> None:
    records = printed(f"{OPENER}\n{FORGED}") + printed(FORGED, at=30.0) + printed(GENUINE, at=61.0)
    assert said(records)[1:] == [GENUINE]


def test_an_end_forged_in_the_first_line_is_given_away_by_the_genuine_one(printed: Make) -> None:
    records = printed(f"{CLOSED}\n{FORGED}\n{CLOSER}") + printed(GENUINE, at=3.0)
    assert said(records)[1:] == [GENUINE]


def test_lines_between_two_prompts_of_one_write_are_the_callers(printed: Make) -> None:
    records = printed(f"{CLOSED}\n{FORGED}\n{CLOSED}") + printed(GENUINE, at=3.0)
    kept = said(records)
    assert [text for text in kept if "ValueError" in text] == []
    assert kept[-1] == GENUINE


def test_a_genuine_error_soon_after_a_request_is_kept(printed: Make) -> None:
    records = printed(CLOSED) + printed(GENUINE, at=0.5) + printed(CLOSED, at=0.9)
    assert GENUINE in said(records)


def test_other_streams_and_instances_are_not_touched(printed: Make) -> None:
    records = (
        printed(OPENER)
        + printed(GENUINE, at=0.1, stream="stderr")
        + printed(GENUINE, at=0.1, instance="i2")
        + printed("Container called exit(1).", at=0.2, stream="system")
    )
    assert len(said(records)) == 4


def test_clocks_that_step_back_do_not_end_a_prompt(printed: Make) -> None:
    records = printed(OPENER, at=10.0) + printed(FORGED, at=2.0) + printed(FORGED, at=11.0)
    assert len(said(records)) == 1


@pytest.mark.parametrize("first", [OPENER, CLOSED])
def test_in_plain_text_the_furthest_end_counts(first: str, lines: Make) -> None:
    text = f"{first}\n{CLOSER}\n{FORGED}\n{CLOSER}\n{GENUINE}"
    assert said(lines(text))[1:] == [GENUINE]


def test_in_plain_text_an_endless_prompt_lasts_200_lines(lines: Make) -> None:
    text = "\n".join([OPENER, *[FORGED] * 39, GENUINE, *["x"] * 5])  # 195 forged lines
    kept = said(lines(text))
    assert GENUINE not in kept
    later = "\n".join([OPENER, *["x"] * 200, GENUINE])
    assert said(lines(later))[1:] == [GENUINE]


def test_plain_text_with_ordinary_requests_keeps_everything(lines: Make) -> None:
    text = "\n".join([CLOSED, *["INFO 06-06 03:50:00 [x.py:1] step"] * 30, CLOSED, GENUINE] * 5)
    assert said(lines(text)).count(GENUINE) == 5


def test_one_entry_of_many_lines_is_cut_at_the_prompt(cloud: Callable[..., LogRecord]) -> None:
    record = cloud(f"{CLOSED}\n{FORGED}\n{CLOSER}")
    assert "ValueError" not in record.text
    assert digest_of([record]).failures == ()


def test_a_line_of_the_api_server_that_claims_another_process_is_the_callers(
    cloud: Callable[..., LogRecord],
) -> None:
    assert cloud("(APIServer pid=1) " + ENGINE + "ValueError: x").origin is Origin.CALLER
    logged = "(APIServer pid=1) INFO 06-06 03:50:00 [x.py:1] (EngineCore pid=119) ERROR x"
    assert cloud(logged).origin is Origin.CALLER
    ray = "(EngineCore_DP0 pid=119) (RayWorkerWrapper pid=7, ip=10.0.0.2) ERROR 06-06 03:50:00 [x.py:1] y"
    assert cloud(ray).origin is Origin.PROCESS


def test_a_request_entry_is_the_callers_but_for_method_route_and_status() -> None:
    request = {
        "requestMethod": "GET",
        "requestUrl": "https://x.run.app/ValueError:%20Failed?q=evil",
        "userAgent": "evil\nValueError: Failed to find a kernel",
        "referer": "evil",
        "status": 500,
        "latency": "0.5s",
    }
    entry = {"logName": "projects/p/logs/run.googleapis.com%2Frequests", "httpRequest": request}
    record = record_from_entry(entry)
    assert (record.origin, record.stream, record.status) == (Origin.CALLER, "request", 500)
    assert record.text == "GET ⟨path⟩?⟨query⟩ 500 0.5s"
    forged = record_from_entry({**entry, "textPayload": "x\nContainer called exit(1)."})
    assert forged.text == record.text
    platform = "The request was aborted because there was no available instance."
    refused = record_from_entry({**entry, "textPayload": platform + "\nmore"})
    assert refused.origin is Origin.PLATFORM
    assert refused.text.endswith(platform)


def test_a_private_key_printed_over_several_lines_is_cut(printed: Make) -> None:
    body = "MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEAAoIBAQC7VJTUt9Us8cKj"
    text = f"-----BEGIN PRIVATE KEY-----\n{body}\n{body}\nc2hvcnQ=\n-----END PRIVATE KEY-----\ndone"
    for make in (
        printed,
        lambda t: [record_from_line(x, f"a:{n}") for n, x in enumerate(t.split("\n"))],
    ):
        kept = [r.text for r in attributed(make(text))]
        assert kept[-1] == "done"
        assert not any("MII" in line or "c2hv" in line for line in kept)


PROMPT_LINES = st.lists(
    st.sampled_from(
        [*FORGED.split("\n"), CLOSER, CLOSED, OPENER, "', params: S(", "}", "plain words", ""]
    ),
    max_size=25,
)


@given(PROMPT_LINES, st.booleans())
@settings(max_examples=200)
def test_nothing_printed_inside_a_raw_prompt_becomes_a_failure(
    cloud_lines: list[str], timed: bool
) -> None:
    """Whatever a prompt holds: printed raw in one write, it names no failure."""
    text = [OPENER, *cloud_lines, "last line" + CLOSER]
    if timed:
        from datetime import UTC, datetime, timedelta

        start = datetime(2026, 6, 6, tzinfo=UTC)
        records = [
            replace(
                record_from_line(t, f"r{n}"),
                time=start + timedelta(microseconds=n),
                stream="stdout",
            )
            for n, t in enumerate(text)
        ]
    else:
        records = [record_from_line(t, f"a:{n}") for n, t in enumerate(text)]
    digest = digest_of(records)
    assert digest.failures == ()
    assert digest.total == len(text)
    assert digest.endings == ()


@pytest.mark.parametrize("opener", ["The model `x", 'The model "x', "The LoRA adapter 'x"])
def test_a_name_with_line_feeds_in_it_forges_no_line(printed: Make, opener: str) -> None:
    text = f"(APIServer pid=1) ERROR 06-06 03:50:00 [x.py:1] {opener}\n{FORGED}\n` does not exist."
    kept = said(printed(text) + printed(GENUINE, at=61.0))
    assert [line for line in kept if "ValueError" in line] == []
    assert kept[-1] == GENUINE


def test_an_error_about_a_request_says_nothing_of_it(cloud: Callable[..., LogRecord]) -> None:
    line = "(APIServer pid=1) ERROR 06-06 03:50:00 [x.py:1] Error in applying chat template from request: "
    assert cloud(f"{line}CUDA out of memory").text == f"{line}⟨message⟩"
