"""What a log says of the lives of processes: starts, phases, readiness, exits.

Only the platform can say how a container ended or what its probe saw; only a process can say how
it was started. Wordings: vLLM 0.8 to 0.32, uvicorn, Cloud Run's system log.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from tools.domain import Block, Launch, LogRecord, Origin
from tools.logs.launch_args import parse_args
from tools.logs.ordering import order_of

PhaseName = Literal[
    "arguments", "engine", "weights", "loaded", "kv_cache", "graphs", "ready", "shutdown"
]
MAX_STARTS = 512
MAX_ENV = 200

_EXIT = re.compile(r"Container called exit\((\d{1,9})\)")
_SIGNAL = re.compile(r"(?:Container terminated on signal|Uncaught signal:?) (\d{1,3})")
_MEMORY = re.compile(r"Memory limit of .{1,60} exceeded")
_PROBE = re.compile(r"(STARTUP|LIVENESS|READINESS) (HTTP|TCP|GRPC) probe (failed|succeeded)")
_PROBE_MESSAGE = re.compile(
    r"failed the configured startup probe checks|failed to start and listen on the port"
)
_NEW_INSTANCE = "Starting new instance"
_BANNER = re.compile(r"█.*\b(version|model)\s+(\S.*?)\s*$")
_SHARDS = re.compile(r"Loading .{0,60}?(?:shards|weights)[^%]{0,40}?(\d{1,3})% ?(?:Completed)?")
_ENGINE = re.compile(r"Initializing an? (?:V1 )?LLM engine \(v?([^)\s]{1,60})\)")


@dataclass(frozen=True, slots=True)
class Phase:
    """A phase of a start, and the record that says that it was reached."""

    name: PhaseName
    record: LogRecord


@dataclass(frozen=True, slots=True)
class Ending:
    """How the platform says that a container ended."""

    record: LogRecord
    exit_code: int | None = None
    signal: int | None = None
    memory: bool = False

    @property
    def is_failure(self) -> bool:
        """Return whether it was more than an orderly stop."""
        return self.memory or self.exit_code not in (None, 0) or self.signal not in (None, 15)


@dataclass(slots=True)
class Start:
    """One start of a server: what it was started with and how far it came."""

    instance: str
    revision: str
    order: float
    version: str = ""
    model: str = ""
    args: dict[str, object] = field(default_factory=dict)
    args_record: LogRecord | None = None
    unknown_env: list[str] = field(default_factory=list)
    env_records: list[LogRecord] = field(default_factory=list)
    phases: list[Phase] = field(default_factory=list)
    ready: LogRecord | None = None
    percent: int | None = None
    percent_record: LogRecord | None = None
    launched: bool = False  # the process itself was heard

    @property
    def launch(self) -> Launch:
        """Return the start as the other rooms know it."""
        return Launch(
            version=self.version,
            model=self.model,
            args=dict(self.args),
            unknown_env=tuple(self.unknown_env),
            instance=self.instance,
            revision=self.revision,
            args_record=self.args_record,
            env_records=tuple(self.env_records),
        )

    def reached(self, *names: PhaseName) -> LogRecord | None:
        """Return the record of the last of these phases that was reached."""
        return next((p.record for p in reversed(self.phases) if p.name in names), None)


class Lifecycle:
    """Follow starts and endings from blocks as they come."""

    def __init__(self) -> None:
        self.endings: list[Ending] = []
        self.probe_failed: LogRecord | None = None
        self._current: OrderedDict[str, Start] = OrderedDict()
        self._starts: list[Start] = []
        self._handlers: dict[str, Callable[[str, Block], bool]] = {
            "non-default": self._arguments,
            "args:": self._arguments,
            "vLLM": self._server_version,
            "Unknown": self._unknown_env,
            "INFO:": self._uvicorn,
            "Application": self._uvicorn,
            "Starting": self._starting,
            "Initializing": self._engine,
            "Loading": self._loading,
            "Model": self._loaded,
            "GPU": self._kv_cache,
            "CPU": self._kv_cache,
            "TPU": self._kv_cache,
            "Available": self._kv_cache,
            "Graph": self._graphs,
            "Capturing": self._graphs,
            "[shutdown]": lambda _, block: self._phase("shutdown", block),
        }

    @property
    def starts(self) -> tuple[Start, ...]:
        """Return the starts, oldest first."""
        return tuple(sorted(self._starts, key=lambda start: start.order))

    @property
    def launches(self) -> tuple[Launch, ...]:
        """Return what the processes printed of themselves, oldest first."""
        return tuple(start.launch for start in self.starts if start.launched)

    @property
    def newest(self) -> Start | None:
        """Return the newest start."""
        return max(self._starts, key=lambda start: start.order, default=None)

    def add(self, block: Block) -> bool:
        """Take the next block; return whether it told something."""
        if block.kind != "line":
            return False
        record = block.first
        if record.origin is Origin.PROCESS:
            text = block.text
            handler = self._handlers.get(text.partition(" ")[0])
            if handler is not None:
                return handler(text, block)
            return "█" in text and self._banner(text, block)
        if record.origin is Origin.PLATFORM:
            return self._platform(record)
        if record.origin is Origin.CONTROL_PLANE and _PROBE_MESSAGE.search(record.text):
            self._note_probe(record)
            return True
        return False

    def _start(self, block: Block, *, fresh: bool = False) -> Start:
        record = block.first
        start = self._current.get(record.instance)
        if start is None or fresh:
            start = Start(record.instance, record.revision, order_of(record))
            self._current[record.instance] = start
            self._starts.append(start)
            if len(self._starts) > MAX_STARTS:
                gone = self._starts.pop(0)
                if self._current.get(gone.instance) is gone:
                    del self._current[gone.instance]
        if not start.revision:
            start.revision = record.revision
        return start

    def _process_start(self, block: Block, *, fresh: bool = False) -> Start:
        start = self._start(block, fresh=fresh)
        start.launched = True
        return start

    def _platform(self, record: LogRecord) -> bool:
        text = record.text
        if text.startswith(_NEW_INSTANCE):
            self._start(Block("line", text, (record,)), fresh=True)
            return True
        code, signal = _EXIT.match(text), _SIGNAL.match(text)
        memory = _MEMORY.match(text) is not None
        if code or signal or memory:
            ending = Ending(
                record, int(code[1]) if code else None, int(signal[1]) if signal else None, memory
            )
            self.endings.append(ending)
            del self.endings[:-MAX_STARTS]
            return True
        probe = _PROBE.search(text, 0, 512)
        if probe is not None:
            if probe[3] == "succeeded":
                start = self._start(Block("line", text, (record,)))
                if probe[1] == "STARTUP":
                    self._note_ready(start, record)
            elif probe[1] == "STARTUP":
                self._note_probe(record)
            return True
        if _PROBE_MESSAGE.search(text, 0, 2048):
            self._note_probe(record)
            return True
        return False

    def _note_probe(self, record: LogRecord) -> None:
        if self.probe_failed is None or order_of(self.probe_failed) <= order_of(record):
            self.probe_failed = record

    def _note_ready(self, start: Start, record: LogRecord) -> None:
        start.ready = record
        start.phases.append(Phase("ready", record))

    def _banner(self, text: str, block: Block) -> bool:
        match = _BANNER.search(text, 0, 512)
        if match is None:
            return False
        start = self._current.get(block.first.instance)
        begins = match[1] == "version" and (start is None or bool(start.version or start.args))
        start = self._process_start(block, fresh=begins and start is not None and start.launched)
        if match[1] == "version":
            start.version = match[2]
        else:
            start.model = match[2]
        return True

    def _server_version(self, text: str, block: Block) -> bool:
        if not text.startswith("vLLM API server version "):
            return False
        known = self._current.get(block.first.instance)
        start = self._process_start(block, fresh=known is not None and known.launched)
        start.version = text.rpartition(" ")[2]
        return True

    def _arguments(self, text: str, block: Block) -> bool:
        head, mark, body = text.partition("args: ")
        if not mark or head not in ("non-default ", ""):
            return False
        args = parse_args(body)
        if not args and body.strip() != "{}":
            return False
        known = self._current.get(block.first.instance)
        start = self._process_start(
            block, fresh=known is not None and known.args_record is not None
        )
        start.args, start.args_record = args, block.first
        model = args.get("model") or args.get("model_tag")
        if not start.model and isinstance(model, str):
            start.model = model
        start.phases.append(Phase("arguments", block.first))
        return True

    def _unknown_env(self, text: str, block: Block) -> bool:
        name = text.removeprefix("Unknown vLLM environment variable detected: ")
        if name == text:
            return False
        start = self._process_start(block)
        name = name.split(" ", 1)[0].strip(".,")
        if name not in start.unknown_env and len(start.unknown_env) < MAX_ENV:
            start.unknown_env.append(name)
            start.env_records.append(block.first)
        return True

    def _uvicorn(self, text: str, block: Block) -> bool:
        words = text.removeprefix("INFO:").strip()
        if words == "Application startup complete.":
            self._note_ready(self._process_start(block), block.first)
            return True
        if words in ("Shutting down", "Application shutdown complete."):
            return self._phase("shutdown", block)
        return False

    def _starting(self, text: str, block: Block) -> bool:
        if text.startswith(("Starting vLLM server on ", "Starting vLLM API server")):
            self._note_ready(self._process_start(block), block.first)
            return True
        if text.startswith("Starting to load model "):
            return self._phase("weights", block)
        return False

    def _engine(self, text: str, block: Block) -> bool:
        match = _ENGINE.match(text)
        if match is None:
            return False
        start = self._process_start(block)
        start.version = start.version or match[1]
        return self._phase("engine", block)

    def _loading(self, text: str, block: Block) -> bool:
        if text.startswith("Loading weights took "):
            return self._phase("loaded", block)
        match = _SHARDS.match(text)
        if match is None:
            return False
        start = self._process_start(block)
        start.percent, start.percent_record = min(int(match[1]), 100), block.first
        if start.reached("weights") is None:
            start.phases.append(Phase("weights", block.first))
        return True

    def _loaded(self, text: str, block: Block) -> bool:
        return text.startswith("Model loading took ") and self._phase("loaded", block)

    def _kv_cache(self, text: str, block: Block) -> bool:
        return "KV cache" in text[:40] and self._phase("kv_cache", block)

    def _graphs(self, text: str, block: Block) -> bool:
        return text.startswith(("Graph capturing", "Capturing ")) and self._phase("graphs", block)

    def _phase(self, name: PhaseName, block: Block) -> bool:
        start = self._process_start(block)
        if not start.phases or start.phases[-1].name != name:
            start.phases.append(Phase(name, block.first))
            del start.phases[:-100]
        return True
