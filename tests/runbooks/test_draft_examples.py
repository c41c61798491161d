"""The drafts in docs/examples are what a draft must be."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest

from runbooks.catalog import Catalog
from runbooks.draft import NOT_REVIEWED
from runbooks.lint import lint_runbook
from runbooks.runbook import parse_runbook, render_runbook

FOLDER = Path(__file__).parents[2] / "docs/examples"
FILES = sorted(path for path in FOLDER.glob("*.md") if path.name != "README.md")


def test_there_is_one_of_each_kind() -> None:
    names = {path.stem for path in FILES}
    assert names == {
        f"from-{source}-{how}"
        for source in ("log", "incident", "pattern")
        for how in ("by-rules", "with-model")
    }


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_it_lints_and_is_marked(path: Path, library: Catalog) -> None:
    book = parse_runbook(path.read_text("utf-8"), str(path))
    assert lint_runbook(book, library, today=date(2026, 11, 21)) == []
    assert render_runbook(book) == book.text
    assert book.status == "draft"
    assert book.sections["Meaning"].startswith(NOT_REVIEWED)
    assert ("The model" in book.sections["Evidence"]) == path.stem.endswith("with-model")
