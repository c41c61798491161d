"""The nouns that all rooms share; frozen, and free of any library.

Times are aware datetimes in UTC. Memory is in GiB (2**30 bytes) unless a name says otherwise.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import IntEnum, StrEnum
from typing import Literal

Kind = Literal["cloud-run", "tpu", "vertex", "gce", "gke", "local"]
KINDS: tuple[Kind, ...] = ("cloud-run", "tpu", "vertex", "gce", "gke", "local")

Scalar = str | int | float | bool


class Severity(IntEnum):
    """Cloud Logging's severities, with its own numbers (google.logging.type.LogSeverity)."""

    DEFAULT = 0
    DEBUG = 100
    INFO = 200
    NOTICE = 300
    WARNING = 400
    ERROR = 500
    CRITICAL = 600
    ALERT = 700
    EMERGENCY = 800


class Origin(StrEnum):
    """Who wrote a text; it decides what the text may prove.

    CALLER is text that whoever calls the endpoint controls (a prompt, a request id, a header):
    it is never evidence of a cause.
    """

    PROCESS = "process"
    PLATFORM = "platform"
    CONTROL_PLANE = "control_plane"
    CALLER = "caller"


Stream = Literal["stdout", "stderr", "system", "audit", "request", "unknown"]


@dataclass(frozen=True, slots=True)
class LogRecord:
    """One log entry in its one shape.

    ``text`` is the canonical text: secrets redacted, caller-controlled parts replaced by
    placeholders, control characters escaped. Matching, quoting and storage use only it.
    """

    ref: str  # insertId, or FILE:LINE when the source has none
    text: str
    time: datetime | None = None
    severity: Severity = Severity.DEFAULT
    severity_inferred: bool = False
    stream: Stream = "unknown"
    origin: Origin = Origin.PROCESS
    resource: str = ""  # resource type, such as cloud_run_revision
    project: str = ""
    location: str = ""
    service: str = ""
    revision: str = ""
    instance: str = ""
    status: int | None = None  # HTTP status of a request entry
    method: str = ""  # methodName of an audit entry


@dataclass(frozen=True, slots=True)
class ExceptionNote:
    """One exception of a traceback: its type, its message, and the lines that carry them.

    ``lines`` are indexes into the block's ``records``, first to last, continuations included.
    """

    type: str
    message: str
    lines: tuple[int, ...]
    frames: tuple[str, ...] = ()  # "module/path.py:function", outermost first


@dataclass(frozen=True, slots=True)
class Block:
    """One thing that was said: a line, or a whole traceback put back together.

    ``text`` has the process prefix of each line stripped, one line per record part.
    ``exceptions`` are in the order printed: of a chain, the first is where it began.
    ``copies`` counts other prints of the same traceback (another stream, another process).
    """

    kind: Literal["line", "traceback"]
    text: str
    records: tuple[LogRecord, ...]
    process: str = ""  # "EngineCore pid=119", as printed
    severity: Severity = Severity.DEFAULT
    exceptions: tuple[ExceptionNote, ...] = ()
    copies: int = 0
    complete: bool = True  # False: the log ended before the traceback did

    @property
    def first(self) -> LogRecord:
        """Return the record that the block begins with."""
        return self.records[0]


@dataclass(frozen=True, slots=True)
class Launch:
    """What a serving process printed of itself at its start.

    ``args`` are vLLM's ``non-default args``: option name with underscores → Python literal.
    ``unknown_env`` are variables that vLLM said it does not know: they had no effect.
    """

    version: str = ""
    model: str = ""
    args: Mapping[str, object] = field(default_factory=dict)
    unknown_env: tuple[str, ...] = ()
    instance: str = ""
    revision: str = ""
    args_record: LogRecord | None = None
    env_records: tuple[LogRecord, ...] = ()


@dataclass(frozen=True, slots=True)
class Failure:
    """An exception that ended a process, found behind its wrappers.

    ``fingerprint`` is stable over values, line numbers, instances and releases of a day.
    """

    fingerprint: str  # 12 hexadecimal digits
    exception: ExceptionNote
    block: Block
    wrappers: tuple[Block, ...] = ()
    launch: Launch | None = None

    @property
    def record(self) -> LogRecord:
        """Return the record with the line that names the exception."""
        return self.block.records[self.exception.lines[0]]


