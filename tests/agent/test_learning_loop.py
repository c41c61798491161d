"""The loop: an unknown failure, a draft, an approval, and the next one is recognised at once."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from agent.catalogs import load_catalog, runbook_folder
from agent.drafting import draft_with_model
from agent.memory import Memory
from agent.runbook_approval import approve_runbook, proposal_of
from agent.session import DiagnoseRequest
from agent.settings import Settings
from runbooks.catalog import Catalog
from runbooks.draft import Draft, draft_runbook
from runbooks.draft_logs import case_from_logs
from runbooks.draft_signature import healthy_lines
from runbooks.lint import lint_runbook
from runbooks.pattern import compile_pattern
from runbooks.runbook import parse_runbook
from tools.logs.sources import read_logs
from tools.registry import load_tools
from tools.simulator.cloud import SimulatedCloud
from tools.simulator.scenario import load_scenario

Export = Callable[..., Path]
SHARED = Path(__file__).parents[3] / "shared/data"
REAL = SHARED / "logs/cloud-run-12b-qat-l4-revision-11.json"
HEALTHY = SHARED / "vllm-0.32/startup.log"
OWN = "wna16-no-kernel"
OTHER = {
    "model": "google/gemma-4-31B-it",
    "layer": "language_model.model.layers.57.mlp.gate",
    "card": "NVIDIA RTX PRO 6000 Blackwell Server Edition",
    "held": 16_384,
    "asked": 131_072,
    "instance": "ff99ee88dd77cc66bb55aa44",
    "pid": 87,
    "cache": "folded",
}


@pytest.fixture
def memory(settings: Settings) -> Iterator[Memory]:
    opened = Memory.open(settings.state)
    yield opened
    opened.close()


def draft_of(path: Path, catalog: Catalog, *without: str) -> Draft:
    case = case_from_logs([str(path)], catalog.without(*without))
    return draft_runbook(case, catalog, without=without)


def approve(made: Draft, settings: Settings, memory: Memory) -> Path:
    catalog = load_catalog(settings, memory)
    proposal = proposal_of(made.runbook, catalog)
    assert proposal.findings == ()
    return Path(approve_runbook(proposal, memory, runbook_folder(settings))["path"])


def asked(path: Path, *without: str) -> DiagnoseRequest:
    return DiagnoseRequest(logs=(str(path),), rules_only=True, without=without)


async def test_the_loop_on_an_export_of_our_own(
    settings: Settings, memory: Memory, diagnose: Any, export_of: Export
) -> None:
    catalog = load_catalog(settings, memory)
    first = (await diagnose(None, request=asked(export_of()))).report
    assert first["causes"][0]["id"].startswith("pattern:")
    made = draft_of(export_of(), catalog)
    folder = runbook_folder(settings)
    folder.mkdir()
    (folder / f"{made.runbook.id}.md").write_text(made.text)
    unapproved = (await diagnose(None, request=asked(export_of()))).report
    assert unapproved["causes"][0]["id"].startswith("pattern:")  # a draft changes no verdict
    approve(made, settings, memory)
    for values in ({}, OTHER):
        report = (await diagnose(None, request=asked(export_of(**values)))).report
        assert [cause["id"] for cause in report["causes"]] == [made.runbook.id]
        assert report["verdict"] in ("likely", "confirmed")
        assert report["brain"]["mode"] == "rules"
    assert "The mode folded" in json.dumps(report["evidence"])
    healthy = (await diagnose(None, request=asked(export_of(fails=False)))).report
    assert healthy["causes"] == []


async def test_an_incident_links_the_version_that_it_showed(
    settings: Settings, memory: Memory, diagnose: Any, export_of: Export
) -> None:
    made = draft_of(export_of(), load_catalog(settings, memory))
    path = approve(made, settings, memory)
    shown = parse_runbook(path.read_text(), str(path))
    request = replace(asked(export_of()), record=True)
    report = (await diagnose(None, request=request)).report
    (link,) = memory.get_incident(report["incident"])["runbooks"]
    assert (link["runbook"], link["digest"]) == (shown.id, shown.digest)
    path.write_text(path.read_text().replace("## Escalate\n", "## Escalate\n\nCall Ada.\n"))
    assert memory.approvals.text(link["digest"][:12])["text"] == shown.text


async def test_an_edit_voids_the_approval(
    settings: Settings, memory: Memory, diagnose: Any, export_of: Export
) -> None:
    made = draft_of(export_of(), load_catalog(settings, memory))
    path = approve(made, settings, memory)
    text = path.read_text()
    path.write_text(text.replace("No fix has been tested:", "Restart it:"))
    assert load_catalog(settings, memory).drafts[made.runbook.id].status == "reviewed"
    report = (await diagnose(None, request=asked(export_of()))).report
    assert report["causes"][0]["id"].startswith("pattern:")
    path.write_text(text)  # what was approved is approved again
    report = (await diagnose(None, request=asked(export_of()))).report
    assert report["causes"][0]["id"] == made.runbook.id
    assert memory.approvals.withdraw(made.runbook.id) == 1
    assert load_catalog(settings, memory).drafts[made.runbook.id].status == "reviewed"


def test_a_file_that_only_says_approved_is_not(
    settings: Settings, memory: Memory, export_of: Export
) -> None:
    made = draft_of(export_of(), load_catalog(settings, memory))
    folder = runbook_folder(settings)
    folder.mkdir()
    (folder / "x.md").write_text(made.text.replace("status: draft", "status: approved"))
    assert load_catalog(settings, memory).drafts[made.runbook.id].status == "reviewed"


def test_an_approval_says_who_when_and_what_and_is_audited(
    settings: Settings, memory: Memory, export_of: Export
) -> None:
    made = draft_of(export_of(), load_catalog(settings, memory))
    path = approve(made, settings, memory)
    book = parse_runbook(path.read_text(), str(path))
    approval = memory.approvals.of(book.digest)
    assert approval is not None
    assert approval["who"]
    assert approval["time"].startswith("20")
    assert approval["digest"] == book.digest
    assert memory.approvals.approve(book) == approval  # the same content is approved once
    assert len(memory.approvals.history(book.id)) == 1
    kinds = [row["kind"] for row in memory.file.rows("SELECT kind FROM audit")]
    assert kinds.count("approval") == 1


def test_what_overrides_a_shipped_runbook_is_shown(
    settings: Settings, memory: Memory, export_of: Export
) -> None:
    catalog = load_catalog(settings, memory)
    made = draft_of(export_of(), catalog)
    text = made.text.replace(f"id: {made.runbook.id}", f"id: {OWN}", 1)
    proposal = proposal_of(parse_runbook(text, "own.md"), catalog)
    assert proposal.overrides
    assert any("overrides the shipped" in line for line in proposal.lines())
    approve_runbook(proposal, memory, runbook_folder(settings))
    after = load_catalog(settings, memory)
    assert after.overrides == (OWN,)
    assert after.runbooks[OWN].status == "approved"


def test_the_model_has_no_tool_that_approves() -> None:
    assert not [name for name in load_tools() if "approve" in name or "runbook" in name]


async def test_with_the_scripted_model_sentences_are_checked_and_counted(
    settings: Settings, memory: Memory, export_of: Export
) -> None:
    catalog = load_catalog(settings, memory)
    made = draft_of(export_of(), catalog)
    scenario = load_scenario("healthy").with_chat(steps_of(SCRIPT))
    async with SimulatedCloud(scenario) as cloud:
        chosen = settings.model_copy(update={"base_url": cloud.endpoint_config().url})
        written, prose = await draft_with_model(made, chosen, memory, catalog)
        cloud.assert_script_used()
    assert prose.why == ""
    assert (prose.kept, len(prose.dropped)) == (4, 8)
    reasons = " ".join(reason for reason, _ in prose.dropped)
    for part in ("does not exist", "without evidence", "quotes", "number", "command", "option"):
        assert part in reasons, part
    meaning = written.runbook.sections["Meaning"]
    assert 'The engine said "holds 4096 positions" [E1].' in meaning
    assert "8 were dropped" in written.runbook.sections["Evidence"]
    assert "(The model's advice, not tested.)" in written.runbook.sections["Mitigation"]
    assert lint_runbook(written.runbook, catalog) == []
    requests = memory.file.rows("SELECT details FROM audit WHERE kind = 'model_request'")
    assert len(requests) == 4


SCRIPT: tuple[list[tuple[str, list[str], str]], ...] = (
    [
        ('The engine said "holds 4096 positions".', ["E1"], "fact"),
        ('It printed "holds 9999 positions".', ["E1"], "fact"),  # a quote that is none
        ("The kernel was too old for the card.", ["E77"], "fact"),  # no such evidence
        ("The memory of the card was full.", [], "fact"),  # a fact without evidence
    ],
    [
        ("The container ended by itself.", ["E5"], "fact"),
        ("It was down for 17 minutes.", ["E5"], "fact"),  # a number of its own
    ],
    [
        ("The mode of the rotary cache stands in the words of the exception.", ["E2"], "fact"),
        ("Run gcloud run services delete it.", [], "advice"),
        ("Try --make-it-work next time.", [], "advice"),
        ("The FlashInferBackend was chosen.", ["E1"], "fact"),  # a name of its own
    ],
    [
        ("Leave the option for the rotary cache out first.", [], "advice"),
        ("See https://example.com for a fix.", [], "advice"),
    ],
)


def steps_of(script: Any) -> list[dict[str, Any]]:
    return [
        {
            "expect": {"contains": ["Section: ", "[E1]"]},
            "reply": {
                "content": json.dumps(
                    {"sentences": [{"text": t, "evidence": e, "kind": k} for t, e, k in section]}
                )
            },
        }
        for section in script
    ]


@pytest.mark.parametrize(
    ("behaviour", "says"),
    [("refuse", "refused"), ("stall", "stalled"), ("cut_stream", ""), ("malformed", "")],
)
async def test_a_model_that_fails_leaves_the_skeleton(
    behaviour: str, says: str, settings: Settings, memory: Memory, export_of: Export
) -> None:
    catalog = load_catalog(settings, memory)
    made = draft_of(export_of(), catalog)
    async with SimulatedCloud(load_scenario("healthy")) as cloud:
        cloud.behave(behaviour)
        chosen = settings.model_copy(update={"base_url": cloud.endpoint_config().url})
        written, prose = await draft_with_model(made, chosen, memory, catalog)
    assert written is made
    assert prose.why
    assert says in prose.why


@pytest.mark.skipif(not REAL.exists(), reason="the real export is not here")
class TestRealExport:
    def variant(self, folder: Path) -> Path:
        """Return the same failure of another model, layer, card, instance and revision."""
        text = REAL.read_text()
        for before, after in (
            ("google/gemma-4-12B-it-qat-w4a16-ct", "google/gemma-4-31B-it-qat-w4a16-ct"),
            ("the WNA16 linear layer", "the WNA8 linear layer"),
            ("current compute  capability is 89", "current compute  capability is 120"),
            ("gpu-12b-l4-devops-agent", "gpu-31b-rtx-agent"),
            ("00011-2nn", "00007-xyz"),
            ("002f8ffd471d005baa4d8ad7585f", "11aa22bb33cc44dd55ee66ff7788"),
            ("EngineCore pid=119", "EngineCore pid=87"),
            ("NVIDIA L4", "NVIDIA RTX PRO 6000 Blackwell Server Edition"),
        ):
            text = text.replace(before, after)
        path = folder / "variant.json"
        path.write_text(text)
        return path

    @pytest.mark.parametrize("with_model", [False, True])
    async def test_the_loop(
        self, with_model: bool, settings: Settings, memory: Memory, diagnose: Any, tmp_path: Path
    ) -> None:
        catalog = load_catalog(settings, memory)
        unknown = (await diagnose(None, request=asked(REAL, OWN))).report
        assert unknown["causes"][0]["id"].startswith("pattern:")
        made = draft_of(REAL, catalog, OWN)
        if with_model:
            scenario = load_scenario("healthy").with_chat(steps_of(_REAL_SCRIPT))
            async with SimulatedCloud(scenario) as cloud:
                chosen = settings.model_copy(update={"base_url": cloud.endpoint_config().url})
                made, prose = await draft_with_model(made, chosen, memory, catalog)
                cloud.assert_script_used()
            assert (prose.kept, len(prose.dropped)) == (4, 1)
        assert lint_runbook(made.runbook, catalog) == []
        approve(made, settings, memory)
        for path in (REAL, self.variant(tmp_path)):
            report = (await diagnose(None, request=asked(path, OWN))).report
            assert [cause["id"] for cause in report["causes"]] == [made.runbook.id]
            assert report["verdict"] in ("likely", "confirmed")
            assert report["brain"]["mode"] == "rules"

    def test_its_signature_matches_nothing_else(self, settings: Settings, memory: Memory) -> None:
        catalog = load_catalog(settings, memory)
        made = draft_of(REAL, catalog, OWN)
        pattern = compile_pattern(made.signature.rule.line)
        others = json.loads((SHARED / "failure_signatures.json").read_text())
        lines = [entry["line"] for entry in others if entry["id"] != OWN and entry["line"]]
        assert len(lines) > 60
        lines += [
            line
            for book in catalog.runbooks.values()
            if book.id != OWN
            for example in book.examples
            for line in example.lines
        ]
        lines += [*healthy_lines(), *HEALTHY.read_text().splitlines()]
        told = {made.case.quoted(ref).ref for ref in made.case.told}  # type: ignore[union-attr]
        for record in read_logs([str(REAL)]):
            if record.ref in told:
                break
            lines.append(record.text)
        assert [line for line in lines if pattern.search(line)] == []
        assert [line for line in lines if pattern.search(f"ValueError: {line}")] == []


_REAL_SCRIPT: tuple[list[tuple[str, list[str], str]], ...] = (
    [('One kernel was tried, and it "requires capability 90".', ["E2"], "fact")],
    [("The container ended by itself.", ["E9"], "fact")],
    [("The option linear_backend was set to cutlass.", ["E3"], "fact")],
    [
        ("Take the override of the linear backend out.", [], "advice"),
        ("An H200 would run it.", [], "fact"),
    ],
)
