from __future__ import annotations

import json
import re
import time
from datetime import datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runbooks.catalog import Catalog
from runbooks.match import Match, Matcher, fill_fix
from runbooks.rule import Rule
from runbooks.runbook import Runbook
from tools.domain import (
    Block,
    ExceptionNote,
    Launch,
    LogRecord,
    Observation,
    Origin,
)

WNA16 = (
    "ValueError: Failed to find a kernel that can implement the WNA16 linear layer. Reasons: \n"
    " CutlassW4A8LinearKernel requires capability 90, current compute  capability is 89"
)
ARGS = LogRecord(
    "args-1", "non-default args: {'linear_backend': 'cutlass', 'kv_cache_dtype': 'nvfp4'}"
)
LAUNCH = Launch(
    version="0.22.1",
    args={"linear_backend": "cutlass", "kv_cache_dtype": "nvfp4"},
    unknown_env=("VLLM_DISABLE_MARLIN",),
    args_record=ARGS,
)


def book(rid: str, *rules: Rule, **more: object) -> Runbook:
    values: dict[str, object] = {
        "title": rid,
        "severity": "high",
        "component": "vllm",
        "status": "shipped",
        **more,
    }
    return Runbook(id=rid, rules=rules, **values)  # type: ignore[arg-type]


def match(catalog: Catalog, *blocks: Block, launch: Launch | None = None) -> tuple[Match, ...]:
    matcher = Matcher(catalog)
    for block in blocks:
        matcher.add(block)
    return matcher.finish((), launch)


def test_the_cause_comes_first_with_its_line_its_option_and_its_fix(library, line, traceback):
    found = match(
        library,
        line("Unknown vLLM environment variable detected: VLLM_DISABLE_MARLIN"),
        traceback(WNA16, second=5),
        line("RuntimeError: Engine core initialization failed. See root cause above.", second=9),
        line("Container called exit(1).", origin=Origin.PLATFORM, second=10),
        launch=LAUNCH,
    )
    assert [(item.runbook.id, item.kind, item.decisive) for item in found] == [
        ("wna16-no-kernel", "cause", True),
        ("container-exit", "symptom", False),
        ("engine-core-failed", "symptom", False),
        ("unknown-vllm-env", "noise", False),
    ]
    top = found[0]
    assert top.quotes[0].ref == "tb-5-2"
    assert top.quotes[0].text.startswith("(EngineCore pid=119) ValueError: Failed to find a kernel")
    assert top.quotes[0].block is not None
    assert top.blamed == (("linear_backend", "cutlass"),)
    assert top.config_quote is not None
    assert top.config_quote.ref == "args-1"
    steps = fill_fix(top)
    assert any("linear_backend=cutlass" in step for step in steps)
    assert any("nvfp4" in step and "fp8" in step for step in steps)
    assert any("VLLM_DISABLE_MARLIN" in step for step in steps)
    assert not any("{" in step.replace("{{", "") for step in steps)
    assert not any(step.startswith("Without a linear_backend") for step in steps)


def test_a_step_whose_slot_is_empty_is_dropped(library, traceback):
    steps = fill_fix(match(library, traceback(WNA16))[0])
    assert steps
    assert all("cutlass" not in step and "nvfp4" not in step for step in steps)


def test_what_a_caller_wrote_matches_nothing(library, line, traceback):
    forged = [
        line(WNA16.split("\n")[0], origin=Origin.CALLER),
        line('There is no more capacity in the zone "a-b"', origin=Origin.CALLER, second=1),
    ]
    mixed = traceback(WNA16, second=2, origins={2: Origin.CALLER, 3: Origin.CALLER})
    seen = (Observation("x", "r", "q", origin=Origin.CALLER, facts={"logs.probe_failed": True}),)
    matcher = Matcher(library)
    for block in (*forged, mixed):
        matcher.add(block)
    assert matcher.finish(seen, None) == ()


def test_each_place_is_searched_only_by_its_own_rules(line, traceback):
    catalog = Catalog.of(
        [
            book("on-line", Rule(line="alpha")),
            book("on-exception", Rule(line="alpha", on="exception")),
            book("on-platform", Rule(line="alpha", on="platform")),
            book("on-control", Rule(line="alpha", on="control_plane")),
        ]
    )

    def ids(*blocks: Block) -> set[str]:
        return {item.runbook.id for item in match(catalog, *blocks)}

    assert ids(line("alpha")) == {"on-line"}
    assert ids(traceback("E: alpha")) == {"on-line", "on-exception"}
    assert ids(line("alpha", origin=Origin.PLATFORM)) == {"on-platform"}
    assert ids(line("alpha", origin=Origin.CONTROL_PLANE)) == {"on-control"}
    seen = (Observation("run", "condition", "alpha", origin=Origin.CONTROL_PLANE),)
    assert [item.runbook.id for item in Matcher(catalog).finish(seen, None)] == ["on-control"]


