"""From the records of a cell to its figures: latency, throughput, goodput, and how far to trust it.

Times are in milliseconds, rates in a second. What counts is what was due inside the window; a
request that failed counts as attempted, never as measured.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from tools.load.cell import CellRun
from tools.load.records import MICROSECOND, NS, Outcome, Records
from tools.load.statistics import Distribution, describe

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

MAX_CLIENT_CPU = 0.70  # of a core: above it the client's own queueing shows in the times
MAX_LATE = 0.25  # seconds that the client's loop may be behind its timer
MAX_CLOCK_JUMP = 1.0  # seconds
_MS = 1_000_000  # nanoseconds
_BLOCK = 2**20  # chunks that are looked at together


@dataclass(frozen=True, slots=True)
class Slo:
    """What a request must keep to count as good, in milliseconds; None: no bound."""

    ttft: float | None = None
    tpot: float | None = None
    e2e: float | None = None

    def __bool__(self) -> bool:
        return any(bound is not None for bound in (self.ttft, self.tpot, self.e2e))


@dataclass(frozen=True, slots=True)
class CellSummary:
    """The figures of one cell; None where nothing was measured.

    ``ttft`` is to the first token of either kind, from when the request was sent;
    ``ttft_scheduled`` from when it was due, so that waiting for a slot is not hidden.
    ``chunk_gap`` is between arrivals of chunks with text; ``tpot`` is per token and request: time
    from first to last token, by the tokens after the first. They differ where a chunk carries
    several tokens.
    """

    seconds: float
    attempted: int
    succeeded: int
    stopped: int
    failures: Mapping[str, int]
    ttft: Distribution | None
    ttft_scheduled: Distribution | None
    ttft_reasoning: Distribution | None
    ttft_content: Distribution | None
    chunk_gap: Distribution | None
    tpot: Distribution | None
    e2e: Distribution | None
    tokens_per_chunk: float | None
    requests_per_s: float
    output_tokens_per_s: float
    prompt_tokens_per_s: float
    good: int | None  # None: no SLO was given
    goodput_per_s: float | None
    goodput_share: float | None  # of the attempted
    concurrency_held: float
    send_delay_p99: float | None  # ms from due to sent
    client_cpu: float
    processes: int
    invalid: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    finish_reasons: Mapping[str, int] = field(default_factory=dict)
    prompt_tokens: Distribution | None = None
    completion_tokens: Distribution | None = None
    details: tuple[str, ...] = ()

    @property
    def success_rate(self) -> float | None:
        """Return the share of the attempted requests that succeeded."""
        return self.succeeded / self.attempted if self.attempted else None

    def to_json(self) -> dict[str, Any]:
        """Return the figures as JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, told: Mapping[str, Any]) -> CellSummary:
        """Return the figures of ``to_json``; raises TypeError or KeyError for other JSON."""
        values = dict(told)
        for name in _DISTRIBUTIONS:
            if values.get(name) is not None:
                values[name] = Distribution.from_json(values[name])
        for name in ("concurrency_held", "client_cpu"):
            if values.get(name) is None:  # NaN has no JSON
                values[name] = math.nan
        for name in ("invalid", "notes", "details"):
            values[name] = tuple(values.get(name, ()))
        return cls(**values)


_DISTRIBUTIONS = (
    "ttft",
    "ttft_scheduled",
    "ttft_reasoning",
    "ttft_content",
    "chunk_gap",
    "tpot",
    "e2e",
    "prompt_tokens",
    "completion_tokens",
)


