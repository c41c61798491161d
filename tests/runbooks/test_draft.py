from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from runbooks.catalog import Catalog
from runbooks.causes import causes_of
from runbooks.draft import NOT_REVIEWED, Draft, draft_runbook, with_prose
from runbooks.draft_case import case_from_pattern, case_from_report
from runbooks.draft_logs import case_from_logs
from runbooks.lifecycle import approved_text
from runbooks.lint import lint_runbook
from runbooks.runbook import SECTIONS, parse_runbook
from tools.errors import UsageError

Export = Callable[..., Path]
REAL = Path(__file__).parents[3] / "shared/data/logs/cloud-run-12b-qat-l4-revision-11.json"
DAY = date(2026, 11, 21)


def drafted(path: Path, catalog: Catalog, **options: Any) -> Draft:
    known = catalog.without(*options.get("without", ()))
    return draft_runbook(case_from_logs([str(path)], known), catalog, today=DAY, **options)


def test_a_log_becomes_a_whole_runbook_that_lints(library: Catalog, export_of: Export) -> None:
    made = drafted(export_of(), library)
    book = made.runbook
    assert made.findings == ()
    assert tuple(book.sections) == SECTIONS
    assert book.status == "draft"
    assert book.blames == ("rotary_cache_mode",)
    assert book.platforms == ("cloud-run",)
    assert book.sections["Meaning"].startswith(NOT_REVIEWED)
    assert "status 1" in book.sections["Impact"]
    assert "`rotary_cache_mode='compact'`" in book.sections["Mitigation"]
    assert "- **E1** logging" in book.sections["Evidence"]
    assert parse_runbook(made.text, book.path or book.id) == book


def test_every_id_that_a_section_cites_is_evidence(library: Catalog, export_of: Export) -> None:
    book = drafted(export_of(), library).runbook
    sections = {**book.sections, "Impact": "It says so [E99]."}
    (found,) = lint_runbook(replace(book, sections=sections), library, today=DAY)
    assert "E99" in found.message


def test_a_quote_that_the_evidence_does_not_hold_is_an_error(
    library: Catalog, export_of: Export
) -> None:
    book = drafted(export_of(), library).runbook
    good = {**book.sections, "Impact": 'It said "Container called exit(1)" and "halves" [E2] [E5].'}
    bad = {**book.sections, "Impact": 'It said "Container called exit(9)" [E1] [E2].'}
    cited = [f.message for f in lint_runbook(replace(book, sections=good), library, today=DAY)]
    assert cited == []
    (found,) = lint_runbook(replace(book, sections=bad), library, today=DAY)
    assert "does not hold the quote" in found.message


def test_a_known_failure_is_named_and_not_drafted_again(
    library: Catalog, export_of: Export
) -> None:
    first = drafted(export_of(), library).runbook
    catalog = Catalog.of([*library.runbooks.values(), replace(first, status="approved")])
    with pytest.raises(UsageError, match=first.id):
        drafted(export_of(asked=16384), catalog)
    again = drafted(export_of(asked=16384), catalog, without=[first.id], runbook_id="another-one")
    assert again.runbook.excludes == (first.id,)
    assert again.findings == ()


def test_a_log_without_a_failure_is_refused(library: Catalog, export_of: Export) -> None:
    with pytest.raises(UsageError, match="Nothing failed"):
        drafted(export_of(fails=False), library)


def test_an_error_line_without_an_exception_is_drafted_too(
    library: Catalog, tmp_path: Path
) -> None:
    log = tmp_path / "server.log"
    log.write_text(
        "(APIServer pid=1) INFO 06-06 03:40:07 [a.py:1] All is well.\n"
        "(APIServer pid=1) ERROR 06-06 03:40:09 [b.py:2] "
        "The lease of shard 7 was lost to 10.0.0.9.\n"
    )
    made = drafted(log, library)
    assert made.findings == ()
    assert made.signature.rule.on == "line"
    assert "The lease of shard" in made.signature.rule.line


def test_text_of_the_log_can_break_no_section(library: Catalog, tmp_path: Path) -> None:
    log = tmp_path / "evil.log"
    words = "## Rollback `rm -rf /` ``` ~~~ $(reboot) [E77] <script>"
    log.write_text(
        "Traceback (most recent call last):\n"
        '  File "x.py", line 1, in <module>\n'
        f"ValueError: The shape of the evil tensor is unknown: {words}\n```bash\nrm -rf /\n"
    )
    made = drafted(log, library)
    assert [f.message for f in made.findings if f.severity == "error"] == []
    assert tuple(made.runbook.sections) == SECTIONS


