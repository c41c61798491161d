from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from runbooks.catalog import Catalog
from runbooks.fix import SLOT
from runbooks.lint import lint_runbook
from runbooks.pattern import compile_pattern
from runbooks.runbook import Example, parse_runbook, render_runbook
from runbooks.shell import known_options
from runbooks.trial import try_example

SHARED = Path(__file__).parents[3] / "shared/data"
IDS = sorted(Catalog.load().runbooks)


def test_the_whole_library_can_be_read(library):
    assert library.problems == ()
    assert all(book.status == "shipped" for book in library.runbooks.values())
    for book in library.runbooks.values():
        assert Path(book.path).stem == book.id


@pytest.mark.parametrize("runbook_id", IDS)
def test_each_runbook_lints_clean(library, runbook_id):
    assert lint_runbook(library.runbooks[runbook_id], library) == []


@pytest.mark.parametrize("runbook_id", IDS)
def test_each_runbook_ranks_first_on_its_own_examples(library, runbook_id):
    for example in library.runbooks[runbook_id].examples:
        found = try_example(library, example)
        assert found, example
        assert found[0].runbook.id == runbook_id, [item.runbook.id for item in found]


@pytest.mark.parametrize("runbook_id", IDS)
def test_each_file_is_rendered_as_it_stands(library, runbook_id):
    book = library.runbooks[runbook_id]
    assert render_runbook(book) == book.text
    assert parse_runbook(render_runbook(book), book.path) == book


@pytest.mark.skipif(
    not (SHARED / "vllm-0.32/startup.log").exists(), reason="the recorded start-up is not here"
)
def test_a_healthy_start_matches_nothing(library):
    for line in (SHARED / "vllm-0.32/startup.log").read_text("utf-8").splitlines():
        assert try_example(library, Example(lines=(line,))) == (), line


@pytest.mark.skipif(
    not (SHARED / "failure_signatures.json").exists(), reason="the list of signatures is not here"
)
def test_every_known_failure_has_its_runbook_and_its_line_is_recognised(library):
    for entry in json.loads((SHARED / "failure_signatures.json").read_text("utf-8")):
        assert entry["id"] in library.runbooks, entry["id"]
        if entry["regex"] is None or "behaviour" in entry["platform"]:
            continue  # recognised by facts; what looks like a line of it proves little
        found = try_example(library, Example(lines=(entry["line"],)))
        assert entry["id"] in {item.runbook.id for item in found[:1]}, (
            entry["id"],
            [item.runbook.id for item in found],
        )


FACTS = Path(__file__).parents[2] / "docs/facts.md"


def test_every_fact_that_a_rule_or_step_names_is_documented(library):
    documented = set(re.findall(r"`([a-z]+\.[a-z_]+)`", FACTS.read_text("utf-8")))
    for book in library.runbooks.values():
        named = {leaf.fact for rule in book.rules for leaf in rule.leaves() if leaf.fact}
        named |= {slot[3] for step in book.fix for slot in SLOT.finditer(step) if slot[2] == "fact"}
        named |= {name for example in book.examples for name in example.facts}
        assert named <= documented, (book.id, named - documented)


def test_every_slot_of_a_capture_has_its_group(library):
    for book in library.runbooks.values():
        groups = max(
            (
                compile_pattern(leaf.line).groups
                for rule in book.rules
                for leaf in rule.leaves()
                if leaf.line
            ),
            default=0,
        )
        for step in book.fix:
            for slot in SLOT.finditer(step):
                if slot[2] == "capture":
                    assert int(slot[3]) <= groups, (book.id, step)


def test_every_blamed_option_is_one_of_vllm(library):
    options = known_options("vllm")
    for book in library.runbooks.values():
        for name in book.blames:
            assert f"--{name.replace('_', '-')}" in options, (book.id, name)


def test_a_symptom_is_never_decisive_and_a_cause_can_be(library):
    for book in library.runbooks.values():
        assert book.kind == "cause" or not any(rule.decisive for rule in book.rules)
    symptoms = {book.id for book in library.runbooks.values() if book.kind != "cause"}
    assert symptoms >= {
        "engine-core-failed",
        "engine-core-start",
        "container-exit",
        "run-container-start",
        "startup-probe-failed",
        "unknown-vllm-env",
        "vertex-code-13",
        "vertex-never-ready",
    }
