from __future__ import annotations

import itertools
from typing import Any

import grpc
import pytest
from google.api_core import exceptions
from google.cloud.audit import audit_log_pb2

from tools.simulator.cloud import SimulatedCloud

PROJECT = "projects/demo-project"
REVISION = (
    'resource.type="cloud_run_revision" AND resource.labels.service_name="gemma-4-12b" '
    'AND resource.labels.revision_name="gemma-4-12b-00011-2nn"'
)


async def read(clients: Any, text: str, **fields: object) -> list[object]:
    request = {"resource_names": [PROJECT], "filter": text, **fields}
    return [entry async for entry in await clients.logging.list_log_entries(request=request)]


async def test_pages_hold_every_entry_once_and_in_order(
    cloud: SimulatedCloud, clients: Any
) -> None:
    whole = await read(clients, REVISION, page_size=1000)
    assert len(whole) > 60
    paged = await read(clients, REVISION, page_size=7)
    assert [e.insert_id for e in paged] == [e.insert_id for e in whole]
    assert len({e.insert_id for e in whole}) == len(whole)
    times = [e.timestamp for e in whole]
    assert times == sorted(times)
    newest = await read(clients, REVISION, page_size=7, order_by="timestamp desc")
    assert [e.insert_id for e in newest] == [e.insert_id for e in reversed(whole)]
    assert len(cloud.calls_to("logging.ListLogEntries")) == 1 + 2 * (-(-len(whole) // 7))


async def test_containers_print_without_severity(clients: Any) -> None:
    errors = await read(clients, f"{REVISION} AND severity>=ERROR")
    assert [e.log_name.rpartition("/")[2] for e in errors] == [
        "cloudaudit.googleapis.com%2Fsystem_event"
    ]
    cause = await read(clients, f'{REVISION} AND textPayload:"ValueError: Failed to find a kernel"')
    assert {e.severity for e in cause} == {0}
    assert {e.log_name.rpartition("%2F")[2] for e in cause} == {"stdout", "stderr"}


async def test_both_copies_of_the_traceback_interleave(clients: Any) -> None:
    entries = await read(clients, f'{REVISION} AND textPayload:"EngineCore pid=119"')
    streams = [e.log_name.rpartition("%2F")[2] for e in entries]
    changes = sum(left != right for left, right in itertools.pairwise(streams))
    assert changes > 10


async def test_audit_entry_carries_the_status(clients: Any) -> None:
    (entry,) = await read(clients, 'log_id("cloudaudit.googleapis.com/system_event")')
    audit = audit_log_pb2.AuditLog()
    assert entry.proto_payload.Unpack(audit)
    assert audit.status.code == 9
    assert audit.response["kind"] == "Revision"
    assert await read(clients, "protoPayload.status.code=9") == [entry]
    assert await read(clients, 'protoPayload.methodName="/Services.ReplaceService"') == [entry]


async def test_entries_of_the_future_do_not_exist_yet(cloud: SimulatedCloud, clients: Any) -> None:
    before = len(await read(clients, ""))
    cloud.clock.advance(3600)
    assert len(await read(clients, "")) == before
    assert (await read(clients, "", order_by="timestamp desc"))[0].timestamp < cloud.clock.now()


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"page_size": 1001}, "page_size"),
        ({"page_size": -1}, "page_size"),
        ({"order_by": "severity desc"}, "order_by"),
        ({"page_token": "xyz"}, "page_token"),
        ({"filter": "nothing.here=1"}, "Field not found"),
        ({"resource_names": []}, "resource name"),
        ({"resource_names": ["demo-project"]}, "resource name"),
    ],
)
async def test_wrong_requests_are_refused(
    clients: Any, fields: dict[str, object], words: str
) -> None:
    with pytest.raises(exceptions.InvalidArgument, match=words):
        await clients.logging.list_log_entries(request={"resource_names": [PROJECT], **fields})


async def test_a_page_token_belongs_to_its_request(clients: Any) -> None:
    request = {"resource_names": [PROJECT], "page_size": 5}
    first = await clients.logging.list_log_entries(request=request)
    token = first.next_page_token
    with pytest.raises(exceptions.InvalidArgument, match="page_token"):
        await clients.logging.list_log_entries(
            request=request | {"page_token": token, "filter": "severity>=ERROR"}
        )


async def test_an_unknown_field_is_refused(cloud: SimulatedCloud) -> None:
    async with grpc.aio.insecure_channel(cloud.grpc_address) as channel:
        call = channel.unary_unary("/google.logging.v2.LoggingServiceV2/ListLogEntries")
        # field 99, a varint: no version of the request has it
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call(b"\x98\x06\x01")
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "field 99 of google.logging.v2.ListLogEntriesRequest" in caught.value.details()


async def test_another_project_is_not_found(clients: Any) -> None:
    with pytest.raises(exceptions.NotFound):
        await clients.logging.list_log_entries(resource_names=["projects/other"])


async def test_logs_are_listed(clients: Any) -> None:
    names = [name async for name in await clients.logging.list_logs(parent=PROJECT)]
    assert f"{PROJECT}/logs/run.googleapis.com%2F%2Fvar%2Flog%2Fsystem" in names
    assert f"{PROJECT}/logs/run.googleapis.com%2Fvarlog%2Fsystem" in names
