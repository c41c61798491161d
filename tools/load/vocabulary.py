"""Find words that are one token each, by the server's own /tokenize, and check lengths by it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tools.errors import EndpointError, EndpointNonsense, EndpointRefused, UsageError
from tools.load.prompts import RequestShape, UniquePrompts, shipped_words

if TYPE_CHECKING:
    import httpx2

MAX_CALLS = 600
GROUP = 128  # words that are tried at once
Count = Callable[[list[dict[str, Any]]], Awaitable[int]]


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """Words of one token each; ``template`` is what the chat template adds, in tokens.

    ``exact`` False: the server has no /tokenize, so lengths are estimates.
    """

    words: tuple[str, ...]
    template: int
    exact: bool = True


def counter(client: httpx2.AsyncClient, shape: RequestShape) -> Count:
    """Return what counts the tokens of messages on the server; it raises EndpointError."""

    async def count(messages: list[dict[str, Any]]) -> int:
        import httpx2

        body: dict[str, Any] = {
            "model": shape.model,
            "messages": messages,
            "add_generation_prompt": True,
        }
        if shape.thinking is not None:
            body["chat_template_kwargs"] = {"enable_thinking": shape.thinking}
        try:
            answer = await client.post("/tokenize", json=body)
        except httpx2.HTTPError as error:
            raise EndpointRefused(f"/tokenize did not answer: {error}.") from error
        if answer.status_code != 200:
            raise EndpointError(
                f"/tokenize answered HTTP {answer.status_code}.", status=answer.status_code
            )
        try:
            counted = answer.json()["count"]
        except (ValueError, KeyError, TypeError) as error:
            raise EndpointNonsense("/tokenize answered without a count.") from error
        if not isinstance(counted, int) or counted < 0:
            raise EndpointNonsense("/tokenize answered with a count that is no number.")
        return counted

    return count


async def learn_vocabulary(count: Count, words: tuple[str, ...] = ()) -> Vocabulary:
    """Return which words are one token each wherever they stand.

    A group of words is accepted when it counts as many tokens as it has words; else it is halved.
    """
    candidates = words or shipped_words()
    try:
        template = await _template(count)
    except EndpointError as error:
        if error.status in (404, 405, 501):
            return Vocabulary(candidates, template=0, exact=False)
        raise
    accepted: list[str] = []
    groups = [candidates[i : i + GROUP] for i in range(0, len(candidates), GROUP)]
    calls = 0
    while groups and calls < MAX_CALLS:
        group = groups.pop()
        calls += 1
        if await count(_user(" ".join(group))) == template + len(group):
            accepted += group
        elif len(group) > 1:
            middle = len(group) // 2
            groups += [group[:middle], group[middle:]]
    if len(accepted) < 2:
        raise UsageError(
            "No words of one token each were found in the server's vocabulary.",
            fix="Give real prompts with --prompts FILE.",
        )
    return Vocabulary(tuple(sorted(accepted)), template)


async def exact_prompts(
    count: Count, vocabulary: Vocabulary, tokens: int, seed: str, shape: RequestShape
) -> tuple[UniquePrompts, bool]:
    """Return prompts that the server counts as ``tokens`` with its template, and whether it does.

    Raises UsageError where the template alone is longer.
    """
    words = tokens - vocabulary.template
    if words < 1:
        raise UsageError(
            f"An input of {tokens} tokens is shorter than the chat template "
            f"({vocabulary.template} tokens) with one word.",
            fix=f"Ask for {vocabulary.template + 1} or more.",
        )
    prompts = UniquePrompts(vocabulary.words, words, seed, shape)
    if not vocabulary.exact:
        return prompts, False
    for _ in range(4):
        counts = [await count(_user(prompts.text(index).decode())) for index in (0, 1)]
        if set(counts) == {tokens}:
            return prompts, True
        words += tokens - counts[0]
        if words < 1:
            break
        prompts = UniquePrompts(vocabulary.words, words, seed, shape)
    return prompts, False


async def _template(count: Count) -> int:
    # Where one and two plain words differ by one token, what is left is the template's.
    one, two = await count(_user("time")), await count(_user("time way"))
    if two != one + 1:
        raise UsageError(
            "The server's tokenizer does not count plain words as one token each.",
            fix="Give real prompts with --prompts FILE.",
        )
    return one - 1


def _user(text: str) -> list[dict[str, Any]]:
    return [{"role": "user", "content": text}]
