"""Measure the load generator against its peers: requests a second, losses, memory, timing error.

Usage: python benchmarks/load.py [--peers BIN_DIR …] [--streams 64 512 2048] [--seconds 4] [--json]

Every client talks to the same simulated endpoint in a process of its own: it answers at once with
16 chunks and costs far less than any client. The server has core 0, the client, all its processes
together, core 1. The rate is the server's own count, from its first request to its last, so no
client's bookkeeping enters it. Peers are looked for on PATH and in each BIN_DIR (the ``bin`` of
an environment of their own): ``vllm`` (vllm bench serve), ``guidellm``, ``aiperf``, and a
``python`` that has aiohttp and uvloop, as a baseline. What is missing is said.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tools.load.calibrate import calibrate
from tools.load.event_loop import loop_name
from tools.load.httptools_response import INSTALLED as HTTPTOOLS
from tools.load.prompts import RequestShape, shipped_words

CHUNKS = 16
SERVER_CPU, CLIENT_CPU = 0, 1
ROOT = Path(__file__).resolve().parents[1]
# Requests a second that each peer was seen to do at 512 streams, to choose how many it makes.
EXPECTED = {"gemma-sre": 15_000, "aiohttp": 3_000, "vllm": 1_200, "guidellm": 120, "aiperf": 200}

AIOHTTP = """
import asyncio, json, sys, aiohttp, uvloop
url, streams, total = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
body = json.dumps({"model": "stub", "messages": [{"role": "user", "content": "hello there"}],
    "max_tokens": 16, "stream": True, "stream_options": {"include_usage": True}}).encode()
left, good = total, 0
async def slot(session):
    global left, good
    while left > 0:
        left -= 1
        chunks, ended = 0, False
        async with session.post(url + "/v1/chat/completions", data=body,
                headers={"content-type": "application/json"}) as answer:
            async for line in answer.content:
                if line.startswith(b"data: {"):
                    told = json.loads(line[6:])
                    choices = told["choices"]
                    chunks += bool(choices and choices[0]["delta"].get("content"))
                elif line.startswith(b"data: [DONE]"):
                    ended = True
        good += ended and chunks == 16
async def main():
    connector = aiohttp.TCPConnector(limit=streams)
    async with aiohttp.ClientSession(connector=connector) as session:
        await asyncio.gather(*(slot(session) for _ in range(streams)))
with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
    runner.run(main())
print(json.dumps({"good": good}))
"""

OWN = """
import asyncio, json, resource, sys
from dataclasses import asdict
from tools.config import EndpointConfig
from tools.load.cell import CellPlan
from tools.load.endpoint import load_target
from tools.load.processes import ClientProcesses
from tools.load.slots import split_slots
from tools.load.summary import summarise
url, streams, total, prompts = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
async def main():
    async with ClientProcesses(len(split_slots(streams))) as clients:
        run = await clients.run(load_target(EndpointConfig(url=url)), json.loads(prompts),
            CellPlan(slots=streams, requests=total))
        found = summarise(run)
        print(json.dumps({"good": found.succeeded, "failures": dict(found.failures),
            "ttft_p50_ms": found.ttft.p50, "ready": True}), flush=True)
        sys.stdin.readline()
asyncio.run(main())
"""


@dataclass
class Row:
    """One client at one number of streams."""

    client: str
    streams: int
    requests: int
    served: int = 0
    per_second: float = 0.0
    good: int | None = None
    ttft_p50_ms: float | None = None
    memory_mb: float | None = None
    note: str = ""


@contextlib.contextmanager
def server() -> Iterator[str]:
    """Run the endpoint that answers at once."""
    words = ["-m", "tools.load.stub_main", "--no-times", f"--cpu={SERVER_CPU}"]
    with subprocess.Popen(
        [sys.executable, *words],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env=environment(),
    ) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip()
        finally:
            process.kill()


def environment() -> dict[str, str]:
    """Return an environment in which this repository can be imported."""
    return {**os.environ, "PYTHONPATH": str(ROOT)}


def served(url: str) -> tuple[int, float]:
    """Return how many requests the server saw and in how many seconds."""
    with urllib.request.urlopen(f"{url}/served", timeout=10) as answer:
        told = json.load(answer)
    return told["served"], (told["last"] - told["first"]) / 1e9


def pinned(words: list[str]) -> list[str]:
    """Return a command that stays on the client's core."""
    return ["taskset", "-c", str(CLIENT_CPU), *words] if shutil.which("taskset") else words