@dataclass(slots=True)
class Columns:
    """The records as arrays; times in nanoseconds, as in Records."""

    scheduled: NDArray[np.int64]
    sent: NDArray[np.int64]
    first: NDArray[np.int64]  # of either kind; 0: none
    reasoning: NDArray[np.int64]
    content: NDArray[np.int64]
    last: NDArray[np.int64]
    done: NDArray[np.int64]
    prompt: NDArray[np.int64]
    completion: NDArray[np.int64]
    outcome: NDArray[np.int64]
    offsets: NDArray[np.uint32]  # microseconds from sent to each chunk, of all requests in a row
    owner: NDArray[np.int32]  # which request each chunk belongs to

    @property
    def ok(self) -> NDArray[np.bool_]:
        """Return which requests succeeded."""
        found: NDArray[np.bool_] = self.outcome == int(Outcome.OK)
        return found

    def ttft(self) -> NDArray[np.float64]:
        """Return milliseconds to the first token, NaN where none came."""
        return _since(self.first, self.sent)

    def tpot(self) -> NDArray[np.float64]:
        """Return milliseconds per token after the first, NaN where there is no second."""
        import numpy as np

        tokens = self.completion - 1
        rated = (tokens > 0) & (self.first > 0) & (self.last >= self.first)
        return np.where(rated, (self.last - self.first) / _MS / np.maximum(tokens, 1), np.nan)

    def e2e(self) -> NDArray[np.float64]:
        """Return milliseconds from being sent to the end."""
        return _since(self.done, self.sent)

    def gaps(self, chosen: NDArray[np.bool_]) -> NDArray[np.float32]:
        """Return milliseconds between the chunks of the chosen requests."""
        import numpy as np

        if len(self.owner) < 2:
            return np.zeros(0, np.float32)
        same = (self.owner[1:] == self.owner[:-1]) & chosen[self.owner[1:]]
        # Offsets rise within a request, so the difference of unsigned numbers is right there.
        found: NDArray[np.float32] = np.diff(self.offsets)[same] / np.float32(1000)
        return found

    def chunks_between(self, start: int, end: int) -> NDArray[np.int64]:
        """Return how many chunks of each request arrived between two times."""
        import numpy as np

        found = np.zeros(len(self.sent), np.int64)
        for first in range(0, len(self.owner), _BLOCK):  # a million requests have many chunks
            owner = self.owner[first : first + _BLOCK]
            times = self.sent[owner] + self.offsets[first : first + _BLOCK].astype(np.int64) * (
                MICROSECOND
            )
            inside = owner[(times >= start) & (times <= end)]
            found += np.bincount(inside, minlength=len(found))
        return found


def columns(records: Records) -> Columns:
    """Return the records as arrays."""
    import numpy as np

    def of(name: str) -> NDArray[np.int64]:
        return np.asarray(getattr(records, name)).astype(np.int64)

    reasoning, content = of("first_reasoning"), of("first_content")
    first = np.where(reasoning == 0, content, reasoning)
    both = (reasoning > 0) & (content > 0)
    first = np.where(both, np.minimum(reasoning, content), first)
    counts = of("chunk_count")
    owner = np.repeat(np.arange(len(counts), dtype=np.int32), counts)
    return Columns(
        scheduled=of("scheduled"),
        sent=of("sent"),
        first=first,
        reasoning=reasoning,
        content=content,
        last=of("last_token"),
        done=of("done"),
        prompt=of("prompt_tokens"),
        completion=of("completion_tokens"),
        outcome=of("outcome"),
        offsets=np.asarray(records.chunks),
        owner=owner,
    )


def summarise(run: CellRun, slo: Slo | None = None) -> CellSummary:
    """Return the figures of a cell."""
    import numpy as np

    data = columns(run.records)
    ended = data.outcome != int(Outcome.STOPPED)
    due = (data.scheduled >= run.start) & (data.scheduled < max(run.end, run.start + 1))
    if run.end <= run.start:
        due = data.scheduled >= run.start
    counted = due & ended
    ok = counted & data.ok
    codes, numbers = np.unique(data.outcome[counted & ~data.ok], return_counts=True)
    ttft, tpot, e2e = data.ttft(), data.tpot(), data.e2e()
    scheduled = _since(data.first, data.scheduled)
    chunk_counts = np.bincount(data.owner, minlength=len(ok)) if len(ok) else np.zeros(0, int)
    out_tokens, in_tokens, finished = _throughput(data, run, chunk_counts)
    good = _good(slo, ok, scheduled, tpot, _since(data.done, data.scheduled)) if slo else None
    attempted, succeeded = int(counted.sum()), int(ok.sum())
    chunks = int(chunk_counts[ok].sum()) if len(ok) else 0
    finishes = np.asarray(run.records.finish)
    delay = ((data.sent - data.scheduled)[counted] / _MS) if attempted else np.zeros(0)
    held = _held(data, run)
    return CellSummary(
        seconds=run.seconds,
        attempted=attempted,
        succeeded=succeeded,
        stopped=int((due & ~ended).sum()),
        failures={
            Outcome(int(code)).label: int(number)
            for code, number in zip(codes, numbers, strict=True)
        },
        ttft=_of(ttft, ok),
        ttft_scheduled=_of(scheduled, ok),
        ttft_reasoning=_of(_since(data.reasoning, data.sent), ok),
        ttft_content=_of(_since(data.content, data.sent), ok),
        chunk_gap=describe(data.gaps(ok)),
        tpot=_of(tpot, ok),
        e2e=_of(e2e, ok),
        tokens_per_chunk=float(data.completion[ok].sum() / chunks) if chunks else None,
        requests_per_s=finished / run.seconds,
        output_tokens_per_s=out_tokens / run.seconds,
        prompt_tokens_per_s=in_tokens / run.seconds,
        good=good,
        goodput_per_s=None if good is None else good / run.seconds,
        goodput_share=None if good is None or not attempted else good / attempted,
        concurrency_held=held,
        send_delay_p99=float(np.quantile(delay, 0.99)) if attempted else None,
        client_cpu=run.cpu,
        processes=run.processes,
        invalid=_invalid(run),
        notes=_notes(run, succeeded),
        finish_reasons={
            reason: int(((finishes == code) & ok).sum())
            for code, reason in enumerate(run.records.finishes)
            if reason and ((finishes == code) & ok).any()
        },
        prompt_tokens=_of(data.prompt.astype(float), ok),
        completion_tokens=_of(data.completion.astype(float), ok),
        details=_details(run.records),
    )


