"""Whether the endpoint takes an attachment, asked of its model card and its deployment."""

from __future__ import annotations

from agent.attachments import Attachment, modality_limits, why_refused
from agent.reach import reach
from agent.state import TurnContext
from tools.domain import Service, Target
from tools.errors import GemmaSreError


async def why_not_attached(attachment: Attachment, context: TurnContext, others: int = 0) -> str:
    """Return why the endpoint can't take the attachment, empty when nothing speaks against it."""
    found = await reach({"request": {}}, context)
    args = await _args(found.target, context) if found.target is not None else ()
    facts = context.facts()
    model = context.settings.model or str(facts.get("endpoint.model", ""))
    window = facts.get("endpoint.window", 0)
    limits = modality_limits(args)
    return why_refused(attachment, model, limits, window if isinstance(window, int) else 0, others)


async def _args(target: Target, context: TurnContext) -> tuple[str, ...]:
    if target.kind != "cloud-run" or not (target.service and target.location):
        return ()
    from tools.google.clients import Cloud
    from tools.google.run import list_revisions

    try:
        async with Cloud(context.settings.cloud_config()) as cloud:
            service = Service(target.service, cloud.project, target.location)
            listed = await list_revisions(cloud, service, 10)
    except GemmaSreError:
        return ()  # what can't be seen is the server's to refuse
    serving = next((one for one in listed if one.ready), listed[0] if listed else None)
    return serving.args if serving is not None else ()
