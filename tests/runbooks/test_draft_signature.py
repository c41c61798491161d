from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runbooks.catalog import Catalog
from runbooks.draft_signature import NoSignature, Spoken, healthy_lines, learn_signature
from runbooks.draft_words import expression, split_words, varied
from runbooks.pattern import compile_pattern
from runbooks.runbook import Example
from runbooks.trial import try_example

NONE = Catalog.of([])
OOM = (
    "CUDA out of memory. Tried to allocate 2.62 GiB. GPU 0 has a total capacity of 22.03 GiB of "
    "which 1.21 GiB is free."
)


def learn(library: Catalog, message: str, kind: str = "ValueError", **options: object) -> object:
    spoken = Spoken("exception", message, kind, **options)  # type: ignore[arg-type]
    return learn_signature(spoken, library, left_out=NONE)


@pytest.mark.parametrize(
    "other",
    [
        "The cache of layer model.layers.41.mlp.down_proj holds 1 positions on NVIDIA H100 80GB.",
        "The cache of layer a.b.c holds 98,304 positions on NVIDIA RTX PRO 6000 Blackwell.",
    ],
)
def test_other_values_are_recognised(library: Catalog, other: str) -> None:
    message = "The cache of layer model.layers.3.self_attn holds 4096 positions on NVIDIA L4."
    found = learn(library, message)
    pattern = compile_pattern(found.rule.line)  # type: ignore[attr-defined]
    assert pattern.search(f"ValueError: {other}")
    assert not pattern.search("ValueError: The cache of layer a.b.c holds its positions.")


def test_digits_that_name_a_kind_stay(library: Catalog) -> None:
    found = learn(library, "Loading of the fp8 scales failed with exit code 137 after 12.5 s")
    pattern = compile_pattern(found.rule.line)  # type: ignore[attr-defined]
    assert pattern.search(
        "ValueError: Loading of the fp8 scales failed with exit code 137 after 3 s"
    )
    for other in ("fp4 scales failed with exit code 137", "fp8 scales failed with exit code 1 "):
        assert not pattern.search(f"ValueError: Loading of the {other} after 3 s")


def test_the_model_of_the_launch_varies(library: Catalog) -> None:
    found = learn(
        library, "The weights of gemmafit are of no shape that is known", values=("gemmafit",)
    )
    assert compile_pattern(found.rule.line).search(  # type: ignore[attr-defined]
        "ValueError: The weights of other.model are of no shape that is known"
    )


def test_a_short_message_is_told_by_where_it_was_raised(library: Catalog) -> None:
    found = learn(library, "'rope'", "KeyError", frame="build_rotary")
    assert found.rule.on == "line"  # type: ignore[attr-defined]
    assert compile_pattern(found.rule.line).search(  # type: ignore[attr-defined]
        "File \"x.py\", line 1, in build_rotary\n    return table[name]\nKeyError: 'rope'"
    )
    with pytest.raises(NoSignature, match="too few words"):
        learn(library, "'rope'", "KeyError")


def test_what_another_runbook_has_is_refused(library: Catalog) -> None:
    with pytest.raises(NoSignature, match="it also matches"):
        learn(library, OOM, "torch.OutOfMemoryError")


def test_what_the_log_said_before_is_refused(library: Catalog) -> None:
    spoken = Spoken("line", "The tokenizer was rebuilt from scratch because of a mismatch")
    with pytest.raises(NoSignature, match="the log before the failure"):
        learn_signature(spoken, library, left_out=NONE, before=[spoken.message])


def test_a_longer_message_is_used_where_the_first_line_is_another_runbooks(
    library: Catalog,
) -> None:
    before = ["ValueError: The worker could not be initialised"]
    spoken = Spoken(
        "exception",
        "The worker could not be initialised\nThe shared segment has the wrong owner",
        "ValueError",
    )
    found = learn_signature(spoken, library, left_out=NONE, before=before)
    assert "wrong owner" in found.rule.line


def test_no_shipped_runbook_knows_a_healthy_start(library: Catalog) -> None:
    for line in healthy_lines():
        matched = [m for m in try_example(library, Example(lines=(line,))) if m.kind == "cause"]
        assert matched == [], line


@settings(max_examples=150, deadline=None)
@given(st.text(st.characters(codec="utf-8", exclude_characters="\n\r"), max_size=120))
def test_an_expression_matches_its_own_words_and_their_variants(text: str) -> None:
    parts = split_words(text)
    assert "".join(part.text for part in parts) == text
    if not text.strip() or not any(not part.kind for part in parts):
        return
    pattern = compile_pattern(f"x{expression(parts)}")
    assert pattern.search("x" + text)
    assert all(pattern.search("x" + varied(parts, turn)) for turn in range(3))
