"""The catalog that a diagnosis runs on: shipped runbooks, and the person's own approved ones."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from agent.memory import Memory
from agent.settings import Settings
from runbooks.catalog import MAX_FILES, Catalog
from tools.errors import UsageError

FOLDER = "runbooks"


def runbook_folder(settings: Settings) -> Path:
    """Return where the person's own runbooks lie: the setting, else beside state.db."""
    return settings.runbooks or settings.state.parent / FOLDER


def load_catalog(settings: Settings, memory: Memory, *, without: Sequence[str] = ()) -> Catalog:
    """Read the library and the person's folder, with the approvals that state.db holds.

    A folder that was named and is not there is a problem; the default one may be missing.
    Raises UsageError for an id in ``without`` that is no runbook.
    """
    folder = runbook_folder(settings)
    own = folder if settings.runbooks is not None or folder.is_dir() else None
    catalog = Catalog.load(own, approvals=memory.approvals.digests())
    return leave_out(catalog, without)


def leave_out(catalog: Catalog, without: Sequence[str]) -> Catalog:
    """Return the catalog without some runbooks; raises UsageError for one that it has not."""
    for name in without:
        if catalog.get(name) is None:
            from difflib import get_close_matches

            near = get_close_matches(name, list(catalog.runbooks), n=1)
            raise UsageError(
                f"There is no runbook {name!r}.",
                fix=f"Did you mean {near[0]!r}?" if near else "`gemma-sre runbook list` has them.",
            )
    return catalog.without(*without)


def catalog_state(settings: Settings, memory: Memory) -> tuple[object, ...]:
    """Return what changes when a runbook of one's own, or an approval, does."""
    folder = runbook_folder(settings)
    files = sorted(folder.rglob("*.md"))[:MAX_FILES] if folder.is_dir() else []
    stamps = []
    for path in files:
        try:
            found = path.stat()
        except OSError:
            continue  # deleted between the listing and now
        stamps.append((str(path), found.st_mtime_ns, found.st_size))
    return (memory.approvals.digests(), tuple(stamps))
