"""Parameter counts against those of the Hugging Face modules on the meta device."""

import pytest

from tools.errors import UsageError
from tools.sizing.architecture import model, model_names

# transformers 5.19, torch meta device.
TOTALS = {
    "E2B": 5_104_297_504,
    "E4B": 7_941_100_832,
    "12B": 11_959_730_176,
    "26B-A4B": 25_805_933_872,
    "31B": 31_273_086_512,
}


@pytest.mark.parametrize("name", TOTALS)
def test_counts_are_exact(name):
    assert model(name).total == TOTALS[name]


def test_every_size_has_a_count():
    assert set(model_names()) == set(TOTALS)


@pytest.mark.parametrize(
    ("name", "owners"),
    [("E2B", (12, 3)), ("E4B", (20, 4)), ("12B", (40, 8)), ("26B-A4B", (25, 5)), ("31B", (50, 10))],
)
def test_layers_that_own_a_cache(name, owners):
    arch = model(name)
    assert (arch.sliding - arch.shared_sliding, arch.full - arch.shared_full) == owners


def test_active_parameters_of_the_mixture():
    assert model("26B-A4B").active == pytest.approx(3.82e9, rel=0.01)
    assert model("31B").active < model("31B").total


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("google/gemma-4-31B-it-qat-w4a16-ct", "31B"),
        ("google/gemma-4-26B-A4B-it", "26B-A4B"),
        ("someone/gemma-4-e2b-it-awq", "E2B"),
        ("26b a4b", "26B-A4B"),
    ],
)
def test_names(name, size):
    assert model(name).name == size


def test_unknown_name_gets_the_nearest():
    with pytest.raises(UsageError, match="Did you mean 31B"):
        model("31C")
    with pytest.raises(UsageError, match="Known: E2B"):
        model("zzzzzzzz")
