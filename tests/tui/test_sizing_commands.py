"""fit, cost, recommend, lint and memory as a shell sees them."""

import json

import pytest

from tui.cli import main

START = (
    "non-default args: {'model': 'google/gemma-4-12B-it-qat-w4a16-ct', 'kv_cache_dtype': 'nvfp4'}\n"
    "Initializing a V1 LLM engine (v0.22.1) with config\n"
    "Model loading took 7.9 GiB memory and 33.1 seconds\n"
    "Available KV cache memory: 10.10 GiB\n"
)


@pytest.fixture
def log(tmp_path):
    file = tmp_path / "start.log"
    file.write_text(START)
    return str(file)


def run(capsys, *words):
    code = main(list(words))
    return code, capsys.readouterr()


def test_fit_by_the_contract(capsys):
    code, out = run(
        capsys, "fit", "E2B", "--precision", "bf16", "--accelerator", "L4", "--kv-gib", "9.65",
        "--vllm-version", "0.28.0", "--json", "--", "--max-model-len", "16384",
    )  # fmt: skip
    data = json.loads(out.out)
    assert code == 0
    assert data["outcome"] == "fits"
    assert data["kv_tokens"] == pytest.approx(1_076_849, rel=0.004)


def test_fit_that_does_not(capsys):
    code, out = run(
        capsys, "fit", "31B", "--precision", "w4a16", "--accelerator", "L4", "--",
        "--max-model-len", "4096",
    )  # fmt: skip
    assert code == 1
    assert out.out.startswith("oom at load\n[WWW")
    assert "What makes it fit, computed again:" in out.out
    assert "can't help: loading alone needs" in out.out


def test_fit_with_a_boot_log(capsys, log):
    code, out = run(
        capsys, "fit", "12B", "--precision", "w4a16", "--accelerator", "RTX PRO 6000",
        "--boot-log", log, "--json", "--", "--max-model-len", "8192",
    )  # fmt: skip
    data = json.loads(out.out)
    assert code == 0
    assert data["vllm_version"] == "0.22.1"
    assert data["kv_gib"]["low"] == data["kv_gib"]["high"] == pytest.approx(10.1, abs=0.001)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("fit", "31C", "--accelerator", "L4"), "Did you mean 31B?"),
        (("fit", "31B", "--accelerator", "L9"), "Did you mean L4"),
        (("fit", "31B"), "--accelerator"),
        (("fit", "31B", "--accelerator", "L4", "--", "-tp", "3"), "query heads"),
        (("lint",), "Give one thing to check"),
        (("lint", "--args-json", "/nonexistent"), "can't be read"),
        (("memory",), "Name a service, or give --boot-log"),
        (("recommend", "--quota", "L4"), "NAME=VALUE"),
        (("recommend", "--quota", "L4=x"), "no number"),
        (("recommend", "--limit", "0"), "--limit"),
        (("cost", "12B", "--accelerator", "MI300X"), "No known price"),
    ],
)
def test_bad_input_is_one_sentence(capsys, words, said):
    code, out = run(capsys, *words)
    assert code == 2
    assert said in out.err
    assert out.err.count("\n") == 1
    assert "Traceback" not in out.err


def test_cost(capsys):
    code, out = run(capsys, "cost", "12B", "--precision", "w4a16", "--accelerator", "L4", "--json")
    data = json.loads(out.out)
    assert code == 0
    assert {offer["kind"] for offer in data["offers"]} >= {"cloud-run", "on-demand", "spot"}
    assert data["tokens_per_s_is"] == "ceiling"
    assert run(capsys, "cost", "E2B", "--accelerator", "v6e")[0] == 0


def test_recommend(capsys):
    code, out = run(capsys, "recommend", "--users", "4", "--budget", "2500", "--json")
    assert code == 0
    assert json.loads(out.out)["options"]
    code, out = run(capsys, "recommend", "--users", "4", "--rejections")
    assert "1. " in out.out
    assert "combinations were turned down" in out.out
    assert run(capsys, "recommend", "--users", "90000", "--context", "262144")[0] == 1


def test_lint_a_command(capsys, tmp_path):
    code, out = run(
        capsys, "lint", "--accelerator", "L4", "--json", "--", "vllm", "serve",
        "google/gemma-4-12B-it", "--kv-cache-dtype", "nvfp4",
    )  # fmt: skip
    assert code == 1
    assert any("Blackwell" in one["why"] for one in json.loads(out.out)["findings"])
    file = tmp_path / "command.sh"
    file.write_text("HF_HUB_OFFLINE=1 vllm serve google/gemma-4-12B-it --max-model-len 4096\n")
    code, out = run(capsys, "lint", "--command", str(file))
    assert code == 1
    assert "can't be downloaded" in out.out


