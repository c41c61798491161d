"""Records from files: JSON arrays as gcloud prints them, JSON lines, plain text, gzip, stdin.

Streamed: no more than one sorting run is in memory, whatever the size of the file. Entries that
carry times come out oldest first, since gcloud prints the newest first.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence

from tools.domain import LogRecord
from tools.errors import UsageError
from tools.logs.log_formats import HEAD, LogFile, detect_form, open_log, shown
from tools.logs.log_readers import READERS
from tools.logs.log_report import LogReport, count_of
from tools.logs.provenance import attributed
from tools.logs.sorting import RUN, oldest_first


class LogSource:
    """The records of one or more logs, oldest first; iterate it once.

    ``report`` is complete after the iteration. Raises UsageError on iteration if a path can't be
    read or holds no log.
    """

    def __init__(self, paths: Sequence[str]) -> None:
        self.paths = tuple(paths)
        self.report = LogReport()

    def __iter__(self) -> Iterator[LogRecord]:
        """Yield the records, what a caller wrote attributed to the caller."""
        self.report = LogReport()
        records = self._counted(self._all())
        ordered = oldest_first(records, self.report.note, run=RUN)
        return iter(attributed(ordered))

    def as_read(self) -> Iterator[LogRecord]:
        """Yield the records in the order of the files, whatever their times; once, as above."""
        self.report = LogReport()
        return self._counted(self._all())

    def _counted(self, records: Iterable[LogRecord]) -> Iterator[LogRecord]:
        report = self.report
        for record in records:
            report.entries += 1
            time = record.time
            if time is not None:
                if report.first is None or time < report.first:
                    report.first = time
                if report.last is None or time > report.last:
                    report.last = time
            yield record

    def _all(self) -> Iterator[LogRecord]:
        for path in self.paths:
            name = "stdin" if path == "-" else os.path.basename(path)
            with open_log(path) as file:
                head = _peek(file)
                form = detect_form(head, path)
                before = self.report.entries
                try:
                    yield from READERS[form](file, name, head, self.report)
                except OSError as error:
                    self.report.note(f"{name}: reading stopped: {error.strerror or error}.")
                    self.report.truncated = True
                used = self.report.entries - before
                if not used and form != "plain":
                    raise UsageError(
                        f"{shown(path)} holds no whole log entry.", fix="Export it again."
                    )
                if file.broken:
                    self.report.truncated = True
                    self.report.note(
                        f"{name}: {file.broken}; what came before it is used,"
                        f" {count_of(used, 'entry', 'entries')}."
                    )


def read_logs(paths: Sequence[str]) -> LogSource:
    """Return the records of the logs at these paths; ``-`` is standard input.

    Raises UsageError at once if a path is missing, a directory, unreadable, empty or binary.
    """
    if not paths:
        raise UsageError("No log was named.", fix="Give a file, or - for standard input.")
    for path in paths:
        if path != "-":
            with open_log(path) as file:
                detect_form(_peek(file), path)
    return LogSource(paths)


def _peek(file: LogFile) -> bytes:
    return file.peek(HEAD)[:HEAD]
