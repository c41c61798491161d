"""How many connections this machine can hold open, and only one run at a time per endpoint."""

from __future__ import annotations

import contextlib
import hashlib
import resource
from collections.abc import Iterator
from pathlib import Path

from tools.errors import UsageError

SPARE = 64  # descriptors for everything but the slots
SLOTS_PER_PROCESS = 512


def raise_file_limit(slots: int) -> int:
    """Raise the limit of open files for ``slots`` connections and return it.

    Raises UsageError, naming how many slots are possible, where the system allows fewer.
    """
    wanted = slots + SPARE
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return soft
    target = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (target, hard))
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        raise UsageError(
            f"{slots} connections need {wanted} open files, and this system allows {soft}: "
            f"at most {max(0, soft - SPARE)} slots in one process are possible.",
            fix="Raise the limit (ulimit -n), or use fewer slots.",
        )
    return soft


def split_slots(slots: int) -> list[int]:
    """Return the slots of each process: as even as can be, and 512 at most."""
    parts = max(1, -(-slots // SLOTS_PER_PROCESS))
    return [slots // parts + (part < slots % parts) for part in range(parts)]


@contextlib.contextmanager
def only_run(url: str, folder: Path) -> Iterator[None]:
    """Hold the endpoint for one run; raises UsageError while another run of this user has it."""
    from filelock import FileLock, Timeout

    folder.mkdir(parents=True, exist_ok=True)
    name = hashlib.sha256(url.encode()).hexdigest()[:16]
    lock = FileLock(folder / f"{name}.lock", timeout=0)
    try:
        lock.acquire()
    except Timeout as error:
        raise UsageError(
            f"Another load run against {url} is under way: two at once measure each other.",
            fix="Wait for it, or stop it.",
        ) from error
    try:
        yield
    finally:
        lock.release()
