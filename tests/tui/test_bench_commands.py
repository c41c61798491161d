from __future__ import annotations

import json
import math
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tools.load.figures import FIGURES
from tools.load.schedule import SHAPES
from tui import bench_arguments
from tui.bench_arguments import numbers, whole_numbers
from tui.cli import main

QUICK = ("--input", "32", "--output", "4", "--window", "0.3", "--warmup", "0.1", "--no-calibrate")


@pytest.fixture(autouse=True)
def _own_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GEMMA_SRE_STATE", str(tmp_path / "state.db"))
    monkeypatch.setenv("GEMMA_SRE_CONFIG", str(tmp_path / "none.toml"))
    for name in ("VLLM_BASE_URL", "MODEL_NAME", "GOOGLE_CLOUD_PROJECT", "VLLM_API_KEY"):
        monkeypatch.delenv(name, raising=False)


def told(capsys: pytest.CaptureFixture[str]) -> Any:
    return json.loads(capsys.readouterr().out)


def test_axes_of_a_command_line() -> None:
    assert whole_numbers("1,4,16") == (1, 4, 16)
    assert whole_numbers("1..48") == (1, 2, 4, 8, 16, 32, 48)
    assert numbers("0.5,2") == (0.5, 2.0)
    with pytest.raises(ValueError, match="8"):
        whole_numbers("8..1")
    assert bench_arguments.SHAPES == SHAPES
    assert tuple(one.name for one in FIGURES) == bench_arguments.FIGURES