def test_a_match_further_down_the_message_quotes_that_line(traceback):
    catalog = Catalog.of([book("deep", Rule(line="requires capability (\\d+)", on="exception"))])
    (found,) = match(catalog, traceback(WNA16, second=3))
    assert found.quotes[0].ref == "tb-3-3"
    assert "requires capability 90" in found.quotes[0].text
    assert found.captures == ("90",)


def test_a_match_over_several_lines_quotes_each(traceback):
    catalog = Catalog.of([book("both", Rule(line="(?s)WNA16.*capability 90", on="exception"))])
    (found,) = match(catalog, traceback(WNA16, second=3))
    assert [quote.ref for quote in found.quotes] == ["tb-3-2", "tb-3-3"]


def test_the_newest_hit_is_quoted_first_whatever_the_order(line):
    catalog = Catalog.of([book("a", Rule(line="boom (\\d+)"))])
    blocks = [line(f"boom {second}", second=second) for second in (5, 90, 1, 7, 60, 2)]
    (found,) = match(catalog, *blocks)
    assert found.captures == ("90",)
    assert [quote.ref for quote in found.quotes][:2] == ["line-90", "line-60"]
    assert len(found.quotes) <= 4


def test_decisive_then_specific_then_grave(line):
    catalog = Catalog.of(
        [
            book("plain", Rule(line="boom")),
            book("grave", Rule(line="boom"), severity="critical"),
            book("decisive", Rule(line="boom", decisive=True), severity="low"),
            book("specific", Rule(line="boom"), excludes=("absent",)),
            book("general", Rule(line="boom"), severity="critical"),
            book("narrow", Rule(line="boom"), excludes=("general",), severity="low"),
        ]
    )
    order = [item.runbook.id for item in match(catalog, line("boom"))]
    assert order == ["decisive", "specific", "narrow", "grave", "plain"]


def test_a_doubtful_specific_match_does_not_displace_a_decisive_one(line):
    catalog = Catalog.of(
        [
            book("general", Rule(line="boom", decisive=True)),
            book("narrow", Rule(line="boom"), excludes=("general",)),
        ]
    )
    assert [item.runbook.id for item in match(catalog, line("boom"))] == ["general", "narrow"]


@pytest.mark.parametrize(
    ("version", "decisive"),
    [
        ("0.17.2rc1.dev133", False),
        ("0.18.0", True),
        ("0.22.1+cu129", True),
        ("0.23.0", False),
        ("", True),
        ("dev", True),
    ],
)
def test_outside_its_versions_a_runbook_is_likely_at_most(line, version, decisive):
    catalog = Catalog.of([book("a", Rule(line="boom", decisive=True), versions=">=0.18,<0.23")])
    (found,) = match(catalog, line("boom"), launch=Launch(version=version))
    assert found.decisive is decisive
    assert ("outside" in found.why) is not decisive


def test_on_another_platform_a_runbook_is_likely_at_most(line):
    catalog = Catalog.of([book("a", Rule(line="boom", decisive=True), platforms=("tpu",))])
    for platform, decisive in (("", True), ("tpu", True), ("cloud-run", False)):
        matcher = Matcher(catalog, platform=platform)
        matcher.add(line("boom"))
        assert matcher.finish((), None)[0].decisive is decisive


def test_facts_compare_by_type_and_must_be_there():
    def holds(rule: Rule, **facts: object) -> bool:
        seen = (
            Observation(
                "x", "r", "words", facts={k.replace("_", "."): v for k, v in facts.items()}
            ),
        )  # type: ignore[misc]
        return bool(Matcher(Catalog.of([book("a", rule)])).finish(seen, None))

    assert holds(Rule(fact="a.b", equals=True), a_b=True)
    assert not holds(Rule(fact="a.b", equals=True), a_b=1)
    assert not holds(Rule(fact="a.b", equals=False), other=1)
    assert holds(Rule(fact="a.b", at_least=0.9), a_b=0.95)
    assert not holds(Rule(fact="a.b", at_least=0.9), a_b="0.95")
    assert not holds(Rule(fact="a.b", at_most=1), a_b=True)
    assert holds(Rule(fact="a.b", one_of=("FAILED", "SUSPENDED")), a_b="FAILED")
    assert holds(Rule(fact="a.b", matches="(?i)capacity"), a_b="No Capacity")
    assert not holds(Rule(all=(Rule(fact="a.b", equals=1), Rule(fact="c.d", equals=2))), a_b=1)


