"""refresh_prices: read the price table again."""

from __future__ import annotations

from tools.domain import Observation
from tools.tool import Effect, ToolContext, ToolResult, tool


@tool(Effect.READ)
async def refresh_prices(context: ToolContext, region: str = "") -> ToolResult:
    """Read prices again from Google's billing catalogue when the known ones are too old."""
    from tools.sizing.refresh import refresh

    found = await refresh(context.config, region=region)
    said = f"{len(found.prices)} prices read on {found.read} from the Cloud Billing catalogue"
    if found.missing:
        said += f"; not in it: {len(found.missing)}"
    moved = [
        price
        for price in found.prices
        if price.before is None or abs(price.after / price.before - 1) > 0.001
    ]
    said += "".join(f"; {price}" for price in moved[:5]) or "; none changed"
    return ToolResult(
        summary=said,
        data=found.to_json(),
        observations=(Observation(source="sizing", ref="sizing.prices", quote=said),),
    )
