"""What a start printed, and the layout that follows."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tools.errors import UsageError
from tools.sizing import bootlog
from tools.sizing.fit import fit
from tools.sizing.layout import layout
from tools.sizing.request import FitRequest

START = """\
(APIServer pid=1) INFO 08-30 [utils.py:278] non-default args: {'model': 'google/gemma-4-E2B-it', \
'max_model_len': 16384, 'gpu_memory_utilization': 0.9}
(EngineCore pid=9) INFO 08-30 [core.py:112] Initializing a V1 LLM engine (v0.28.0) with config: …
(EngineCore pid=9) INFO 08-30 Loading weights took 31.04 seconds
(EngineCore pid=9) INFO 08-30 Model loading took 9.8 GiB memory and 33.100000 seconds
(EngineCore pid=9) INFO 08-30 [gpu_worker.py:760] Available KV cache memory: 9.65 GiB
(EngineCore pid=9) INFO 08-30 GPU KV cache size: 1,076,849 tokens, Maximum concurrency for 16,384 \
tokens per request: 65.73x
(EngineCore pid=9) INFO 08-30 Graph capturing finished in 12 secs, took 0.31 GiB
(EngineCore pid=9) INFO 08-30 Free memory on device (21.7/22.03 GiB) on startup. Desired GPU \
memory utilization is (0.9, 19.83 GiB). Actual usage is 10.0 GiB for consumed memory (weights + \
non-torch), 0.18 GiB for peak activation, and 0.0 GiB for CUDAGraph memory.
"""


def test_every_line():
    found = bootlog.parse(START.splitlines())
    assert found.version == "0.28.0"
    assert found.args["max_model_len"] == 16384
    want = {
        "weights_gib": 9.8, "kv_gib": 9.65, "kv_tokens": 1_076_849, "concurrency": 65.73,
        "length": 16384, "graphs_gib": 0.31, "graphs_s": 12, "load_s": 33.1, "read_s": 31.04,
        "total_gib": 22.03, "requested_gib": 19.83, "consumed_gib": 10.0, "activation_gib": 0.18,
    }  # fmt: skip
    assert {name: found.figures[name] for name in want} == want
    assert "9.65" in found.quotes["kv_gib"]


def test_older_wording():
    line = (
        "model weights take 9.80GiB; non_torch_memory takes 0.10GiB; PyTorch activation peak "
        "memory takes 0.31GiB; the rest"
    )
    assert bootlog.parse([line]).figures == {
        "weights_gib": 9.8, "non_torch_gib": 0.1, "activation_gib": 0.31,
    }  # fmt: skip


def test_a_new_start_drops_the_old_ones_figures():
    again = START + "non-default args: {'model': 'other'}\nAvailable KV cache memory: 1.5 GiB\n"
    found = bootlog.parse(again.splitlines())
    assert found.figures == {"kv_gib": 1.5}
    assert found.args == {"model": "other"}


def test_measured_replaces_the_band():
    log = bootlog.parse(START.splitlines())
    found = fit(
        FitRequest("E2B", "L4", vllm_version="0.28", measured=log.measured,
                   flags=("--max-model-len", "16384"))
    )  # fmt: skip
    band = found.to_json()["kv_gib"]
    assert band["low"] == band["high"] == pytest.approx(9.65, abs=0.001)
    assert found.capacity.tokens == pytest.approx(1_076_849, rel=1e-3)
    assert any("measured" in line for line in found.explanation)


def test_layout_tags_each_figure():
    found = layout(
        bootlog.parse(START.splitlines()),
        accelerator="L4",
        used=0.5,
    )
    how = {(figure.name, figure.unit): figure.how for figure in found.figures}
    assert how["weights", "GiB"] == "measured"
    assert how["KV blocks", "blocks"] == "derived"
    assert how["KV cache in use", "tokens"] == "derived"
    assert how["max model len", ""] == "configured"
    assert any("as computed" in line for line in found.explanation)
    assert any("they agree" in line for line in found.explanation)


def test_without_an_accelerator_it_says_what_is_missing():
    found = layout(bootlog.parse(START.splitlines()))
    assert found.estimate is None
    assert "--accelerator" in found.explanation[0]


def test_an_export_of_cloud_logging(tmp_path):
    lines = START.splitlines()
    entries = [
        {"textPayload": line, "timestamp": f"2026-08-30T00:00:{number:02}Z"}
        for number, line in enumerate(lines)
    ]
    newest_first = tmp_path / "export.json"
    newest_first.write_text(json.dumps(entries[::-1]))
    assert bootlog.read(str(newest_first)).figures == bootlog.parse(lines).figures
    each_line = tmp_path / "export.jsonl"
    each_line.write_text("\n".join(json.dumps(entry) for entry in entries))
    assert bootlog.read(str(each_line)).figures == bootlog.parse(lines).figures


def test_nothing_about_memory(tmp_path):
    file = tmp_path / "log.txt"
    file.write_text("hello\n")
    with pytest.raises(UsageError, match="no line about memory"):
        bootlog.read(str(file))
    with pytest.raises(UsageError, match="can't be read"):
        bootlog.read(str(tmp_path / "absent"))


@given(st.text(max_size=300))
def test_any_text(text):
    bootlog.parse(bootlog.texts(text))
