from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from runbooks.export import FORMS
from runbooks.runbook import parse_runbook
from tui import runbook_arguments
from tui.cli import main

Export = Callable[..., Path]
Captured = pytest.CaptureFixture[str]


@pytest.fixture
def drafted(tmp_path: Path, export_of: Export, capsys: Captured) -> Path:
    path = tmp_path / "draft.md"
    assert main(["runbook", "draft", "--logs", str(export_of()), "-o", str(path)]) == 0
    assert "without the model: no endpoint is configured" in capsys.readouterr().err
    return path


def test_the_forms_are_those_of_the_export() -> None:
    assert runbook_arguments.FORMS == FORMS


def test_draft_lint_approve_list_show(drafted: Path, tmp_path: Path, capsys: Captured) -> None:
    assert main(["runbook", "lint", str(drafted)]) == 0
    assert "1 runbook checked: 0 errors, 0 warnings" in capsys.readouterr().out
    assert main(["runbook", "approve", str(drafted), "--yes", "--json"]) == 0
    done = json.loads(capsys.readouterr().out)
    assert Path(done["path"]).parent == tmp_path / "runbooks"
    assert done["who"]
    assert main(["runbook", "list", "--status", "approved", "--json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)["runbooks"]
    assert (row["id"], row["digest"]) == (done["runbook"], done["digest"])
    assert row["approved_by"] == done["who"]
    assert main(["runbook", "show", row["id"]]) == 0
    shown = capsys.readouterr()
    assert "status: approved" in shown.out
    assert f"approved by {done['who']}" in shown.err
    assert main(["runbook", "show", "--digest", done["digest"][:12], "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["id"] == row["id"]
    assert main(["runbook", "approve", row["id"], "--withdraw"]) == 0
    assert main(["runbook", "list", "--status", "approved"]) == 0
    assert capsys.readouterr().out.endswith("0 runbooks\n")


def test_approving_is_a_persons_act(
    drafted: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main(["runbook", "approve", str(drafted)]) == 2
    assert "Nobody is there to approve." in capsys.readouterr().err
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)
    monkeypatch.setattr(sys.stdin, "readline", lambda: "n\n", raising=False)
    assert main(["runbook", "approve", str(drafted)]) == 1
    assert "not approved" in capsys.readouterr().err


def test_what_does_not_lint_is_not_approved(drafted: Path, capsys: Captured) -> None:
    drafted.write_text(
        drafted.read_text().replace("gcloud run revisions list", "gcloud run frobnicate")
    )
    assert main(["runbook", "lint", str(drafted)]) == 1
    assert "frobnicate" in capsys.readouterr().out
    assert main(["runbook", "approve", str(drafted), "--yes"]) == 2
    assert "can't be approved" in capsys.readouterr().err


def test_from_an_incident(export_of: Export, capsys: Captured) -> None:
    log = str(export_of())
    assert main(["diagnose", "--logs", log, "--rules-only", "--json"]) == 1
    report = json.loads(capsys.readouterr().out)
    assert main(["runbook", "draft", "--incident", report["incident"], "--rules-only"]) == 0
    shown = capsys.readouterr()
    assert "rotary_cache_mode='compact'" in shown.out
    assert "- **E1** logging" in shown.out
    assert "PositionCacheError: The rotary cache of layer" in shown.err
    book = parse_runbook(shown.out, "draft")
    assert book.blames == ("rotary_cache_mode",)


def test_from_a_pattern_that_was_seen(export_of: Export, capsys: Captured) -> None:
    assert main(["logs", "patterns", str(export_of()), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["patterns"]
    pattern = next(
        p for p in found if "rotary cache of layer" in p["template"] and "Error" in p["template"]
    )
    assert main(["runbook", "draft", "--pattern", pattern["id"][:10], "--rules-only"]) == 0
    shown = capsys.readouterr()
    assert "on': exception" in shown.out
    assert main(["runbook", "draft", "--pattern", "0000", "--rules-only"]) == 2
    assert "No single pattern" in capsys.readouterr().err


def test_a_draft_as_json_says_how_its_signature_was_tried(
    export_of: Export, capsys: Captured
) -> None:
    assert main(["runbook", "draft", "--logs", str(export_of()), "--json"]) == 0
    whole = json.loads(capsys.readouterr().out)
    assert whole["signature"]["must_match"] > 5
    assert whole["signature"]["must_not_match"] > 150
    assert whole["findings"] == []
    assert whole["runbook"]["status"] == "draft"


def test_diff_with_the_version_before(drafted: Path, tmp_path: Path, capsys: Captured) -> None:
    assert main(["runbook", "approve", str(drafted), "--yes"]) == 0
    drafted.write_text(drafted.read_text().replace("## Escalate\n", "## Escalate\n\nCall Ada."))
    assert main(["runbook", "approve", str(drafted), "--yes"]) == 0
    capsys.readouterr()
    name = parse_runbook(drafted.read_text(), "x").id
    assert main(["runbook", "diff", name]) == 1
    assert "+Call Ada." in capsys.readouterr().out
    assert (tmp_path / "runbooks" / f"{name}.v1.md").exists()
    assert main(["runbook", "diff", "wna16-no-kernel", "mm-batched-tokens"]) == 1
    assert main(["runbook", "diff", "wna16-no-kernel"]) == 2
    assert "no other version" in capsys.readouterr().err


@pytest.mark.parametrize("form", FORMS)
def test_exports_escape_what_is_foreign(
    form: str, drafted: Path, tmp_path: Path, capsys: Captured
) -> None:
    text = drafted.read_text().replace("## Escalate\n", "## Escalate\n\nCall <b>Ada</b> & co.")
    drafted.write_text(text)
    target = tmp_path / f"out.{form}"
    assert main(["runbook", "export", str(drafted), "--format", form, "-o", str(target)]) == 0
    out = target.read_text()
    if form == "html":
        assert "Call &lt;b&gt;Ada&lt;/b&gt; &amp; co." in out
        assert "<pre><code>gcloud run" in out
        assert not re.search(r"<(?:b|script)\b", out)
    elif form == "json":
        assert json.loads(out)["sections"]["Escalate"].startswith("Call <b>")
    else:
        assert out.startswith("# vllm.layers.rotary.PositionCacheError")
        assert "## Verify" in out
    assert main(["runbook", "export", str(drafted), "--format", form, "-o", str(target)]) == 2
    assert "is there already" in capsys.readouterr().err


def test_the_whole_library_lints(capsys: Captured) -> None:
    assert main(["runbook", "lint"]) == 0
    assert re.search(r"\d+ runbooks checked: 0 errors", capsys.readouterr().out)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["draft"], "needs one source"),
        (["draft", "--logs", "x", "--incident", "i"], "needs one source"),
        (["draft", "--incident", "i-none"], "No single incident"),
        (["show"], "Name a runbook"),
        (["show", "wna16-no-kernl"], "Did you mean 'wna16-no-kernel'?"),
        (["lint", "none.md"], "none.md can't be read"),
        (["approve", "wna16-no-kernel", "--yes"], "can't become approved"),
        (["show", "--digest", "beef"], "No single version"),
    ],
)
def test_wrong_use_is_one_sentence(words: list[str], says: str, capsys: Captured) -> None:
    assert main(["runbook", *words]) == 2
    shown = capsys.readouterr().err
    assert says in shown
    assert len(shown.strip().splitlines()) == 1


def test_diagnose_can_leave_a_runbook_out(tmp_path: Path, capsys: Captured) -> None:
    log = tmp_path / "x.log"
    log.write_text(
        "Traceback (most recent call last):\n"
        "ValueError: Failed to find a kernel that can implement the WNA16 linear layer. Reasons: \n"
    )
    command: list[Any] = ["diagnose", "--logs", str(log), "--rules-only", "--no-record", "--json"]
    main(command)
    assert json.loads(capsys.readouterr().out)["causes"][0]["id"] == "wna16-no-kernel"
    main([*command, "--without-runbook", "wna16-no-kernel"])
    assert json.loads(capsys.readouterr().out)["causes"][0]["id"].startswith("pattern:")
    assert main([*command, "--without-runbook", "wna16"]) == 2
    assert "There is no runbook 'wna16'" in capsys.readouterr().err
