"""Compare the sizing with measured boots, row by row.

Usage: python benchmarks/sizing.py [measured_points.csv] [--markdown]
The file's `flags` column is prose; what it says is turned into a request here, and what a row
leaves unsaid stands in ASSUMED with the reason. Nothing here feeds back into the formulas.
"""

from __future__ import annotations

import csv
import re
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from tools.sizing.accelerators import GIB, accelerator
from tools.sizing.fit import FitRequest, FitResult, fit

DEFAULT = Path(__file__).resolve().parents[2] / "shared" / "data" / "measured_points.csv"

TOKENS_EACH, TOKENS_MEAN = 0.4, 0.1  # per cent
WEIGHTS_EACH, WEIGHTS_MEAN = 3.0, 1.0
BAND = 12.0  # per cent of the card, to either side

# id → (extra flags, vLLM version): what the row implies without saying it.
ASSUMED = {
    "K6": (("--max-num-batched-tokens", "4096"), "0.25", "in-flight 4,096 before 0.26"),
    "K8": (("--max-num-batched-tokens", "4096"), "0.25", "as K6, the same machine"),
    "K10": ((), "0.25", "'same' names a row that is not here; before 0.26, batch by default"),
    "K11": (
        ("--max-num-batched-tokens", "4096", "--max-num-seqs", "8"),
        "0.22",
        "flags of the article that it comes from",
    ),
    "T7": ((), "0.32", "its 9.54 GiB are the checkpoint's size, not what a chip holds"),
}


@dataclass(frozen=True)
class Line:
    id: str
    what: str
    measured: float
    computed: float
    note: str
    ok: bool

    @property
    def error(self) -> float:
        return (self.computed / self.measured - 1) * 100 if self.measured else 0.0


def request_of(row: dict[str, str]) -> FitRequest:
    text = f"{row['flags']} {row['source'] if row['id'].startswith('E') else ''}"
    extra, version, _ = ASSUMED.get(row["id"], ((), "", ""))
    words = list(extra)
    patterns = (
        (r"\butil (0?\.\d+)", "--gpu-memory-utilization"),
        (r"\blen (\d+)", "--max-model-len"),
        (r"\bmnbt (\d+)", "--max-num-batched-tokens"),
        (r"\boffload (\d+)", "--cpu-offload-gb"),
    )
    for pattern, option in patterns:
        found = re.search(pattern, text)
        if found and option not in words:
            words += [option, found[1]]
    if re.search(r"\beager\b", f"{text} {row['accelerator']}"):
        words.append("--enforce-eager")
    if re.search(r"fp8 KV|--kv-cache-dtype fp8", text):
        words += ["--kv-cache-dtype", "fp8"]
    stated = re.search(r"\bv(0\.\d+(?:\.\d+)?(?:rc\d+)?)", f"{text} {row['accelerator']}")
    name = re.sub(r"\s+(?:g6|80GB|eager|v0\.\d\S*|\(.*)", "", row["accelerator"])
    name = {"A100": "A100-80", "24GB": "24GB GPU"}.get(name, name)
    precision = row["quant"]
    if row["id"] == "T5":
        precision = "w4a16"
    return FitRequest(
        model=row["model"],
        accelerator=name,
        precision=precision,
        count=int(row["tp"]),
        text_only="text-only" in row["flags"] or "repack" in row["flags"],
        vllm_version=version or (stated[1] if stated else "0.32"),
        flags=tuple(words),
        kv_gib=float(row["kv_gib"]) if row["metric"] == "kv_tokens" and row["kv_gib"] else None,
    )


