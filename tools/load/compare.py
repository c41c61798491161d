"""Compare two runs, cell by cell, if they are alike enough to be compared; say why if not.

What a comparison is about may differ: version, flags, accelerator, price, region, endpoint, the
model under its true name. What makes figures incomparable may not: the length of the answers, the
shape of the prompts, how load was offered, or figures that are not what their label says.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from tools.load.runs import Cell, Run
from tools.load.statistics import Interval, difference

if TYPE_CHECKING:
    from tools.load.statistics import Values

MIN_SUCCESS = 0.99  # below it, survivors are measured: fast failures make the rest look fast
SAME_CELLS = 0.8  # of the shared cells: more identical figures than this are one measurement
# What tells how the requests were made; None on a side means that nobody recorded it.
_SHAPE = ("kind", "ignore_eos", "thinking", "temperature")
_SUBJECT = (
    "model",
    "endpoint",
    "vllm_version",
    "accelerator",
    "accelerator_count",
    "region",
    "usd_per_hour",
    "flags",
    "max_model_len",
)


@dataclass(frozen=True, slots=True)
class Unlike:
    """One thing that differs and must not."""

    what: str
    first: Any
    second: Any
    why: str

    def __str__(self) -> str:
        """Return it as one sentence."""
        return f"{self.what}: {_shown(self.first)} against {_shown(self.second)}; {self.why}"


@dataclass(frozen=True, slots=True)
class Difference:
    """One figure of a pair of cells; ``interval`` None where single requests are not known."""

    figure: str
    unit: str
    first: float
    second: float
    interval: Interval | None

    @property
    def ratio(self) -> float | None:
        """Return the second by the first."""
        return self.second / self.first if self.first else None


@dataclass(frozen=True, slots=True)
class Pair:
    """Two like cells, and how many repeats each figure rests on."""

    label: str
    repeats: tuple[int, int]
    differences: tuple[Difference, ...]
    refused: tuple[Unlike, ...] = ()


@dataclass(frozen=True, slots=True)
class Comparison:
    """What came of comparing two runs; with ``refused``, nothing was compared."""

    first: str
    second: str
    refused: tuple[Unlike, ...]
    subject: Mapping[str, tuple[Any, Any]]  # what the comparison is about
    pairs: tuple[Pair, ...] = ()
    unmatched: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return asdict(self)


def compare(first: Run, second: Run) -> Comparison:
    """Compare the like cells of two runs, or say what makes the runs unlike."""
    refused = [*_unlike_runs(first, second)]
    subject = {
        name: (first.get(name), second.get(name))
        for name in _SUBJECT
        if first.get(name) != second.get(name)
    }
    matched, unmatched, lengths = _match(first, second)
    refused += lengths
    if not refused and not matched:
        refused.append(
            Unlike("cells", _axes(first), _axes(second), "the runs share no load and no lengths")
        )
    if refused:
        return Comparison(first.id, second.id, tuple(refused), subject)
    return Comparison(
        first.id,
        second.id,
        (),
        subject,
        tuple(_pair(one, other) for one, other in matched),
        tuple(unmatched),
    )


def _unlike_runs(first: Run, second: Run) -> list[Unlike]:
    found = []
    for run, other, place in ((first, second, 0), (second, first, 1)):
        label, model = run.get("label"), run.get("model")
        if label and model and label != model:
            pair = (model, other.get("model")) if place == 0 else (other.get("model"), model)
            found.append(
                Unlike(
                    "model",
                    *pair,
                    f"{run.id} is labelled {label!r}, but its figures are of {model!r}",
                )
            )
    same = _same_figures(first, second)
    if same and (first.get("label") != second.get("label") or first.id != second.id):
        found.append(Unlike("figures", first.get("label"), second.get("label"), same))
    mine: Mapping[str, Any] = first.get("prompts") or {}
    theirs: Mapping[str, Any] = second.get("prompts") or {}
    for name in _SHAPE:
        values = (mine.get(name), theirs.get(name))
        if values[0] != values[1]:
            why = "the prompts or the answers are of another shape"
            if name == "kind" and "identical" in values:
                why = "identical prompts are answered from the prefix cache, unique ones are not"
            found.append(Unlike(f"prompts.{name}", *values, why))
    kinds = (mine.get("kind"), theirs.get("kind"))
    if kinds == ("file", "file") and first.get("prompts_sha256") != second.get("prompts_sha256"):
        found.append(
            Unlike(
                "prompts_sha256",
                first.get("prompts_sha256"),
                second.get("prompts_sha256"),
                "the prompts are of different files",
            )
        )
    loops = (first.get("loop"), second.get("loop"))
    if loops[0] != loops[1]:
        found.append(Unlike("loop", *loops, "one keeps a number in flight, the other a rate"))
    return found


def _same_figures(first: Run, second: Run) -> str:
    if first.sha256 and first.sha256 == second.sha256:
        return ""  # a run against itself: all differences are zero, and that is right
    if first.get("file_sha256") and first.get("file_sha256") == second.get("file_sha256"):
        return "both are the same file: one measurement under two names"
    mine = {_load_key(cell): _figures(cell) for cell in first.measured}
    theirs = {_load_key(cell): _figures(cell) for cell in second.measured}
    shared = [key for key in mine.keys() & theirs.keys() if mine[key][0] > 0]
    same = sum(1 for key in shared if mine[key] == theirs[key])
    if len(shared) >= 3 and same >= SAME_CELLS * len(shared):
        return f"{same} of {len(shared)} shared cells have identical figures: one measurement twice"
    return ""


def _match(
    first: Run, second: Run
) -> tuple[list[tuple[list[Cell], list[Cell]]], list[str], list[Unlike]]:
    mine, theirs = _grouped(first), _grouped(second)
    matched = [(mine[key], theirs[key]) for key in mine if key in theirs]
    unmatched = [
        f"{_label(cells[0])} only in {run.id}"
        for run, own, others in ((first, mine, theirs), (second, theirs, mine))
        for key, cells in own.items()
        if key not in others
    ]
    outputs = [
        sorted(
            {cell.output for cell in run.measured}, key=lambda value: (value is None, value or 0)
        )
        for run in (first, second)
    ]
    lengths = []
    for run, values in zip((first, second), outputs, strict=True):
        if None in values:
            lengths.append(
                Unlike(
                    "output length",
                    outputs[0],
                    outputs[1],
                    f"{run.id} does not record how long its answers were",
                )
            )
            return [], unmatched, lengths
    if not set(outputs[0]) & set(outputs[1]):
        lengths.append(
            Unlike(
                "output length (tokens)",
                outputs[0],
                outputs[1],
                "a request of more tokens takes longer, so requests a second and latencies "
                "can't be compared",
            )
        )
    return matched, unmatched, lengths


def _pair(first: list[Cell], second: list[Cell]) -> Pair:
    refused = []
    for cells in (first, second):
        for cell in cells:
            summary = cell.summary
            assert summary is not None  # noqa: S101 - only measured cells are grouped
            rate = summary.success_rate
            if summary.invalid:
                refused.append(
                    Unlike("validity", _label(first[0]), _label(second[0]), summary.invalid[0])
                )
            elif rate is not None and rate < MIN_SUCCESS:
                refused.append(
                    Unlike(
                        "success",
                        _success(first),
                        _success(second),
                        f"below {MIN_SUCCESS:.0%} the figures are of survivors",
                    )
                )
    repeats = (len(first), len(second))
    label = _label(first[0])
    if refused:
        return Pair(label, repeats, (), tuple(dict.fromkeys(refused)))
    return Pair(label, repeats, tuple(_differences(first, second)))


def _differences(first: list[Cell], second: list[Cell]) -> list[Difference]:
    import numpy as np

    found = []

    def samples(cells: list[Cell], name: str) -> Values:
        return np.asarray([v for cell in cells for v in cell.samples.get(name, ())], dtype=float)

    def add(
        figure: str,
        unit: str,
        name: str,
        of: Callable[[Values], Values],
        told: Callable[[Any], float | None],
    ) -> None:
        one, other = samples(first, name), samples(second, name)
        if len(one) and len(other):
            interval = difference(one, other, of)
            found.append(Difference(figure, unit, float(of(one)), float(of(other)), interval))
            return
        known = [[told(cell.summary) for cell in cells] for cells in (first, second)]
        if all(value is not None and not math.isnan(value) for values in known for value in values):
            means = [float(np.mean([v for v in values if v is not None])) for values in known]
            found.append(Difference(figure, unit, means[0], means[1], None))

    for name in ("ttft", "tpot", "e2e"):
        for figure, quantile in (("p50", 0.5), ("p95", 0.95)):
            add(
                f"{name} {figure}",
                "ms",
                name,
                lambda values, q=quantile: np.quantile(values, q, axis=-1),  # type: ignore[misc]
                lambda summary, n=name, f=figure: getattr(getattr(summary, n), f, None),  # type: ignore[misc]
            )
    held = [
        float(np.mean([c.summary.concurrency_held for c in cells if c.summary]))
        for cells in (first, second)
    ]
    one, other = samples(first, "e2e"), samples(second, "e2e")
    rates = [
        float(np.mean([c.summary.requests_per_s for c in cells if c.summary]))
        for cells in (first, second)
    ]
    interval = None
    if len(one) > 1 and len(other) > 1 and min(held) > 0 and first[0].rate is None:
        # Little's law: with a number held in flight, throughput is that number by the mean time.
        by_law = difference(one * (1 / held[0]), other * (1 / held[1]), _mean_rate)
        assert by_law is not None  # noqa: S101 - both have two values
        shift = rates[1] - rates[0] - by_law.value
        interval = Interval(rates[1] - rates[0], by_law.low + shift, by_law.high + shift)
    found.append(Difference("throughput", "requests/s", rates[0], rates[1], interval))
    tokens = [
        float(np.mean([c.summary.output_tokens_per_s for c in cells if c.summary]))
        for cells in (first, second)
    ]
    if all(tokens):
        found.append(Difference("output", "tokens/s", tokens[0], tokens[1], None))
    return found


def _mean_rate(values: Values) -> Values:
    rate: Values = 1000.0 / values.mean(axis=-1)
    return rate


def _grouped(run: Run) -> dict[tuple[Any, ...], list[Cell]]:
    found: dict[tuple[Any, ...], list[Cell]] = {}
    for cell in run.measured:
        found.setdefault((*_load_key(cell)[:3], cell.output), []).append(cell)
    return found


def _load_key(cell: Cell) -> tuple[Any, ...]:
    return (cell.concurrency, cell.rate, cell.input, cell.repeat)


def _figures(cell: Cell) -> tuple[float, float | None]:
    assert cell.summary is not None  # noqa: S101 - only measured cells are asked for
    e2e = cell.summary.e2e
    return round(cell.summary.requests_per_s, 6), round(e2e.mean, 3) if e2e else None


def _success(cells: list[Cell]) -> str:
    rates = [cell.summary.success_rate for cell in cells if cell.summary]
    return ", ".join(f"{rate:.1%}" for rate in rates if rate is not None)


def _label(cell: Cell) -> str:
    return f"{cell.load} {cell.input or 'file'}→{cell.output}"


def _axes(run: Run) -> str:
    labels = [_label(cell) for cell in run.measured]
    return f"{len(labels)} cells, such as {labels[0]}" if labels else "no cells"


def _shown(value: Any) -> str:
    if value is None:
        return "not recorded"
    if isinstance(value, list):
        return ", ".join("not recorded" if one is None else str(one) for one in value)
    return str(value)
