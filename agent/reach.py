"""Where to think: the patient as discovered and seen lately, or the stand-in that was allowed."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from agent.capabilities import NO_TOKEN, Server
from agent.events import EndpointState
from agent.gather import discover_target
from agent.state import TurnContext, TurnState
from tools.config import EndpointConfig
from tools.domain import Target
from tools.errors import GemmaSreError

# How long a chat trusts that an endpoint which answered still does, in seconds.
TRUSTED = 60.0
# Discovery and the endpoint, and what these two wait for; no log is read, nothing is woken.
_PROBES = frozenset({"service", "instances", "node", "endpoint"})
_PHASES = frozenset({"service", "revisions", "logs"})


@dataclass(frozen=True, slots=True)
class Reached:
    """A light look at the endpoint: what it is in, and why there is none."""

    target: Target | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)
    why: str = ""
    at: float = 0.0


async def reach(state: TurnState, context: TurnContext, *, fresh: bool = False) -> Reached:
    """Return what is known of the endpoint, looking lightly unless that was done just now."""
    known: Reached | None = context.reached
    if known is not None and not fresh:
        ready = known.facts.get("endpoint.state") == "ready"
        if known.at >= context.started or (ready and time.monotonic() - known.at < TRUSTED):
            return known
    found = await _look(state, context)
    context.reached = found
    return found


def forget(context: TurnContext) -> None:
    """Look again at the next question: the endpoint did not do what it was trusted to."""
    context.reached = None


async def _look(state: TurnState, context: TurnContext) -> Reached:
    from tools.probes.run import run_probes

    settings, now = context.settings, context.settings.now()
    if not (settings.project or settings.base_url):
        return Reached(why="no endpoint is configured", at=time.monotonic())
    try:
        target = await discover_target(state["request"], settings)
        target, probes = await run_probes(
            target,
            settings.cloud_config(),
            settings.endpoint_config(),
            window=(now, now),
            only=_PROBES,
        )
    except GemmaSreError as error:
        return Reached(why=error.message.rstrip("."), at=time.monotonic())
    facts = {n: v for probe in probes for o in probe.observations for n, v in o.facts.items()}
    if "endpoint.state" not in facts:
        gaps = [str(gap) for probe in probes for gap in probe.gaps]
        why = gaps[-1] if gaps else "the endpoint could not be found"
        return Reached(target, facts, why, time.monotonic())
    window = facts.get("endpoint.window", 0)
    context.emit(
        EndpointState(
            str(facts["endpoint.state"]),
            model=str(facts.get("endpoint.model", "")),
            url=target.url,
            window=window if isinstance(window, int) else 0,
            found_by=target.found_by,
        )
    )
    return Reached(target, facts, "", time.monotonic())


async def start_phase(target: Target, context: TurnContext) -> str:
    """Return how far a start has got, from the newest log lines; empty when they don't say."""
    from datetime import timedelta

    from tools.logs.digest import LogDigest
    from tools.probes.run import run_probes

    settings, now = context.settings, context.settings.now()
    try:
        _, probes = await run_probes(
            target,
            settings.cloud_config(),
            settings.endpoint_config(),
            window=(now - timedelta(minutes=30), now),
            only=_PHASES,
        )
    except GemmaSreError:
        return ""
    digest = LogDigest()
    for record in sorted(
        (r for probe in probes for r in probe.records), key=lambda r: str(r.time or "")
    ):
        digest.add(record)
    digest.finish()
    facts = {n: v for o in digest.observations() for n, v in o.facts.items()}
    if facts.get("logs.loading"):
        percent = facts.get("logs.weights_percent")
        return "loading weights" + (f", {percent} %" if percent is not None else "")
    return "starting" if facts.get("logs.entries") else ""


def patient(context: TurnContext) -> Server:
    """Return the endpoint that is looked after, as the place to think."""
    settings, facts = context.settings, context.facts()
    config = settings.endpoint_config()
    target = context.look.target if context.look is not None else None
    if target is None and context.reached is not None:
        target = context.reached.target
    url = target.url if target is not None and target.url else config.url
    model = settings.model or str(facts.get("endpoint.model", ""))
    server = context.servers.get(
        replace(config, url=url, audience=_audience(url)),
        model,
        token=lambda found: _token(found, context),
    )
    window = facts.get("endpoint.window", 0)
    if isinstance(window, int) and window:
        server.window = window
    return server


def stand_in(context: TurnContext) -> Server | None:
    """Return the second endpoint, None unless it is configured and was consented to."""
    chosen = context.settings.stand_in
    if not (chosen.base_url and chosen.consent):
        return None
    config = EndpointConfig(
        url=chosen.base_url.rstrip("/").removesuffix("/v1"),
        model=chosen.model,
        api_key=chosen.api_key.get_secret_value(),
        limits=context.settings.limits.to_tools(),
    )
    return context.servers.get(config, chosen.model, stand_in=True)


def _audience(url: str) -> str:
    return url if url.startswith("https://") and url.endswith(".run.app") else ""


def _token(config: EndpointConfig, context: TurnContext) -> Callable[[], Awaitable[str]] | None:
    if not config.audience or config.api_key:
        return None
    from tools.google.identity import IdentityTokens

    tokens = IdentityTokens(config.audience, impersonate=context.settings.impersonate)

    async def token() -> str:
        try:
            return await tokens.token_for(config.url)
        except GemmaSreError:
            # A public service needs none, and a private one answers 403, which says so itself.
            return NO_TOKEN

    return token
