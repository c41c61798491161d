from __future__ import annotations

from pathlib import Path

import pytest

from agent.settings import Settings
from tools.errors import ConfigurationError


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    for name in ("VLLM_BASE_URL", "MODEL_NAME", "GEMMA_SRE_STATE"):
        monkeypatch.delenv(name, raising=False)
    for name in ("PROJECT", "LOCATION", "REGION", "ZONE"):
        monkeypatch.delenv(f"GOOGLE_CLOUD_{name}", raising=False)
    file = tmp_path / "config.toml"
    monkeypatch.setenv("GEMMA_SRE_CONFIG", str(file))
    return file


@pytest.mark.parametrize("given", ["http://h:8000", "http://h:8000/v1", "http://h:8000/v1/ "])
def test_the_base_url_is_taken_with_or_without_v1(
    monkeypatch: pytest.MonkeyPatch, given: str
) -> None:
    monkeypatch.setenv("VLLM_BASE_URL", given)
    assert Settings.load().base_url == "http://h:8000"


def test_a_flag_wins_over_the_environment_which_wins_over_the_file(
    monkeypatch: pytest.MonkeyPatch, alone: Path
) -> None:
    alone.write_text('project = "file"\nzone = "z-file"\nlocation = "l-file"\n')
    monkeypatch.setenv("GOOGLE_CLOUD_PROJECT", "environment")
    monkeypatch.setenv("GOOGLE_CLOUD_REGION", "region")
    settings = Settings.load(project="flag", zone="")
    assert (settings.project, settings.zone, settings.location) == ("flag", "z-file", "region")


def test_global_is_no_region(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GOOGLE_CLOUD_LOCATION", "global")
    assert Settings.load().location == ""


@pytest.mark.parametrize("text", ["project = ", "[limits]\nclowd = 3", "kind = 'mainframe'"])
def test_a_bad_file_is_one_sentence(alone: Path, text: str) -> None:
    alone.write_text(text)
    with pytest.raises(ConfigurationError) as caught:
        Settings.load()
    assert str(alone) in str(caught.value)
    assert "\n" not in caught.value.message


def test_a_key_is_never_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VLLM_API_KEY", "sk-hush")
    assert "sk-hush" not in repr(Settings.load())