def test_lint_lists_and_logs(capsys, tmp_path, log):
    file = tmp_path / "args.json"
    file.write_text(json.dumps(["google/gemma-4-12B-it", "--max-model-len", "4096"]))
    assert run(capsys, "lint", "--args-json", str(file))[0] == 0
    file.write_text(json.dumps({"model": "google/gemma-4-12B-it", "max_model_len": 4096}))
    assert run(capsys, "lint", "--args-json", str(file))[0] == 0
    file.write_text("[1]")
    assert run(capsys, "lint", "--args-json", str(file))[0] == 2
    code, out = run(capsys, "lint", "--boot-log", log, "--accelerator", "L4")
    assert code == 1
    assert "NVFP4 KV needs Blackwell" in out.out


def test_memory(capsys, tmp_path, log):
    metrics = tmp_path / "metrics.txt"
    metrics.write_text('vllm:kv_cache_usage_perc{engine="0"} 0.25\n# HELP x\n')
    code, out = run(capsys, "memory", "--boot-log", log, "--metrics", str(metrics), "--json")
    data = json.loads(out.out)
    assert code == 0
    assert ["KV cache", 10.1, "measured"] in [
        [one["name"], one["value"], one["how"]] for one in data["figures"]
    ]
    assert any(one["name"] == "KV cache in use" for one in data["figures"])


def test_a_log_cannot_write_to_the_terminal(capsys, tmp_path):
    file = tmp_path / "evil.log"
    file.write_text(
        "non-default args: {'model': 'x', 'dtype': '\\x1b[2Jboo'}\n"
        "Available KV cache memory: 1.0 GiB\n"
    )
    code, out = run(capsys, "memory", "--boot-log", str(file))
    assert code == 0
    assert "\x1b" not in out.out


# -- a running service, on the simulated cloud


def test_memory_of_a_running_service(capsys):
    code, out = run(capsys, "memory", "gemma-4-12b", "--demo", "healthy", "--json")
    data = json.loads(out.out)
    assert code == 0
    assert data["source"].startswith("Cloud Logging, gemma-4-12b-00010-qkz")
    assert data["gaps"] == []
    assert {figure["how"] for figure in data["figures"]} == {"measured", "derived", "configured"}
    assert data["estimate"]["accelerator"] == "L4"
    code, out = run(capsys, "memory", "--demo", "healthy")
    assert code == 0
    assert "KV blocks                                  23,388 blocks    measured" in out.out
    assert "they agree." in out.out


def test_memory_of_a_service_that_sleeps(capsys):
    code, out = run(capsys, "memory", "--demo", "scaled-to-zero")
    assert code == 2
    assert "was not woken" in out.err
    assert out.err.count("\n") == 1


def test_fit_from_a_running_service(capsys):
    code, out = run(
        capsys, "fit", "12B", "--precision", "w4a16", "--accelerator", "L4",
        "--service", "gemma-4-12b", "--demo", "healthy", "--json",
    )  # fmt: skip
    data = json.loads(out.out)
    assert code == 0
    assert data["kv_gib"]["expected"] == pytest.approx(11.42, abs=0.001)
    assert data["max_model_len"] == 16384
    assert "KV cache: 11.42 GiB measured" in " ".join(data["explanation"])


def test_cost_with_a_history(capsys, tmp_path):
    words = ("cost", "12B", "--precision", "w4a16", "--accelerator", "L4")
    code, out = run(capsys, *words, "--service", "gemma-4-12b", "--demo", "healthy", "--json")
    assert code == 0
    phases = json.loads(out.out)["cold_start"]
    assert all(phase["measured"] and phase["starts"] == 1 for phase in phases)
    # The start is kept, and kept once.
    run(capsys, *words, "--service", "gemma-4-12b", "--demo", "healthy")
    from agent.database import StateFile
    from agent.starts import Starts

    file = StateFile(tmp_path / "state.db")
    assert len(Starts(file).of("gemma-4-12b")) == 1
    file.close()
    rows = [
        {"textPayload": text, "timestamp": f"2026-06-06T08:{minute:02}:00Z", "insertId": str(minute),
         "logName": "projects/p/logs/run.googleapis.com%2Fstdout"}
        for minute, text in (
            (0, "(APIServer pid=1) INFO 06-06 08:00:00 [a.py:1] non-default args: {'model': 'x'}"),
            (1, "(EngineCore pid=9) INFO 06-06 08:01:00 [b.py:1] Starting to load model x..."),
            (3, "(EngineCore pid=9) INFO 06-06 08:03:00 [c.py:1] Loading weights took 119 seconds"),
            (4, "INFO:     Application startup complete."),
        )
    ]  # fmt: skip
    export = tmp_path / "export.json"
    export.write_text(json.dumps(rows))
    code, out = run(capsys, *words, "--logs", str(export))
    assert code == 0
    assert "loading weights: 120 s (measured, 1 start)" in out.out


def test_prices_from_a_simulated_catalogue(capsys, tmp_path):
    code, out = run(capsys, "prices", "refresh", "--demo", "--json")
    data = json.loads(out.out)
    assert code == 0
    assert data["file"] is None
    assert not (tmp_path / "prices.json").exists()
    code, out = run(capsys, "prices", "refresh", "--demo")
    assert "was 0.8500" in out.out
    assert "nothing was kept" in out.out
    assert run(capsys, "prices", "refresh", "--demo", "--region", "x y")[0] == 2
