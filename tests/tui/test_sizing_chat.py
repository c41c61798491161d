"""/fit and /cost in the chat: the bar and the figures, as text."""

import pytest

from tools.errors import UsageError
from tui.sizing_chat import cost, fit, parsed


class RecordedTranscript:
    def __init__(self):
        self.said = []

    async def say(self, text, level="info"):
        self.said.append((level, text))


class RecordedScreen:
    def __init__(self):
        self.transcript = RecordedTranscript()


async def test_fit_shows_the_bar():
    screen = RecordedScreen()
    await fit(screen, "31B --precision w4a16 --accelerator L4 -- --max-model-len 4096")
    ((_, text),) = screen.transcript.said
    assert text.startswith("oom at load\n[WWW")
    assert "! over" in text
    assert "What makes it fit" in text
    assert "Sources:" not in text


async def test_cost_shows_dollars():
    screen = RecordedScreen()
    await cost(screen, "12B --precision w4a16 --accelerator L4 --duty 0.2")
    assert "USD/month" in screen.transcript.said[0][1]


@pytest.mark.parametrize(
    ("rest", "said"),
    [("", "MODEL"), ("31B", "--accelerator"), ("'", "quotes"), ("--help", "fit"),
     ("31B --accelerator L4 --nope", "no option")],
)  # fmt: skip
def test_bad_input_is_one_sentence(rest, said):
    with pytest.raises(UsageError, match=said):
        parsed("fit", rest)