def _throughput(
    data: Columns, run: CellRun, chunk_counts: NDArray[np.int64]
) -> tuple[float, float, float]:
    """Return output tokens, prompt tokens and requests that belong to the window.

    A request that runs across an edge of the window counts with the share of its chunks, or of
    its time, that lies inside, so a long answer is neither lost nor counted whole.
    """
    import numpy as np

    if not len(data.ok):
        return 0.0, 0.0, 0.0
    within = data.chunks_between(run.start, run.end)
    share = np.where(chunk_counts > 0, within / np.maximum(chunk_counts, 1), 0.0)
    ok = data.ok
    begun = ok & (data.first >= run.start) & (data.first <= run.end)
    low, high = np.maximum(data.sent, run.start), np.minimum(data.done, run.end)
    part = np.maximum(high - low, 0) / np.maximum(data.done - data.sent, 1)
    return (
        float((data.completion * share)[ok].sum()),
        float(data.prompt[begun].sum()),
        float(part[ok].sum()),
    )


def _good(
    slo: Slo,
    ok: NDArray[np.bool_],
    ttft: NDArray[np.float64],
    tpot: NDArray[np.float64],
    e2e: NDArray[np.float64],
) -> int:
    import numpy as np

    good = ok.copy()
    for bound, values in ((slo.ttft, ttft), (slo.tpot, tpot), (slo.e2e, e2e)):
        if bound is not None:
            # An answer of one token has no time per further token, and can't break its bound.
            good &= np.isnan(values) | (values <= bound) if values is tpot else values <= bound
    return int(good.sum())


def _held(data: Columns, run: CellRun) -> float:
    import numpy as np

    low = np.maximum(data.sent, run.start)
    high = np.minimum(np.where(data.done == 0, run.end, data.done), run.end)
    return float(np.maximum(high - low, 0).sum() / NS / run.seconds) if len(low) else 0.0


def _invalid(run: CellRun) -> tuple[str, ...]:
    found = []
    if run.cpu > MAX_CLIENT_CPU:
        found.append(f"the client used {run.cpu:.0%} of a core, above {MAX_CLIENT_CPU:.0%}")
    if run.late > MAX_LATE:
        found.append(f"the client was held up for {run.late:.2f} s")
    return tuple(found)


def _notes(run: CellRun, succeeded: int) -> tuple[str, ...]:
    found = []
    if run.stopped:
        found.append("stopped before its end")
    if abs(run.clock_jump) > MAX_CLOCK_JUMP:
        found.append(
            f"the wall clock moved by {run.clock_jump:+.1f} s; times are of the monotonic clock"
        )
    if 0 < succeeded < 100:
        found.append(f"{succeeded} successes: p99 is about the largest value")
    return tuple(found)


def _details(records: Records) -> tuple[str, ...]:
    if not records.details:
        return ()
    from tools.logs.canonical import canonical_text

    # What a server says in an error is foreign text.
    seen = dict.fromkeys(
        f"{Outcome(code).label}: {canonical_text(text)[:160]}" for code, text in records.details
    )
    return tuple(seen)[:5]


def _since(later: NDArray[np.int64], earlier: NDArray[np.int64]) -> NDArray[np.float64]:
    import numpy as np

    return np.where(later > 0, (later - earlier) / _MS, np.nan)


def _of(values: NDArray[np.float64], chosen: NDArray[np.bool_]) -> Distribution | None:
    import numpy as np

    picked = values[chosen]
    return describe(picked[~np.isnan(picked)])
