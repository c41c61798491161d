"""A simulated Cloud Billing catalogue: services.skus.list of its REST API, on loopback.

Answers have the shape of cloudbilling.googleapis.com v1; the SKU ids are made up, prices and
descriptions are of the kind that the real one has (``billing_skus.json``).
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
from collections.abc import Mapping, Sequence
from importlib.resources import files
from types import TracebackType
from typing import Any
from urllib.parse import parse_qs, urlsplit

import h11

from tools.simulator.calls import Call
from tools.simulator.clock import SimulatedClock

PAGE = 5  # rows, so that a list has several pages


class SimulatedBilling:
    """Serve the catalogue while the ``async with`` block runs; ``url`` has no trailing slash.

    ``refuse`` answers every request with an error of the API; ``rows`` are those of
    ``billing_skus.json`` unless others are given. ``calls`` holds every request.
    """

    def __init__(
        self, clock: SimulatedClock, rows: Mapping[str, Sequence[Sequence[Any]]] | None = None
    ) -> None:
        self.rows = rows if rows is not None else packaged_rows()
        self.calls: list[Call] = []
        self.url = ""
        self._clock = clock
        self._refusal: tuple[int, dict[str, Any]] | None = None
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> SimulatedBilling:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def refuse(self, status: int, message: str, reason: str = "") -> None:
        """Answer with this error from now on; ``reason`` goes into its ErrorInfo."""
        error: dict[str, Any] = {"code": status, "message": message, "status": "ERROR"}
        if reason:
            error["details"] = [
                {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": reason}
            ]
        self._refusal = (status, {"error": error})

    def answer(self, target: str) -> tuple[int, dict[str, Any]]:
        """Return the status and the body for a request."""
        if self._refusal is not None:
            return self._refusal
        parts = urlsplit(target)
        match parts.path.split("/"):
            case ["", "v1", "services", service, "skus"] if service in self.rows:
                return self._skus(service, parse_qs(parts.query))
        return 404, {"error": {"code": 404, "message": "not found", "status": "NOT_FOUND"}}

    def _skus(self, service: str, query: Mapping[str, list[str]]) -> tuple[int, dict[str, Any]]:
        first = query.get("pageToken", ["0"])[0]
        if query.get("currencyCode") != ["USD"] or not first.isdigit():
            message = "Request contains an invalid argument."
            return 400, {"error": {"code": 400, "message": message, "status": "INVALID_ARGUMENT"}}
        rows = self.rows[service]
        begin = int(first)
        end = begin + min(PAGE, int(query.get("pageSize", ["5000"])[0]))
        return 200, {
            "skus": [self._sku(service, row) for row in rows[begin:end]],
            "nextPageToken": str(end) if end < len(rows) else "",
        }

    def _sku(self, service: str, row: Sequence[Any]) -> dict[str, Any]:
        sku, description, group, usage, regions, unit, tiers = row
        return {
            "name": f"services/{service}/skus/{sku}",
            "skuId": sku,
            "description": description,
            "category": {
                "serviceDisplayName": "Compute Engine" if group != "Compute" else "Cloud Run",
                "resourceFamily": "Compute",
                "resourceGroup": group,
                "usageType": usage,
            },
            "serviceRegions": regions,
            "pricingInfo": [
                {
                    "summary": "",
                    "pricingExpression": {
                        "usageUnit": unit,
                        "displayQuantity": 1,
                        "tieredRates": [
                            {"startUsageAmount": start, "unitPrice": _money(usd)}
                            for start, usd in tiers
                        ],
                        "usageUnitDescription": unit,
                    },
                    "currencyConversionRate": 1,
                    "effectiveTime": f"{self._clock.now():%Y-%m-%dT%H:%M:%S}.000Z",
                }
            ],
            "serviceProviderName": "Google",
        }

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.ensure_future(self._connection(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peer = h11.Connection(h11.SERVER)
        try:
            while (target := await _request(peer, reader)) is not None:
                status, body = self.answer(target)
                self.calls.append(Call("billing.ListSkus", target, str(status), self._clock.now()))
                content = json.dumps(body).encode()
                head = [
                    ("content-type", "application/json; charset=UTF-8"),
                    ("content-length", str(len(content))),
                ]
                writer.write(peer.send(h11.Response(status_code=status, headers=head)) or b"")
                writer.write(peer.send(h11.Data(data=content)) or b"")
                writer.write(peer.send(h11.EndOfMessage()) or b"")
                await writer.drain()
                if peer.our_state is not h11.DONE or peer.their_state is not h11.DONE:
                    break
                peer.start_next_cycle()
        except (ConnectionError, h11.RemoteProtocolError):
            pass  # the client went away or talks nonsense: nothing to answer
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()


def packaged_rows() -> Mapping[str, Sequence[Sequence[Any]]]:
    """Return the rows that ship.

    Service → [id, description, group, usage, regions, unit, tiers].
    """
    text = files("tools.simulator").joinpath("billing_skus.json").read_text(encoding="utf-8")
    rows: Mapping[str, Sequence[Sequence[Any]]] = json.loads(text)
    return rows


def _money(usd: float) -> dict[str, Any]:
    units = math.floor(usd)
    return {"currencyCode": "USD", "units": str(units), "nanos": round((usd - units) * 1e9)}


async def _request(peer: h11.Connection, reader: asyncio.StreamReader) -> str | None:
    target: str | None = None
    while True:
        event = peer.next_event()
        if event is h11.NEED_DATA:
            peer.receive_data(await reader.read(65_536))
        elif isinstance(event, h11.Request):
            target = event.target.decode()
        elif isinstance(event, h11.EndOfMessage):
            return target
        elif not isinstance(event, h11.Data):
            return None
