"""Every runbook there is: the shipped library, and the user's own folder beside it."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from importlib import resources
from pathlib import Path
from types import MappingProxyType

from runbooks.runbook import Runbook, parse_runbook
from tools.errors import RunbookError

IN_FORCE = ("shipped", "approved")  # only these may name a cause
_WORD = re.compile(r"[a-z0-9][\w.-]+")
# Words that say nothing about a failure.
_COMMON = frozenset(
    re.findall(
        r"\w+",
        """an and are as at be but by can did do does error fail fails failing failure fix for from
        had has have how if in into is it its me my no not of on or problem runbook runbooks say
        says show so tell than that the then there this to up was we what when where which who why
        will with would you your""",
    )
)
MAX_FILES = 5_000  # in a user's folder, so that a wrong path does not read a whole disk


@dataclass(frozen=True, slots=True)
class Catalog:
    """The runbooks by id, what could not be read, and which shipped ones are overridden.

    ``runbooks`` holds what is in force, and beside it the user's drafts whose id is not taken.
    ``drafts`` holds all of the user's that are not in force: a draft changes no verdict.
    """

    runbooks: Mapping[str, Runbook]
    problems: tuple[RunbookError, ...] = ()
    overrides: tuple[str, ...] = ()
    drafts: Mapping[str, Runbook] = field(default_factory=dict)

    @classmethod
    def load(
        cls, user_folder: Path | None = None, *, approvals: Collection[str] | None = None
    ) -> Catalog:
        """Read the shipped library and the user's folder.

        A file that can't be read is named in ``problems``; the others still work. ``approvals``
        are the digests that a person approved, as ``state.db`` records them: with it, a file
        whose content is not among them counts as reviewed at most, whatever its status says.
        """
        shipped, problems = _read(_library())
        if user_folder is None:
            return cls(MappingProxyType(shipped), tuple(problems))
        files, folder_problems = _folder(user_folder)
        own, own_problems = _read(files, own=True, approvals=approvals)
        in_force = {key: runbook for key, runbook in own.items() if runbook.status in IN_FORCE}
        drafts = {key: runbook for key, runbook in own.items() if key not in in_force}
        return cls(
            runbooks=MappingProxyType({**drafts, **shipped, **in_force}),
            problems=(*problems, *folder_problems, *own_problems),
            overrides=tuple(sorted(set(in_force) & set(shipped))),
            drafts=MappingProxyType(drafts),
        )

    @classmethod
    def of(cls, runbooks: Iterable[Runbook]) -> Catalog:
        """Return a catalog of just these."""
        return cls(MappingProxyType({runbook.id: runbook for runbook in runbooks}))

    @property
    def in_force(self) -> tuple[Runbook, ...]:
        """Return the runbooks that may match: shipped and approved ones."""
        return tuple(book for book in self.runbooks.values() if book.status in IN_FORCE)

    def get(self, runbook_id: str) -> Runbook | None:
        """Return the runbook with this id."""
        return self.runbooks.get(runbook_id)

    def find(self, text: str) -> tuple[Runbook, ...]:
        """Return the runbooks that a question or some words speak of, the best first.

        A word in the id or title, or three words in a row, count more than a word in the body;
        and what few runbooks have counts more than what most have.
        """
        words = _WORD.findall(text.casefold())
        phrases = {" ".join(words[at : at + 3]) for at in range(len(words) - 2)}
        wanted = {word for word in words if word not in _COMMON} | phrases
        names = {key: f"{key} {book.title}".casefold() for key, book in self.runbooks.items()}
        bodies = {key: book.text.casefold() for key, book in self.runbooks.items()}
        scores: dict[str, float] = dict.fromkeys(self.runbooks, 0.0)
        for word in wanted:
            holders = [key for key in self.runbooks if word in bodies[key] or word in names[key]]
            for key in holders:
                rarity = math.log(1 + len(self.runbooks) / len(holders))
                scores[key] += rarity * (3 if word in names[key] or word in phrases else 1)
        best = max(scores.values(), default=0.0)
        found = [key for key, score in scores.items() if best and score >= best / 2]
        return tuple(
            self.runbooks[key]
            for key in sorted(found, key=lambda key: (key not in words, -scores[key], key))
        )

    def without(self, *ids: str) -> Catalog:
        """Return the same catalog with some runbooks left out."""
        kept = {key: book for key, book in self.runbooks.items() if key not in ids}
        return replace(self, runbooks=MappingProxyType(kept))


def _library() -> list[tuple[str, str | OSError | UnicodeDecodeError]]:
    folder = resources.files("runbooks") / "library"
    return [
        (f"library/{item.name}", item.read_text("utf-8"))
        for item in sorted(folder.iterdir(), key=lambda item: item.name)
        if item.name.endswith(".md")
    ]


def _folder(
    folder: Path,
) -> tuple[list[tuple[str, str | OSError | UnicodeDecodeError]], list[RunbookError]]:
    if not folder.is_dir():
        return [], [
            RunbookError(
                f"The runbook folder {folder} does not exist.",
                fix="Create it, or correct the setting.",
                path=str(folder),
            )
        ]
    files: list[tuple[str, str | OSError | UnicodeDecodeError]] = []
    for path in sorted(folder.rglob("*.md")):
        inner = path.relative_to(folder).parts
        # A runbook folder is usually a git repository, with a README at its top.
        if any(part.startswith(".") for part in inner) or path.name.upper() == "README.MD":
            continue
        if len(files) == MAX_FILES:
            break
        try:
            files.append((str(path), path.read_text("utf-8")))
        except (OSError, UnicodeDecodeError) as error:
            files.append((str(path), error))
    return files, []


def _read(
    files: list[tuple[str, str | OSError | UnicodeDecodeError]],
    *,
    own: bool = False,
    approvals: Collection[str] | None = None,
) -> tuple[dict[str, Runbook], list[RunbookError]]:
    runbooks: dict[str, Runbook] = {}
    problems: list[RunbookError] = []
    for path, text in files:
        if isinstance(text, Exception):
            problems.append(RunbookError(f"{path}: it can't be read: {text}.", path=path))
            continue
        try:
            runbook = parse_runbook(text, path)
        except RunbookError as error:
            problems.append(error)
            continue
        if own:
            runbook = _own(runbook, approvals)
        earlier = runbooks.get(runbook.id)
        if earlier and (earlier.status in IN_FORCE) and (runbook.status in IN_FORCE):
            problems.append(
                RunbookError(
                    f"{path}: {earlier.path} has the same id, {runbook.id!r}.",
                    fix="Mark the older one as superseded.",
                    path=path,
                )
            )
            continue
        if not earlier or runbook.status in IN_FORCE or earlier.status == "superseded":
            runbooks[runbook.id] = runbook
    return runbooks, problems


def _own(runbook: Runbook, approvals: Collection[str] | None) -> Runbook:
    if runbook.status == "shipped":
        # Only what came with the program is shipped; a copy of it is the user's, and a draft.
        return replace(runbook, status="draft")
    if runbook.status == "approved" and approvals is not None and runbook.digest not in approvals:
        return replace(runbook, status="reviewed")
    return runbook
