from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import pytest

from runbooks.catalog import Catalog
from runbooks.lifecycle import advance, diff_runbooks, save_runbook, versions
from runbooks.runbook import Runbook, Status, parse_runbook, render_runbook
from tools.errors import RunbookError, UsageError


def own(library: Catalog, rid: str = "my-own", status: Status = "draft", **more: object) -> Runbook:
    book = replace(
        library.runbooks["flag-removed"], id=rid, status=status, text="", path="", **more
    )  # type: ignore[arg-type]
    return replace(book, text=render_runbook(book))


def put(folder: Path, book: Runbook, name: str = "") -> None:
    (folder / (name or f"{book.id}.md")).write_text(render_runbook(book), "utf-8")


def test_a_broken_file_is_named_and_the_others_still_work(library, tmp_path):
    put(tmp_path, own(library))
    (tmp_path / "broken.md").write_text("---\nid: x\n", "utf-8")
    (tmp_path / "binary.md").write_bytes(b"\xff\xfe\x00")
    (tmp_path / "README.md").write_text("# Our runbooks", "utf-8")
    (tmp_path / ".git").mkdir()
    (tmp_path / ".git" / "x.md").write_text("no", "utf-8")
    catalog = Catalog.load(tmp_path)
    assert {Path(problem.path).name for problem in catalog.problems} == {"broken.md", "binary.md"}
    assert catalog.get("my-own") is not None
    assert len(catalog.runbooks) == len(library.runbooks) + 1


def test_a_folder_that_is_not_there_is_a_problem_and_not_a_crash(library, tmp_path):
    catalog = Catalog.load(tmp_path / "absent")
    assert "does not exist" in str(catalog.problems[0])
    assert set(catalog.runbooks) == set(library.runbooks)


def test_an_approved_runbook_wins_over_the_shipped_one_and_is_listed(library, tmp_path):
    put(tmp_path, own(library, "hf-gated-401", "approved", title="Ours"))
    catalog = Catalog.load(tmp_path)
    assert catalog.overrides == ("hf-gated-401",)
    assert catalog.runbooks["hf-gated-401"].title == "Ours"


@pytest.mark.parametrize("status", ["draft", "reviewed", "superseded", "shipped"])
def test_anything_else_never_replaces_a_shipped_one(library, tmp_path, status):
    put(tmp_path, own(library, "hf-gated-401", status, title="Ours"))
    catalog = Catalog.load(tmp_path)
    assert catalog.overrides == ()
    assert catalog.runbooks["hf-gated-401"].title != "Ours"
    assert catalog.drafts["hf-gated-401"].title == "Ours"
    assert "hf-gated-401" in {book.id for book in catalog.in_force}
    assert "Ours" not in {book.title for book in catalog.in_force}


def test_an_approval_holds_for_the_content_that_was_approved(library, tmp_path):
    book = own(library, status="approved")
    put(tmp_path, book)
    assert Catalog.load(tmp_path, approvals={book.digest}).runbooks["my-own"].status == "approved"
    put(tmp_path, replace(book, title="Edited", text=""))
    edited = Catalog.load(tmp_path, approvals={book.digest})
    assert edited.runbooks["my-own"].status == "reviewed"
    assert "my-own" not in {book.id for book in edited.in_force}
    assert Catalog.load(tmp_path, approvals=()).runbooks["my-own"].status == "reviewed"


def test_two_in_force_with_one_id_are_a_problem(library, tmp_path):
    put(tmp_path, own(library, status="approved"), "a.md")
    put(tmp_path, own(library, status="approved", title="Other"), "b.md")
    catalog = Catalog.load(tmp_path)
    assert "same id" in str(catalog.problems[0])
    assert catalog.problems[0].path.endswith("b.md")


def test_the_version_in_force_is_found_whatever_the_order_of_the_files(library, tmp_path):
    for name in ("my-own.v1.md", "a-first.md"):
        put(tmp_path, own(library, status="superseded", title="Old"), name)
    put(tmp_path, own(library, status="approved", title="New"))
    catalog = Catalog.load(tmp_path)
    assert catalog.problems == ()
    assert catalog.runbooks["my-own"].title == "New"


def test_questions_find_what_they_ask_for(library):
    def first(text: str) -> str:
        return next((book.id for book in library.find(text)), "")

    assert first("hf-gated-403") == "hf-gated-403"
    assert first("what does the int4 kernel error mean?") == "wna16-no-kernel"
    assert first("KeyError gemma4") == "gemma4-keyerror"
    assert "load-peak-oom" in {book.id for book in library.find("CUDA out of memory")}
    assert library.find("xyzzy") == library.find("") == library.find("how do I fix it") == ()


def test_loading_the_library_is_quick():
    Catalog.load()
    started = time.process_time()
    Catalog.load()
    # 60 ms on a slow two-core machine; the bound leaves room for a busy one.
    assert time.process_time() - started < 0.3


def test_status_goes_its_way_and_no_other(library):
    draft = own(library)
    approved = advance(advance(draft, "reviewed"), "approved")
    assert approved.status == "approved"
    assert approved.digest == draft.digest
    assert parse_runbook(approved.text, "x.md").status == "approved"
    with pytest.raises(UsageError, match="can't become"):
        advance(advance(approved, "superseded"), "approved")
    with pytest.raises(UsageError, match="copy as a draft"):
        advance(library.runbooks["flag-removed"], "approved")


def test_what_a_person_approved_stays_readable_when_it_is_replaced(library, tmp_path):
    first = own(library, status="approved", title="First")
    save_runbook(own(library, title="Draft"), tmp_path)
    save_runbook(first, tmp_path)
    save_runbook(first, tmp_path)
    for title in ("Second", "Third"):
        save_runbook(own(library, status="approved", title=title), tmp_path)
    found = versions(tmp_path, "my-own")
    assert [(book.title, book.status) for book in found] == [
        ("Third", "approved"),
        ("Second", "superseded"),
        ("First", "superseded"),
    ]
    assert Catalog.load(tmp_path).runbooks["my-own"].title == "Third"
    diff = diff_runbooks(found[1], found[0])
    assert "-title: Second" in diff
    assert "+title: Third" in diff
    assert diff_runbooks(found[0], found[0]) == ""


def test_a_folder_that_cannot_be_written_is_said(library, tmp_path):
    (tmp_path / "file").write_text("", "utf-8")
    with pytest.raises(RunbookError, match="can't be written"):
        save_runbook(own(library), tmp_path / "file")