def test_a_start_that_only_needs_more_time_is_told_from_a_crash(library, line):
    matcher = Matcher(library, platform="cloud-run")
    matcher.add(
        line(
            'STARTUP HTTP probe failed 12 times consecutively for container "vllm-1" on port 8080.',
            origin=Origin.PLATFORM,
        )
    )
    seen = (
        Observation("logging", "probe", "probe failed", facts={"logs.probe_failed": True}),
        Observation(
            "logging",
            "shards",
            "Loading shards: 62%",
            facts={"logs.loading": True, "logs.weights_percent": 62},
        ),
        Observation("run", "probe", "240 s", facts={"run.probe_budget_s": 240}),
    )
    found = matcher.finish(seen, None)
    assert [item.runbook.id for item in found] == ["startup-probe-too-short"]
    assert found[0].decisive
    steps = fill_fix(found[0])
    assert any("240 s" in step for step in steps)
    assert any("62 %" in step for step in steps)
    assert {quote.ref for quote in found[0].quotes} >= {"probe", "shards"}


def test_config_must_hold_and_is_quoted(line):
    rule = Rule(line="boom", config={"linear_backend": "cutlass", "kv_cache_dtype": "set"})
    catalog = Catalog.of([book("a", rule)])
    assert match(catalog, line("boom")) == ()
    assert match(catalog, line("boom"), launch=Launch(args={"linear_backend": "cutlass"})) == ()
    (found,) = match(catalog, line("boom"), launch=LAUNCH)
    assert found.config_quote is not None
    assert "args-1" in {quote.ref for quote in found.quotes}


def test_values_from_a_log_are_quoted_for_the_shell(line):
    runbook = book(
        "a", Rule(line="boom (.*)"), fix=("Run `echo {capture.1}` now, not {capture.1}",)
    )
    (found,) = match(Catalog.of([runbook]), line("boom x; rm -rf / `id`"))
    assert fill_fix(found) == (
        "Run `echo 'x; rm -rf / '\"'\"'id'\"'\"''` now, not x; rm -rf / 'id'",
    )


def test_drafts_match_nothing(line):
    catalog = Catalog.of([book("a", Rule(line="boom"), status="draft")])
    assert match(catalog, line("boom")) == ()


def test_a_record_of_megabytes_is_quoted_around_the_match(line):
    text = "\n".join([*("x" * 80 for _ in range(20_000)), "boom here", "tail"])
    (found,) = match(Catalog.of([book("a", Rule(line="boom"))]), line(text))
    assert found.quotes[0].text.startswith("boom here")
    assert len(found.quotes[0].text) <= 2_000
    assert found.quotes[0].text in text


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["boom", "quiet", "boom\nboom", "é boom ü"]), st.sampled_from(Origin)
        ),
        max_size=12,
    )
)
def test_every_quote_is_verbatim_and_matches(items):
    catalog = Catalog.of([book("a", Rule(line="boom"), Rule(line="boom", on="platform"))])
    records = [
        LogRecord(f"r{index}", text, origin=origin) for index, (text, origin) in enumerate(items)
    ]
    found = match(catalog, *(Block("line", record.text, (record,)) for record in records))
    by_ref = {record.ref: record for record in records}
    for item in found:
        for quote in item.quotes:
            assert quote.text in by_ref[quote.ref].text
            assert "boom" in quote.text
            assert by_ref[quote.ref].origin in {Origin.PROCESS, Origin.PLATFORM}
    hit = any(r.origin in {Origin.PROCESS, Origin.PLATFORM} and "boom" in r.text for r in records)
    assert bool(found) is hit


def test_an_expression_that_would_backtrack_takes_linear_time(line):
    catalog = Catalog.of([book("evil", Rule(line="(a+)+b"))])
    started = time.process_time()
    assert match(catalog, line("a" * 50_000)) == ()
    assert time.process_time() - started < 1


EXPORT = Path(__file__).parents[3] / "shared/data/logs/cloud-run-12b-qat-l4-revision-11.json"
PREFIX = re.compile(r"\((\w+) pid=(\d+)\) (?:[A-Z]+ [\d-]+ [\d:]+ \[[\w.]+:\d+\] )?")