def memory_of(pid: int) -> float:
    """Return the memory of a process and its descendants in MB, shared pages counted once."""
    total, waiting = 0.0, [pid]
    while waiting:
        one = waiting.pop()
        with contextlib.suppress(OSError):
            for line in Path(f"/proc/{one}/smaps_rollup").read_text().splitlines():
                if line.startswith("Pss:"):
                    total += int(line.split()[1]) * 1024 / 1e6
            for task in Path(f"/proc/{one}/task").iterdir():
                waiting += [int(child) for child in (task / "children").read_text().split()]
    return total


def own(url: str, row: Row) -> None:
    """Run this project's client and read its memory while it holds every record."""
    prompts = {
        "shape": asdict(RequestShape("stub", CHUNKS)),
        "seed": "benchmark",
        "vocabulary": shipped_words(),
        "words": 16,
    }
    words = [sys.executable, "-c", OWN, url, str(row.streams), str(row.requests)]
    with subprocess.Popen(
        pinned([*words, json.dumps(prompts)]),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env=environment(),
    ) as process:
        assert process.stdout is not None
        told = json.loads(process.stdout.readline())
        row.memory_mb = memory_of(process.pid)
        process.communicate("\n")
    row.good, row.ttft_p50_ms = told["good"], told["ttft_p50_ms"]


def aiohttp(url: str, row: Row, python: str) -> None:
    """Run the baseline: aiohttp with uvloop, every chunk parsed by json."""
    words = [python, "-c", AIOHTTP, url, str(row.streams), str(row.requests)]
    row.good = json.loads(call(words))["good"]


def vllm(url: str, row: Row, program: str) -> None:
    """Run ``vllm bench serve``."""
    with tempfile.TemporaryDirectory() as folder:
        words = [
            program, "bench", "serve", "--backend", "openai-chat", "--base-url", url,
            "--endpoint", "/v1/chat/completions", "--model", "stub",
            "--tokenizer", tokenizer(program, folder), "--dataset-name", "random",
            "--random-input-len", "16", "--random-output-len", str(CHUNKS),
            "--num-prompts", str(row.requests), "--max-concurrency", str(row.streams),
            "--save-result", "--result-dir", folder, "--result-filename", "r.json",
            "--disable-tqdm",
        ]  # fmt: skip
        call(words)
        told = json.loads((Path(folder) / "r.json").read_text())
    row.good, row.ttft_p50_ms = told["completed"], told["median_ttft_ms"]


def guidellm(url: str, row: Row, program: str) -> None:
    """Run guidellm."""
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "data.jsonl"
        lines = (json.dumps({"prompt": f"hello there {n}"}) for n in range(row.requests))
        data.write_text("\n".join(lines))
        words = [
            program, "run", "--backend", f"kind=openai_http,target={url},model=stub",
            "--profile", f"kind=concurrent,streams={row.streams}",
            "--constraint", f"kind=max_requests,count={row.requests}",
            "--data", f"kind=json_file,path={data}",
            "--tokenizer", f"kind=huggingface_auto,model={tokenizer(program, folder)}",
            "--output", f"kind=json,path={folder}/r.json", "--disable-console",
        ]  # fmt: skip
        call(words)
        told = json.loads((Path(folder) / "r.json").read_text())["benchmarks"][0]["metrics"]
    row.good = told["request_totals"]["successful"]
    row.ttft_p50_ms = told["time_to_first_token_ms"]["successful"]["median"]


def aiperf(url: str, row: Row, program: str) -> None:
    """Run aiperf."""
    with tempfile.TemporaryDirectory() as folder:
        words = [
            program, "profile", "-m", "stub", "--url", url, "--endpoint-type", "chat",
            "--streaming", "--concurrency", str(row.streams),
            "--request-count", str(row.requests), "--tokenizer", tokenizer(program, folder),
            "--use-server-token-count", "--synthetic-input-tokens-mean", "16",
            "--output-tokens-mean", str(CHUNKS), "--ui", "none", "--artifact-dir", folder,
        ]  # fmt: skip
        call(words)
        told = json.loads((Path(folder) / "profile_export_aiperf.json").read_text())
    row.good = int(told["request_count"]["avg"])
    row.ttft_p50_ms = told["time_to_first_token"]["p50"]


def tokenizer(program: str, folder: str) -> str:
    """Make a tokenizer of whole words with the peer's own libraries, so that none is fetched."""
    code = (
        "import sys; from tokenizers import Tokenizer, models, pre_tokenizers\n"
        "from transformers import PreTrainedTokenizerFast as Fast\n"
        "words = sys.argv[2].split(); table = {w: i for i, w in enumerate([*words, '[UNK]'])}\n"
        "one = Tokenizer(models.WordLevel(table, unk_token='[UNK]'))\n"
        "one.pre_tokenizer = pre_tokenizers.Whitespace()\n"
        "Fast(tokenizer_object=one, unk_token='[UNK]').save_pretrained(sys.argv[1])\n"
    )
    target = str(Path(folder) / "tokenizer")
    call([str(Path(program).with_name("python")), "-c", code, target, " ".join(shipped_words())])
    return target