def test_a_pattern_becomes_a_draft(library: Catalog) -> None:
    texts = [
        f"(EngineCore pid={n}) ERROR 06-06 03:40:0{n} [kv.py:{n}] "
        f"The lease of shard {n} was lost to 10.0.0.{n}."
        for n in (1, 2, 3)
    ]
    pattern = {
        "id": "abc123",
        "template": "<*> ERROR <*> The lease of shard <*> was lost to <*>",
        "count": 41,
        "examples": [{"ref": f"r{n}", "text": text} for n, text in enumerate(texts)],
    }
    made = draft_runbook(case_from_pattern(pattern), library, today=DAY)
    assert made.findings == ()
    assert made.signature.must_match == 9
    assert "41 lines" in made.runbook.sections["Impact"]
    with pytest.raises(UsageError, match="no example"):
        case_from_pattern({"id": "x", "examples": []})


def test_an_incident_without_evidence_is_refused(library: Catalog) -> None:
    with pytest.raises(UsageError, match="nothing to draft from"):
        case_from_report({"id": "i-1", "report": {"causes": [], "evidence": []}}, library)


def test_prose_stands_before_the_skeleton_and_after_the_mark(
    library: Catalog, export_of: Export
) -> None:
    made = drafted(export_of(), library)
    written = with_prose(made, {"Meaning": ["It broke [E1]."], "Odd": ["x"]}, "A note.", library)
    paragraphs = written.runbook.sections["Meaning"].split("\n\n")
    assert paragraphs[0].startswith(NOT_REVIEWED)
    assert paragraphs[1] == "It broke [E1]."
    assert written.runbook.sections["Evidence"].endswith("A note.")
    assert written.findings == ()


def test_an_approved_text_keeps_what_a_person_wrote(library: Catalog, export_of: Export) -> None:
    made = drafted(export_of(), library)
    text = made.text.replace("status: draft", "status: draft\n# seen twice, says Ada")
    book = parse_runbook(text, "x.md")
    after = approved_text(book, date(2026, 12, 1))
    assert "# seen twice, says Ada" in after
    assert NOT_REVIEWED not in after
    approved = parse_runbook(after, "x.md")
    assert (approved.status, approved.reviewed) == ("approved", date(2026, 12, 1))
    shipped = next(iter(library.runbooks.values()))
    with pytest.raises(UsageError, match="can't become approved"):
        approved_text(shipped, DAY)


def test_the_root_cause_names_the_option_and_what_was_skipped(
    library: Catalog, export_of: Export
) -> None:
    (cause,) = causes_of([str(export_of())], library).causes
    assert cause.type.endswith("PositionCacheError")
    assert cause.reasons == ("The mode compact halves the cache.",)
    assert [(name, value) for name, value, _ in cause.blamed] == [("rotary_cache_mode", "compact")]
    assert cause.without_effect == ("VLLM_X",)
    assert cause.runbook == ""
    json.dumps(causes_of([str(export_of())], library).to_json())


@pytest.mark.skipif(not REAL.exists(), reason="the real export is not here")
class TestRealExport:
    OWN = "wna16-no-kernel"

    def test_root_cause(self, library: Catalog) -> None:
        (cause,) = causes_of([str(REAL)], library).causes
        assert cause.message.startswith("Failed to find a kernel that can implement the WNA16")
        assert cause.reasons[0].startswith("CutlassW4A8LinearKernel requires capability 90")
        assert [name for name, _, _ in cause.blamed] == ["linear_backend"]
        assert cause.runbook == self.OWN
        assert any("Engine core initialization failed" in text for text in cause.skipped)
        assert any("same traceback" in text for text in cause.skipped)
        (alone,) = causes_of([str(REAL)], library.without(self.OWN)).causes
        assert [name for name, _, _ in alone.blamed] == ["linear_backend"]
        assert alone.runbook == ""

    def test_draft_with_its_own_entry_left_out(self, library: Catalog) -> None:
        made = drafted(REAL, library, without=[self.OWN])
        assert made.findings == ()
        assert made.signature.overlaps == (self.OWN,)
        assert made.runbook.blames == ("linear_backend",)
        assert len(made.case.before) > 40
