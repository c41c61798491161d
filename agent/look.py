"""One look at the target: probes and log files in, findings out; every read is harmless.

A look lives in memory only. A turn that resumes in a new process looks again.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime

from agent.evidence import EvidenceList
from agent.verdict import Findings, Lives
from runbooks.catalog import Catalog
from runbooks.match import Matcher
from tools.config import CloudConfig, EndpointConfig
from tools.domain import Change, Gap, LogRecord, Observation, Probe, Target
from tools.logs.digest import LogDigest

OnProbe = Callable[[str, str, Probe | None], None]  # name, state, probe when it ended


@dataclass(slots=True)
class Look:
    """What has been seen so far of one target."""

    target: Target
    catalog: Catalog
    observations: list[Observation] = field(default_factory=list)
    gaps: list[Gap] = field(default_factory=list)
    changes: list[Change] = field(default_factory=list)
    evidence: EvidenceList = field(default_factory=EvidenceList)
    records: list[LogRecord] = field(default_factory=list)
    cloud_calls: int = 0
    _read: tuple[LogDigest, Matcher] | None = None

    def add_probe(self, probe: Probe) -> None:
        """Take in what one probe saw."""
        self.observations.extend(probe.observations)
        self.gaps.extend(probe.gaps)
        self.changes.extend(probe.changes)
        self.cloud_calls += probe.calls
        known = {record.ref for record in self.records}
        fresh = [record for record in probe.records if record.ref not in known]
        if fresh:
            self.records.extend(fresh)
            self._read = None  # read again, in order, when findings are asked for

    def read(self, records: Iterable[LogRecord]) -> LogDigest:
        """Run records, oldest first, once through reassembly, lifecycle and matching."""
        matcher = Matcher(self.catalog, platform=self.target.kind)
        digest = LogDigest(on_block=matcher.add)
        for record in records:
            digest.add(record)
        digest.finish()
        self._read = (digest, matcher)
        return digest

    def findings(self) -> Findings:
        """Return everything seen so far, matched against the runbooks."""
        if self._read is None:
            self.read(sorted(self.records, key=_by_time))
        digest, matcher = self._read or (LogDigest(), Matcher(self.catalog))
        observations = (*self.observations, *digest.observations())
        launch = digest.launches[-1] if digest.launches else None
        return Findings(
            target=self.target,
            observations=observations,
            gaps=tuple(dict.fromkeys(self.gaps)),
            changes=tuple(self.changes),
            matches=matcher.finish(observations, launch),
            failures=digest.failures,
            cloud_calls=self.cloud_calls,
            answered=digest.total > 0 or any(_tells(item) for item in self.observations),
        )


async def look_at_cloud(
    target: Target,
    cloud: CloudConfig,
    endpoint: EndpointConfig,
    catalog: Catalog,
    *,
    window: tuple[datetime, datetime],
    wake: bool,
    on_probe: OnProbe,
) -> Look:
    """Run every probe of the target's kind at once; a probe that fails becomes a gap."""
    from tools.probes.run import run_probes

    found, probes = await run_probes(
        target, cloud, endpoint, window=window, wake=wake, on_event=on_probe
    )
    look = Look(found, catalog)
    for probe in probes:
        look.add_probe(probe)
    return look


def look_at_files(paths: tuple[str, ...], target: Target, catalog: Catalog) -> tuple[Look, Probe]:
    """Read log files only; no cloud is asked. Raises UsageError for what can't be read."""
    from tools.logs.sources import read_logs

    started = time.monotonic()
    look = Look(target, catalog)
    source = read_logs(paths)
    newest: list[LogRecord] = []

    def noted() -> Iterable[LogRecord]:
        for record in source:
            if record.service:
                newest[:] = [record]
            yield record

    digest = look.read(noted())
    look.gaps.extend(Gap("logs", sentence) for sentence in source.report.problems())
    if newest and not target.service:
        record = newest[0]
        look.target = replace(
            target, service=record.service, project=record.project, location=record.location
        )
    seconds = time.monotonic() - started
    return look, Probe("logs", digest.observations(), tuple(look.gaps), seconds=seconds)


def _tells(observation: Observation) -> bool:
    # That an endpoint was left alone is a decision of ours, not something that was seen.
    return observation.facts.get("endpoint.state") != "not_probed"


def _lives(digest: LogDigest) -> Lives:
    endings = {
        ending.record.instance: Observation(
            "logging",
            ending.record.ref,
            ending.record.text,
            ending.record.time,
            ending.record.origin,
            {"logs.exit_code": ending.exit_code} if ending.exit_code is not None else {},
        )
        for ending in digest.endings
        if ending.is_failure and ending.record.instance
    }
    newest = {start.revision: start for start in digest.starts if start.revision}
    probe = digest.probe_failure
    return Lives(
        endings=endings,
        ready={
            name: start.ready.time
            for name, start in newest.items()
            if start.ready is not None and start.ready.time is not None
        },
        revisions=frozenset(newest),
        probe_revision=probe.revision if probe is not None else "",
    )


def _by_time(record: LogRecord) -> float:
    return record.time.timestamp() if record.time is not None else 0.0
