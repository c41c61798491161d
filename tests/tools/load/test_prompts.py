from __future__ import annotations

import json
from itertools import product
from pathlib import Path

import pytest

from tools.errors import EndpointError, UsageError
from tools.load.prompts import FilePrompts, RequestShape, UniquePrompts, read_prompts, shipped_words
from tools.load.vocabulary import exact_prompts, learn_vocabulary

SHAPE = RequestShape("m", 16)
WORDS = ("time", "way", "house", "tree", "road")


def test_prompts_differ_from_their_first_words_on() -> None:
    prompts = UniquePrompts(WORDS, 40, "s", SHAPE)
    texts = [prompts.text(index).decode().split() for index in range(125)]
    assert all(len(text) == 40 for text in texts)
    assert len({text[0] for text in texts[:5]}) == 5
    assert len({tuple(text[:2]) for text in texts[:25]}) == 25
    assert len({tuple(text[:3]) for text in texts}) == 125


def test_the_seed_of_another_cell_gives_other_prompts() -> None:
    one, other = (UniquePrompts(shipped_words(), 30, seed, SHAPE) for seed in ("0/1", "0/2"))
    assert one.text(0) != other.text(0)
    assert one.text(7) == UniquePrompts(shipped_words(), 30, "0/1", SHAPE).text(7)


@pytest.mark.parametrize(("words", "index"), [*product((1, 2, 3, 4, 1000), (0, 1, 12_345))])
def test_every_prompt_has_its_length(words: int, index: int) -> None:
    prompts = UniquePrompts(shipped_words(), words, "s", SHAPE)
    assert len(prompts.text(index).split()) == words


def test_a_body_is_the_request_that_it_should_be() -> None:
    shape = RequestShape("m", 16, thinking=False, temperature=0.5)
    prompts = UniquePrompts(WORDS, 6, "s", shape)
    told = json.loads(prompts(3))
    assert told["messages"] == [{"role": "user", "content": prompts.text(3).decode()}]
    assert told["stream_options"] == {"include_usage": True}
    assert told["ignore_eos"] is True
    assert told["chat_template_kwargs"] == {"enable_thinking": False}


def test_shipped_words_are_distinct() -> None:
    words = shipped_words()
    assert len(words) == len(set(words)) > 500
    assert all(word.isascii() and word.islower() for word in words)


async def test_words_of_several_tokens_are_found_and_left_out() -> None:
    calls = 0
    long = {"environment", "tree", "machine"}

    async def count(messages: list[dict[str, object]]) -> int:
        nonlocal calls
        calls += 1
        words = str(messages[0]["content"]).split()
        return 11 + sum(2 if word in long else 1 for word in words)

    found = await learn_vocabulary(count, (*WORDS, "machine", "environment", *shipped_words()))
    assert found.template == 11
    assert not long & set(found.words)
    assert len(found.words) > 500
    assert calls < 100
    prompts, exact = await exact_prompts(count, found, 64, "s", SHAPE)
    assert exact
    assert prompts.words == 53


async def test_a_tokenizer_that_joins_is_corrected() -> None:
    async def count(messages: list[dict[str, object]]) -> int:
        words = len(str(messages[0]["content"]).split())
        return 4 + words - (2 if words > 20 else 0)

    found = await learn_vocabulary(count, ("time", "way", "road"))
    prompts, exact = await exact_prompts(count, found, 50, "s", SHAPE)
    assert exact
    assert prompts.words == 48


async def test_without_tokenize_lengths_are_not_exact() -> None:
    async def count(messages: list[dict[str, object]]) -> int:
        raise EndpointError("no", status=404)

    found = await learn_vocabulary(count)
    assert not found.exact
    assert (await exact_prompts(count, found, 30, "s", SHAPE))[1] is False


async def test_an_input_shorter_than_the_template_is_refused() -> None:
    async def count(messages: list[dict[str, object]]) -> int:
        return 11 + len(str(messages[0]["content"]).split())

    found = await learn_vocabulary(count, WORDS)
    with pytest.raises(UsageError, match="12 or more"):
        await exact_prompts(count, found, 11, "s", SHAPE)


def test_prompts_of_a_file(tmp_path: Path) -> None:
    path = tmp_path / "p.jsonl"
    path.write_text('{"prompt": "one"}\n\n{"messages": [{"role": "user", "content": "two"}]}\n')
    messages, digest = read_prompts(path)
    assert [row[0]["content"] for row in messages] == ["one", "two"]
    assert len(digest) == 64
    prompts = FilePrompts(messages, "s", SHAPE)
    bodies = {json.loads(prompts(index))["messages"][0]["content"] for index in range(2)}
    assert bodies == {"one", "two"}
    assert prompts(0) == prompts(2)
    plain = tmp_path / "p.txt"
    plain.write_text("why is it slow?\nwhat changed?\n")
    assert len(read_prompts(plain)[0]) == 2


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"prompt": "a"}\n{"x": 1}\n', ":2 has neither"),
        ('{"prompt": \n', ":1 is not JSON"),
        ("", "no prompts"),
    ],
)
def test_a_file_that_is_none_names_its_line(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "p.jsonl"
    path.write_text(text)
    with pytest.raises(UsageError, match=words):
        read_prompts(path)
