"""The error tree. Each error says what went wrong and what to do next, in one sentence each.

::

    GemmaSreError
    ├── UsageError              a wrong flag, an unreadable file, a name that does not exist
    │   └── ConfigurationError  a setting is missing or contradicts another
    ├── CloudError              Google Cloud answered with an error, or not at all
    │   ├── PermissionMissing   403, with the permission and the roles that grant it
    │   ├── NotFound            404: the thing does not exist where it was looked for
    │   ├── QuotaExceeded       429, with the time to wait when the server named one
    │   ├── RequestRefused      400: our request was wrong
    │   └── CloudUnavailable    5xx, a time-out, no credentials, no network
    ├── EndpointError           the vLLM endpoint answered with an error, or not at all
    │   ├── EndpointRefused     connection refused or reset, name not resolved
    │   ├── EndpointStalled     accepted the connection, then said nothing in time
    │   └── EndpointNonsense    an answer that the protocol does not allow
    ├── ApprovalStale           the live state is not the one that a person approved
    ├── RunbookError            a runbook that can't be read
    └── StateError              state.db can't be read or written
"""

from __future__ import annotations


class GemmaSreError(Exception):
    """Base of every error that is shown to a person; ``fix`` says what to do next."""

    exit_code = 2

    def __init__(self, message: str, *, fix: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.fix = fix

    def __str__(self) -> str:
        """Return the message and the next step as one line."""
        return f"{self.message} {self.fix}".strip()


class UsageError(GemmaSreError):
    """The call can't be carried out as it was given."""


class ConfigurationError(UsageError):
    """A setting is missing, or contradicts another."""


class CloudError(GemmaSreError):
    """Google Cloud answered with an error, or not at all; ``api`` names the service."""

    def __init__(self, message: str, *, fix: str = "", api: str = "") -> None:
        super().__init__(message, fix=fix)
        self.api = api


class PermissionMissing(CloudError):
    """The caller lacks a permission."""

    def __init__(
        self,
        message: str,
        *,
        fix: str = "",
        api: str = "",
        permission: str = "",
        roles: tuple[str, ...] = (),
    ) -> None:
        super().__init__(message, fix=fix, api=api)
        self.permission = permission
        self.roles = roles


class NotFound(CloudError):
    """What was asked for does not exist where it was looked for."""


class QuotaExceeded(CloudError):
    """A rate or quota limit was reached; ``retry_after`` is in seconds, 0 if not named."""

    def __init__(
        self, message: str, *, fix: str = "", api: str = "", retry_after: float = 0.0
    ) -> None:
        super().__init__(message, fix=fix, api=api)
        self.retry_after = retry_after


class RequestRefused(CloudError):
    """The service called our request wrong: a defect of ours, or a name it does not know."""


class CloudUnavailable(CloudError):
    """No usable answer: a server error, a time-out, no credentials, no network."""


class EndpointError(GemmaSreError):
    """The vLLM endpoint answered with an error; ``status`` is the HTTP status, 0 if none."""

    def __init__(self, message: str, *, fix: str = "", status: int = 0) -> None:
        super().__init__(message, fix=fix)
        self.status = status


class EndpointRefused(EndpointError):
    """No connection: refused, reset, or the name does not resolve."""


class EndpointStalled(EndpointError):
    """Connected, and then no answer in time."""


class EndpointNonsense(EndpointError):
    """An answer that the protocol does not allow."""


class ApprovalStale(GemmaSreError):
    """The live state is not the one that a person approved; nothing was done."""


class RunbookError(GemmaSreError):
    """A runbook can't be read; ``path`` names it."""

    def __init__(self, message: str, *, fix: str = "", path: str = "") -> None:
        super().__init__(message, fix=fix)
        self.path = path


class StateError(GemmaSreError):
    """state.db can't be read or written."""