@dataclass(frozen=True, slots=True)
class Observation:
    """A first-hand fact: where it was read, the words verbatim, and what they mean to code.

    ``facts`` are named scalars (``docs/facts.md`` lists the names) that runbook rules test.
    """

    source: str  # logging | run | monitoring | tpu | vllm | quota | …
    ref: str
    quote: str
    time: datetime | None = None
    origin: Origin = Origin.CONTROL_PLANE
    facts: Mapping[str, Scalar] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Gap:
    """Something that could not be seen, why, and what would make it visible."""

    what: str
    why: str
    fix: str = ""

    def __str__(self) -> str:
        """Return the gap as one sentence."""
        return f"{self.what}: {self.why}" + (f"; {self.fix}" if self.fix else "")


@dataclass(frozen=True, slots=True)
class Change:
    """One field that differs between the last good revision and the failing one."""

    what: str
    before: str
    after: str
    time: datetime | None = None


@dataclass(frozen=True, slots=True)
class Probe:
    """What one probe saw, could not see, and what it cost."""

    name: str
    observations: tuple[Observation, ...] = ()
    gaps: tuple[Gap, ...] = ()
    changes: tuple[Change, ...] = ()
    records: tuple[LogRecord, ...] = ()
    calls: int = 0
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Target:
    """What is being looked after, and how it was found."""

    kind: Kind
    service: str = ""
    project: str = ""
    location: str = ""
    zone: str = ""
    url: str = ""  # without a trailing slash and without /v1
    found_by: str = ""  # "flag", "VLLM_BASE_URL", "Cloud Run service", "TPU node"


@dataclass(frozen=True, slots=True)
class Condition:
    """A condition of a service or revision, as Cloud Run reports it."""

    type: str
    state: str  # CONDITION_SUCCEEDED, CONDITION_FAILED, CONDITION_PENDING, CONDITION_RECONCILING
    reason: str = ""
    message: str = ""
    time: datetime | None = None


@dataclass(frozen=True, slots=True)
class Revision:
    """One revision of a service: what it runs, and whether it became ready."""

    name: str
    created: datetime | None = None
    ready: bool | None = None  # None: not decided yet
    conditions: tuple[Condition, ...] = ()
    image: str = ""
    args: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)  # secrets as "secret:NAME:VERSION"
    service_account: str = ""
    resources: Mapping[str, str] = field(default_factory=dict)
    accelerator: str = ""
    startup_probe: Mapping[str, int | str] = field(default_factory=dict)
    min_instances: int = 0
    max_instances: int = 0
    concurrency: int = 0
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Service:
    """A Cloud Run service: where it answers and which revisions carry its traffic."""

    name: str
    project: str
    location: str
    url: str = ""
    latest_ready: str = ""
    latest_created: str = ""
    traffic: Mapping[str, int] = field(default_factory=dict)  # revision → per cent
    conditions: tuple[Condition, ...] = ()
    reconciling: bool = False
    labels: Mapping[str, str] = field(default_factory=dict)
    min_instances: int = 0


@dataclass(frozen=True, slots=True)
class QueuedResource:
    """A request for TPU capacity, and how far it got."""

    name: str
    project: str
    zone: str
    state: str  # ACCEPTED, WAITING_FOR_RESOURCES, PROVISIONING, ACTIVE, FAILED, SUSPENDED …
    state_message: str = ""
    accelerator: str = ""
    runtime: str = ""
    tier: str = ""  # spot, guaranteed, best-effort, on-demand
    node: str = ""
    created: datetime | None = None
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Point:
    """One point of a time series."""

    time: datetime
    value: float


@dataclass(frozen=True, slots=True)
class Series:
    """A time series from Cloud Monitoring, newest point first."""

    metric: str
    labels: Mapping[str, str]
    points: tuple[Point, ...]
    unit: str = ""