def call(words: list[str]) -> str:
    """Run a peer on the client's core and return its output; raises RuntimeError."""
    done = subprocess.run(
        pinned(words), capture_output=True, text=True, timeout=300, check=False, cwd="/"
    )
    if done.returncode:
        last = (done.stderr or done.stdout).strip().splitlines()[-1:]
        raise RuntimeError(last[0][:160] if last else f"exit {done.returncode}")
    return done.stdout.strip().splitlines()[-1] if done.stdout.strip() else ""


def find_peers(folders: list[str]) -> tuple[dict[str, str], list[str]]:
    """Return the peers that are installed, and the names of those that are not."""
    path = os.pathsep.join([*folders, os.environ.get("PATH", "")])
    found = {}
    for name in ("vllm", "guidellm", "aiperf"):
        if program := shutil.which(name, path=path):
            found[name] = program
    for python in [*(str(Path(one) / "python") for one in folders), sys.executable]:
        probe = subprocess.run([python, "-c", "import aiohttp, uvloop"], capture_output=True)
        if probe.returncode == 0:
            found["aiohttp"] = python
            break
    return found, [name for name in ("vllm", "guidellm", "aiperf", "aiohttp") if name not in found]


def measure(client: str, program: str, streams: int, seconds: float) -> Row:
    """Run one client against a server of its own."""
    count = max(streams * 2, int(EXPECTED[client] * seconds))
    row = Row(client, streams, count)
    runners: dict[str, Any] = {
        "vllm": vllm,
        "guidellm": guidellm,
        "aiperf": aiperf,
        "aiohttp": aiohttp,
    }
    with server() as url:
        try:
            if client == "gemma-sre":
                own(url, row)
            else:
                runners[client](url, row, program)
        except (RuntimeError, subprocess.TimeoutExpired, OSError, KeyError, ValueError) as error:
            row.note = f"failed: {error}"[:160]
        row.served, elapsed = served(url)
        row.per_second = row.served / elapsed if elapsed > 0 else 0.0
    return row


def main() -> int:
    """Run everything and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--peers", nargs="*", default=[], metavar="BIN_DIR")
    parser.add_argument("--streams", nargs="*", type=int, default=[64, 512, 2048])
    parser.add_argument("--seconds", type=float, default=4.0, help="that a client should take")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    peers, missing = find_peers(args.peers)
    rows: list[Row] = []
    began = time.monotonic()
    for streams in args.streams:
        for client, program in {"gemma-sre": "", **peers}.items():
            rows.append(measure(client, program, streams, args.seconds))
            if not args.json:
                show(rows[-1], rows)
    errors = [asyncio.run(calibrate(streams, seconds=3.0)) for streams in (64, 512)]
    told = {
        "client": {"event_loop": loop_name(), "http": "httptools" if HTTPTOOLS else "own"},
        "missing": missing,
        "rows": [asdict(row) for row in rows],
        "timing_error": [error.to_json() for error in errors],
        "load_average": os.getloadavg(),
        "seconds": round(time.monotonic() - began, 1),
    }
    if args.json:
        print(json.dumps(told))
        return 0
    print(f"our client: {loop_name()}, {told['client']['http']}")  # type: ignore[index]
    print(f"not installed here: {', '.join(missing) or 'none'}")
    for error in errors:
        print(
            f"timing error, {error.streams} streams: first token p50 {error.ttft.p50:.3f} "
            f"p99 {error.ttft.p99:.3f} ms, gap p50 {error.gap.p50:.3f} p99 {error.gap.p99:.3f} ms"
        )
    print(f"load average {os.getloadavg()[0]:.1f}; {told['seconds']} s")
    return 0


def show(row: Row, rows: list[Row]) -> None:
    """Print one row, with how many times as fast our client was."""
    ours = next((r for r in rows if r.client == "gemma-sre" and r.streams == row.streams), row)
    ratio = ours.per_second / row.per_second if row.per_second else 0.0
    if row is rows[0]:
        print("client     streams requests  served    good     req/s   ours/it  TTFT p50  memory")
    good = "" if row.good is None else str(row.good)
    ttft = "" if row.ttft_p50_ms is None else f"{row.ttft_p50_ms:.1f} ms"
    memory = "" if row.memory_mb is None else f"{row.memory_mb:.0f} MB"
    print(
        f"{row.client:<10} {row.streams:>7} {row.requests:>8} {row.served:>7} {good:>7} "
        f"{row.per_second:>9.0f} {ratio:>8.1f}× {ttft:>10} {memory:>7} {row.note}",
        flush=True,
    )


if __name__ == "__main__":
    sys.exit(main())
