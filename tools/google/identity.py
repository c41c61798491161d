"""ID tokens for a private Cloud Run endpoint: for one audience, and sent to no other."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

from tools.errors import CloudUnavailable, ConfigurationError
from tools.google.clients import is_loopback
from tools.google.errors import LOGIN

# Google's ID tokens live an hour; a request may be long, so a token is renewed well before.
RENEW_BEFORE = timedelta(minutes=5)

_SCOPE = "https://www.googleapis.com/auth/cloud-platform"
_USER_CREDENTIALS = (
    "The credentials are a person's, and Google makes no ID token for a chosen audience from them."
)


class IdentityTokens:
    """Tokens for one audience, cached, renewed five minutes before they end.

    ``impersonate`` is a service account to act as. ``make`` builds the credentials of a
    google-auth library, with ``refresh(request)``, ``token`` and ``expiry``.
    """

    def __init__(
        self,
        audience: str,
        *,
        impersonate: str = "",
        make: Callable[[str, str], Any] | None = None,
        now: Callable[[], datetime] | None = None,
    ) -> None:
        self._audience = audience
        self._impersonate = impersonate
        self._make = make or id_token_credentials
        self._now = now or (lambda: datetime.now(UTC))
        self._credentials: Any = None
        self._lock = asyncio.Lock()

    async def token_for(self, url: str) -> str:
        """Return a token for a request to the URL.

        Raises ConfigurationError when the URL is not the audience's or would carry the token in
        the clear, or when the credentials can't make one; CloudUnavailable when Google does not.
        """
        self._check(url)
        async with self._lock:
            if self._stale():
                # Refreshing blocks on the network.
                await asyncio.to_thread(self._refresh)
            return str(self._credentials.token)

    def _check(self, url: str) -> None:
        parts, audience = urlsplit(url), urlsplit(self._audience)
        loopback = is_loopback(parts.hostname or "")
        if parts.scheme != "https" and not loopback:
            raise ConfigurationError(
                "An ID token is not sent over plain HTTP.", fix="Use the https URL."
            )
        same = (parts.hostname, parts.port or 443) == (audience.hostname, audience.port or 443)
        if not same and not loopback:
            raise ConfigurationError(
                f"The ID token is made for {self._audience} and is not sent to {parts.hostname}.",
                fix="Set the audience to the URL of the endpoint.",
            )

    def _stale(self) -> bool:
        if self._credentials is None or not self._credentials.token:
            return True
        expiry = self._credentials.expiry
        if expiry is None:
            return True
        # google-auth keeps its expiry as a naive datetime in UTC.
        aware = expiry if expiry.tzinfo else expiry.replace(tzinfo=UTC)
        return bool(aware - self._now() <= RENEW_BEFORE)

    def _refresh(self) -> None:
        from google.auth import exceptions as auth
        from google.auth.transport.requests import Request

        try:
            if self._credentials is None:
                self._credentials = self._make(self._audience, self._impersonate)
            with_session = Request()
            try:
                self._credentials.refresh(with_session)
            finally:
                with_session.session.close()
        except auth.DefaultCredentialsError as error:
            raise ConfigurationError(
                "No credentials that can make an ID token were found.", fix=_fix()
            ) from error
        except auth.GoogleAuthError as error:
            raise CloudUnavailable(
                f"Google made no ID token: {str(error).splitlines()[0][:200]}", fix=_fix()
            ) from error


def id_token_credentials(audience: str, impersonate: str = "") -> Any:
    """Return credentials that make ID tokens for the audience.

    Impersonation if a service account is named, else a service account's key or the metadata
    server. Raises ConfigurationError for a person's credentials.
    """
    import google.auth
    from google.auth import exceptions as auth
    from google.auth import impersonated_credentials
    from google.oauth2 import credentials as user
    from google.oauth2 import id_token

    # google-auth's constructors have no types.
    impersonated: Any = impersonated_credentials
    if impersonate:
        source, _ = google.auth.default(scopes=[_SCOPE])
        target = impersonated.Credentials(
            source_credentials=source, target_principal=impersonate, target_scopes=[_SCOPE]
        )
        return impersonated.IDTokenCredentials(
            target_credentials=target, target_audience=audience, include_email=True
        )
    try:
        fetch: Any = id_token.fetch_id_token_credentials
        return fetch(audience)
    except auth.DefaultCredentialsError:
        found, _ = google.auth.default()
        if isinstance(found, impersonated_credentials.Credentials):
            return impersonated.IDTokenCredentials(
                target_credentials=found, target_audience=audience, include_email=True
            )
        if isinstance(found, user.Credentials):
            raise ConfigurationError(_USER_CREDENTIALS, fix=_fix()) from None
        raise


def _fix() -> str:
    return (
        "Name a service account to impersonate (roles/iam.serviceAccountOpenIdTokenCreator on it, "
        f"roles/run.invoker on the service); to sign in, {LOGIN}"
    )