def test_a_plan_tells_what_is_skipped(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["bench", "plan", "--demo", "--concurrency", "1,2", "--input", "64,9000"]
    assert main([*words, "--usd-per-hour", "3.6"]) == 0
    text = capsys.readouterr().out
    assert "2 cells run, 2 are skipped" in text
    assert "9000 + 128 tokens are more than max_model_len 8192" in text
    assert "USD" in text
    assert main([*words, "--json"]) == 0
    found = told(capsys)
    assert found["estimate"]["cells"] == 2
    assert found["endpoint"]["model"] == "stub"


def test_run_show_compare_report(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    words = ["bench", "run", "--demo", "--concurrency", "1,4", "--slo-ttft", "500", *QUICK]
    assert main([*words, "--json"]) == 0
    run = told(capsys)
    assert run["finished"]
    assert run["provenance"]["simulated"] is True
    assert [cell["concurrency"] for cell in run["cells"]] == [1, 4]
    assert run["cells"][1]["summary"]["goodput_share"] == 1
    assert main([*words, "--seed", "1"]) == 0
    captured = capsys.readouterr()
    assert "[2/2] c=4 32→4" in captured.err
    assert "kept as" in captured.out
    assert main(["bench", "list"]) == 0
    assert capsys.readouterr().out.count("SIMULATED") == 2
    assert main(["bench", "show", "latest", "--figure", "ttft"]) == 0
    assert "time to first token, p50 (ms), stub" in capsys.readouterr().out
    assert main(["bench", "compare", run["provenance"]["id"], "latest"]) == 0
    assert "e2e p50" in capsys.readouterr().out
    target = tmp_path / "r.html"
    assert main(["bench", "report", "latest", "--to", str(target)]) == 0
    assert target.read_text().startswith("<!doctype html>")


def test_a_long_run_is_not_begun_unasked(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["bench", "run", "--demo", "--window", "600", "--no-calibrate", "--json"]
    assert main(words) == 2
    assert "--yes" in capsys.readouterr().err
    dear = ["bench", "run", "--demo", "--json", "--usd-per-hour", "9999", *QUICK]
    assert main(dear) == 2
    assert "USD" in capsys.readouterr().err


def test_import_and_refusal(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    for name, output in (("a", 16), ("b", 128)):
        path = tmp_path / f"{name}.csv"
        path.write_text(f"concurrency,context_len,throughput,avg_latency\n1,8,{output},0.2\n")
        assert main(["bench", "import", str(path), "--output", str(output), "--model", "m"]) == 0
    text = capsys.readouterr().out
    assert "import-a-" in text
    assert "not told: accelerator, vllm_version" in text
    assert main(["bench", "import", str(path), "--output", "128", "--model", "m"]) == 0
    assert "already imported" in capsys.readouterr().out
    assert main(["bench", "compare", "import-a", "import-b"]) == 1
    assert "can't be compared" in capsys.readouterr().out
    assert main(["bench", "compare", "import-a", "import-b", "--json"]) == 1
    assert told(capsys)["refused"][0]["what"] == "output length (tokens)"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["bench", "show", "nothing"], "There is no run"),
        (["bench", "import", "/nowhere"], "can't be read"),
        (["bench", "run", "--base-url", "http://127.0.0.1:9"], "can't be reached"),
        (["bench", "plan", "--demo", "--concurrency", "0"], "must be 1 or more"),
        (["bench", "plan", "--demo", "--find", "rate"], "needs the objective"),
        (["query", "hi", "--base-url", "http://127.0.0.1:9"], "can't be reached"),
        (["metrics", "--base-url", "http://127.0.0.1:9", "--interval", "9999"], "--interval"),
        (["metrics", "--base-url", "http://127.0.0.1:9"], "gives no metrics"),
    ],
)
def test_bad_input_is_one_sentence(
    words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == 2
    captured = capsys.readouterr()
    assert said in captured.err
    assert len(captured.err.strip().splitlines()) == 1
    assert "Traceback" not in captured.err


class Served(BaseHTTPRequestHandler):
    """An endpoint whose metrics move on with every reading."""

    protocol_version = "HTTP/1.1"
    reads = 0

    def do_GET(self) -> None:
        if self.path == "/v1/models":
            body = json.dumps({"data": [{"id": "m", "max_model_len": 4096}]})
        elif self.path == "/metrics":
            type(self).reads += 1
            body = exposition(type(self).reads)
        else:
            body = ""
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, *args: Any) -> None:
        del args


def exposition(number: int) -> str:
    label = 'engine="0",model_name="m"'
    lines = [
        "# TYPE vllm:kv_cache_usage_perc gauge",
        f"vllm:kv_cache_usage_perc{{{label}}} {0.5 if number < 3 else 0.95}",
        "# TYPE vllm:generation_tokens counter",
        f"vllm:generation_tokens_total{{{label}}} {number * 100}.0",
        "# TYPE vllm:request_success counter",
        f'vllm:request_success_total{{{label},finished_reason="stop"}} {number * 10}.0',
        "# TYPE vllm:time_to_first_token_seconds histogram",
    ]
    for bound in (0.1, 0.5, math.inf):
        le = "+Inf" if math.isinf(bound) else str(bound)
        count = 0 if bound == 0.1 else number * 10
        lines.append(f'vllm:time_to_first_token_seconds_bucket{{{label},le="{le}"}} {count}.0')
    lines.append(f"vllm:time_to_first_token_seconds_count{{{label}}} {number * 10}.0")
    lines.append(f"vllm:time_to_first_token_seconds_sum{{{label}}} {number * 3}.0")
    return "\n".join(lines) + "\n"


@pytest.fixture
def server() -> Iterator[str]:
    Served.reads = 0
    http = ThreadingHTTPServer(("127.0.0.1", 0), Served)
    http.daemon_threads = True
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"http://127.0.0.1:{http.server_address[1]}"
    http.shutdown()
    thread.join()
    http.server_close()


def test_metrics_of_a_window(server: str, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["metrics", "--base-url", server, "--interval", "0.05"]
    assert main(words) == 0
    text = capsys.readouterr().out
    assert "KV cache in use          50.0%" in text
    assert "p50 300" in text  # between the bounds of 0.1 and 0.5 s
    assert "? not told, or nothing happened: running" in text


def test_metrics_watched_find_what_changes(
    server: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "slo.toml").write_text(
        '[[objective]]\nname = "fast"\nkind = "ttft"\ntarget = 0.9\nthreshold_s = 0.2\n'
    )
    words = ["metrics", "--base-url", server, "--interval", "0.05", "--watch", "--count", "3"]
    assert main([*words, "--json"]) == 1
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert len(rows) == 3
    states = [{v["id"]: v["state"] for v in row["verdicts"]} for row in rows]
    assert [one["kv-full"] for one in states] == ["ok", "found", "found"]
    assert [one["ttft"] for one in states] == ["found"] * 3  # 0.48 s at p95
    burns = rows[-1]["objectives"][0]["burns"]
    # A quarter of the bucket from 0.1 to 0.5 s is below 0.2 s: three quarters are bad.
    assert burns[0]["rate"] == pytest.approx(0.75 / 0.1)
    assert burns[0]["covered"] < 5


def test_query_prints_answer_and_figures(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import asyncio

    from tools.load.stub import Behaviour, SimulatedEndpoint
    from tools.load.stub_service import Timetable

    started, url, loop = threading.Event(), [""], asyncio.new_event_loop()
    over = asyncio.Event()

    async def serve() -> None:
        behaviour = Behaviour(service=Timetable(0.01, 0.005), reasoning_tokens=2)
        async with SimulatedEndpoint(behaviour) as server:
            url[0] = server.url
            started.set()
            await over.wait()

    thread = threading.Thread(target=lambda: loop.run_until_complete(serve()))
    thread.start()
    started.wait(5)
    try:
        words = ["query", "hello there", "--base-url", url[0], "--max-tokens", "6"]
        assert main(words) == 0
        captured = capsys.readouterr()
        assert captured.out == " word word word word\n"
        assert "first content token" in captured.err
        assert "6 out, 2 of them thinking, in 6 chunks" in captured.err
        assert main([*words, "--json"]) == 0
        found = told(capsys)
        assert found["completion_tokens"] == 6
        assert found["reasoning"] == " word word"
    finally:
        loop.call_soon_threadsafe(over.set)
        thread.join()
        loop.close()


def test_metrics_of_a_simulated_service(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["metrics", "--demo", "healthy", "--interval", "0.05"]) == 0
    assert "requests running" in capsys.readouterr().out


def test_a_sleeping_service_is_not_woken(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["metrics", "--demo", "scaled-to-zero", "--interval", "0.05", "--json"]) == 0
    assert told(capsys)["asleep"] is True
