"""No test of sizes sees the prices that a person refreshed."""

import pytest


@pytest.fixture(autouse=True)
def _own_state(tmp_path, monkeypatch):
    monkeypatch.setenv("GEMMA_SRE_STATE", str(tmp_path / "state.db"))