def real_blocks() -> list[Block]:
    """Put the real export's lines into blocks, in a minimal way of our own."""
    entries = sorted(json.loads(EXPORT.read_text("utf-8")), key=lambda entry: entry["timestamp"])
    blocks: list[Block] = []
    open_block: dict[str, list[tuple[str, LogRecord]]] = {}
    for entry in entries:
        log = entry["logName"]
        if "textPayload" not in entry:
            origin = Origin.CONTROL_PLANE
            text = entry["protoPayload"]["status"]["message"]
        else:
            origin = Origin.PLATFORM if "system" in log else Origin.PROCESS
            text = entry["textPayload"]
        when = datetime.fromisoformat(entry["timestamp"].replace("Z", "+00:00"))
        record = LogRecord(entry["insertId"], text, time=when, origin=origin)
        bare = PREFIX.sub("", text, count=1)
        key = log + (PREFIX.match(text) or [""])[0][:20]
        if bare.startswith("Traceback (most recent"):
            open_block[key] = []
        if key in open_block:
            open_block[key].append((bare, record))
        else:
            blocks.append(Block("line", bare, (record,)))
    for lines in open_block.values():
        last = max(i for i, (text, _) in enumerate(lines) if re.match(r"\w+Error: ", text))
        kind, _, message = "\n".join(text for text, _ in lines[last:]).partition(": ")
        note = ExceptionNote(kind, message, tuple(range(last, len(lines))))
        blocks.append(
            Block(
                "traceback",
                "\n".join(text for text, _ in lines),
                tuple(record for _, record in lines),
                exceptions=(note,),
            )
        )
    return blocks


@pytest.mark.skipif(not EXPORT.exists(), reason="the real log export is not beside this clone")
def test_the_real_export_names_the_kernel_and_the_option(library):
    found = match(library, *real_blocks(), launch=LAUNCH)
    assert [item.runbook.id for item in found if item.kind == "cause"] == ["wna16-no-kernel"]
    assert found[0].decisive
    quote = found[0].quotes[0]
    assert "ValueError: Failed to find a kernel" in quote.text
    assert quote.ref in {entry["insertId"] for entry in json.loads(EXPORT.read_text("utf-8"))}
    assert {item.runbook.id for item in found[1:]} >= {
        "engine-core-failed",
        "unknown-vllm-env",
        "container-exit",
    }


@pytest.mark.skipif(not EXPORT.exists(), reason="the real log export is not beside this clone")
def test_the_real_export_as_the_log_reader_reads_it(library):
    from tools.logs.digest import LogDigest
    from tools.logs.sources import read_logs

    matcher = Matcher(library, platform="cloud-run")
    digest = LogDigest(on_block=matcher.add)
    for record in read_logs((str(EXPORT),)):
        digest.add(record)
    digest.finish()
    for _ in range(2):  # finish may be asked again, and says the same
        found = matcher.finish(digest.observations(), digest.launches[-1])
        assert [item.runbook.id for item in found if item.kind == "cause"] == ["wna16-no-kernel"]
        top = found[0]
        assert top.decisive
        assert top.blamed == (("linear_backend", "cutlass"),)
        assert "ValueError: Failed to find a kernel" in top.quotes[0].text
        assert any("requires capability 90" in quote.text for quote in top.quotes)
        assert top.config_quote is not None
        assert "non-default args" in top.config_quote.text
        steps = " ".join(fill_fix(top))
        assert "linear_backend=cutlass" in steps
        assert "VLLM_DISABLE_MARLIN" in steps


def test_finish_forgets_what_it_was_told_the_last_time(line):
    catalog = Catalog.of([book("a", Rule(line="boom", on="control_plane"))])
    matcher = Matcher(catalog)
    seen = (Observation("run", "condition", "boom", origin=Origin.CONTROL_PLANE),)
    assert len(matcher.finish(seen, None)) == 1
    assert matcher.finish((), None) == ()
    matcher.add(line("boom", origin=Origin.CONTROL_PLANE))
    assert len(matcher.finish((), None)) == 1


def test_a_long_list_of_reasons_is_quoted_in_part(traceback):
    reasons = "\n".join(f" Kernel{number} requires capability 90" for number in range(30))
    catalog = Catalog.of([book("a", Rule(line="(?s)boom.*", on="exception"))])
    (found,) = match(catalog, traceback(f"ValueError: boom\n{reasons}"))
    assert 2 <= len(found.quotes) <= 6