def compare(row: dict[str, str]) -> list[Line]:
    result = fit(request_of(row), advise=False)
    found: list[Line] = []
    note = ASSUMED.get(row["id"], ((), "", ""))[2]
    if row["metric"] == "kv_tokens":
        found.append(
            _share(row, "KV tokens", row["kv_tokens"], result.capacity.tokens, TOKENS_EACH, note)
        )
    if row["weights_gib"] and row["id"] != "T7":
        held = result.memory.resident / GIB
        found.append(_share(row, "weights GiB", row["weights_gib"], held, WEIGHTS_EACH, note))
    if row["metric"] == "kv_gib":
        found.append(_kv(row, result))
    if row["metric"] == "outcome":
        fits = row["outcome"] == "fits"
        ok = result.outcome == ("fits" if fits else "oom_at_load")
        found.append(Line(row["id"], "outcome", 1, 1, f"{row['outcome']}: {result.outcome}", ok))
    if row["metric"].startswith("tok_s"):
        rate = float(row["outcome"].split()[0])
        ok = rate <= result.ceiling
        found.append(Line(row["id"], "tokens/s under", rate, result.ceiling, "ceiling", ok))
    return found


def _share(
    row: dict[str, str], what: str, measured: str, computed: float, limit: float, note: str
) -> Line:
    error = abs(computed / float(measured) - 1) * 100
    return Line(row["id"], what, float(measured), computed, note, error <= limit)


def _kv(row: dict[str, str], result: FitResult) -> Line:
    measured = float(row["kv_gib"])
    if row["outcome"] == "refuses to boot":
        need = result.need / GIB
        return Line(
            row["id"], "KV GiB of one request", measured, need, "", abs(need / measured - 1) < 0.004
        )
    band = result.memory.kv.gib()
    card = accelerator(result.plan.card.name).usable_gib
    width = (band["high"] - band["low"]) / 2 / card * 100
    inside = band["low"] - 0.005 <= measured <= band["high"] + 0.005
    note = f"band {band['low']:.2f} to {band['high']:.2f}, ±{width:.1f} % of the card"
    return Line(row["id"], "KV GiB", measured, band["expected"], note, inside and width <= BAND)


def table(path: Path) -> list[Line]:
    with path.open(newline="", encoding="utf-8") as file:
        return [line for row in csv.DictReader(file) for line in compare(row)]


def mean(lines: list[Line], what: str) -> float:
    errors = [abs(line.error) for line in lines if line.what == what]
    return sum(errors) / len(errors) if errors else 0.0


def main() -> int:
    words = [word for word in sys.argv[1:] if word != "--markdown"]
    path = Path(words[0]) if words else DEFAULT
    if not path.exists():
        print(f"{path} is not there; give the file of measured points.")
        return 0
    lines = table(path)
    markdown = "--markdown" in sys.argv
    if markdown:
        print(
            "| row | what | measured | computed | error | note | |\n|---|---|---|---|---|---|---|"
        )
    for line in lines:
        error = f"{line.error:+.2f} %" if line.what != "outcome" else ""
        measured = f"{line.measured:,.2f}" if line.what != "outcome" else ""
        computed = f"{line.computed:,.2f}" if line.what != "outcome" else ""
        cells = (
            line.id,
            line.what,
            measured,
            computed,
            error,
            line.note,
            "ok" if line.ok else "MISS",
        )
        if markdown:
            print("| " + " | ".join(cells) + " |")
        else:
            print("{:4} {:22} {:>14} {:>14} {:>9}  {:60} {}".format(*cells))
    tokens, weights = mean(lines, "KV tokens"), mean(lines, "weights GiB")
    started = time.perf_counter()
    for _ in range(200):
        fit(FitRequest("31B", "L4", "w4a16"), advise=False)
    each = (time.perf_counter() - started) / 200 * 1000
    print(f"\nKV tokens: mean error {tokens:.3f} % (target {TOKENS_MEAN}); ", end="")
    print(f"weights: mean error {weights:.3f} % (target {WEIGHTS_MEAN}); ", end="")
    missed = [line.id for line in lines if not line.ok]
    within = f"{len(lines) - len(missed)} of {len(lines)}"
    print(f"{within} within their target, missed: {missed or 'none'}")
    print(f"one fit: {each:.2f} ms")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
