"""Approvals of runbooks: a person's act, kept by the content's digest; and the texts shown.

An approval belongs to the content: an edit changes the digest, and the edited runbook counts as
reviewed at most until a person approves it again. No tool of the model leads here.
"""

from __future__ import annotations

from collections.abc import Iterable

from agent.audit import Audit, whoami
from agent.database import Row, StateFile
from runbooks.runbook import Runbook, render_runbook
from tools.errors import UsageError


class Approvals:
    """The approvals and the kept versions of runbooks in one state.db."""

    def __init__(self, file: StateFile, audit: Audit) -> None:
        self._file = file
        self._audit = audit

    def digests(self) -> frozenset[str]:
        """Return the digests that stand approved."""
        rows = self._file.rows("SELECT digest FROM runbook_approvals WHERE withdrawn = ''")
        return frozenset(row["digest"] for row in rows)

    def approve(self, runbook: Runbook, *, overrides: bool = False) -> Row:
        """Record that this person approves this content; return the approval. Audited.

        Approving the same content again changes nothing.
        """
        standing = self.of(runbook.digest)
        if standing is not None:
            return standing
        who = whoami()
        with self._file.write():
            self._keep(runbook)
            self._file.execute(
                "INSERT INTO runbook_approvals (runbook, digest, who, time, overrides, withdrawn)"
                " VALUES (?, ?, ?, ?, ?, '')",
                runbook.id,
                runbook.digest,
                who,
                self._file.now(),
                int(overrides),
            )
            self._audit.append(
                "approval",
                {"runbook": runbook.id, "digest": runbook.digest, "overrides": overrides},
                result="approved",
            )
        self._audit.publish()
        found = self.of(runbook.digest)
        assert found is not None  # noqa: S101 - written above, in a transaction
        return found

    def withdraw(self, runbook_id: str) -> int:
        """Withdraw every standing approval of a runbook; return how many there were. Audited."""
        with self._file.write():
            count = self._file.execute(
                "UPDATE runbook_approvals SET withdrawn = ? WHERE runbook = ? AND withdrawn = ''",
                self._file.now(),
                runbook_id,
            )
            if count:
                self._audit.append("approval", {"runbook": runbook_id}, result="withdrawn")
        self._audit.publish()
        return count

    def of(self, digest: str) -> Row | None:
        """Return the standing approval of this content, None without one."""
        rows = self._file.rows(
            "SELECT runbook, digest, who, time, overrides FROM runbook_approvals"
            " WHERE digest = ? AND withdrawn = '' ORDER BY id DESC LIMIT 1",
            digest,
        )
        return rows[0] if rows else None

    def history(self, runbook_id: str) -> list[Row]:
        """Return all approvals of a runbook, the newest first, withdrawn ones included."""
        return self._file.rows(
            "SELECT runbook, digest, who, time, overrides, withdrawn FROM runbook_approvals"
            " WHERE runbook = ? ORDER BY id DESC",
            runbook_id,
        )

    def keep(self, runbooks: Iterable[Runbook]) -> None:
        """Keep the texts of runbooks that an incident shows, each version once."""
        with self._file.write():
            for runbook in runbooks:
                self._keep(runbook)

    def text(self, digest: str) -> Row:
        """Return the kept version whose digest begins so: ``digest``, ``runbook``, ``text``.

        Raises UsageError unless there is just one.
        """
        found = self._file.rows(
            "SELECT digest, runbook, text FROM runbook_texts WHERE digest >= ?1"
            " AND digest < ?1 || 'g' LIMIT 2",
            digest,
        )
        if len(digest) < 6 or len(found) != 1:
            raise UsageError(
                f"No single version of a runbook has a digest that begins with {digest!r}.",
                fix="`gemma-sre incident show ID --json` names the versions that it showed.",
            )
        return found[0]

    def _keep(self, runbook: Runbook) -> None:
        self._file.execute(
            "INSERT OR IGNORE INTO runbook_texts (digest, runbook, text, kept) VALUES (?, ?, ?, ?)",
            runbook.digest,
            runbook.id,
            runbook.text or render_runbook(runbook),
            self._file.now(),
        )
