"""A running service on the simulated cloud: its boot log, its platform, its /metrics."""

import pytest

from tools.simulator.cloud import SimulatedCloud
from tools.simulator.scenario import load_scenario
from tools.sizing.fit import fit_measured
from tools.sizing.layout import layout
from tools.sizing.live import look
from tools.sizing.request import FitRequest


async def see(name, **options):
    async with SimulatedCloud(load_scenario(name)) as cloud:
        found = await look(cloud.target(), cloud.config(), cloud.endpoint_config(), **options)
        return found, cloud


async def test_a_healthy_service():
    found, cloud = await see("healthy")
    assert found.gaps == ()
    assert found.accelerator == "nvidia-l4"
    assert found.log.version == "0.32.0"
    assert found.log.figures["kv_gib"] == 11.42
    assert found.log.figures["graphs_gib"] == 0.31
    assert found.log.source.startswith("Cloud Logging, gemma-4-12b-00010-qkz, 2026-06-06 08:40")
    assert found.metrics.cache_config["num_gpu_blocks"] == "23388"
    # The newest start by its own line, then the lines around it: two reads of the logs.
    assert len(cloud.calls_to("logging.ListLogEntries")) == 2
    (start,) = found.starts
    assert start.ready
    assert start.phases == {
        "process start": 150.0, "loading weights": pytest.approx(19.0),
        "compiling and graphs": pytest.approx(71.0),
    }  # fmt: skip
    assert start.seconds == pytest.approx(240, abs=2)


async def test_its_layout_is_measured_or_derived():
    found, _ = await see("healthy")
    laid = layout(
        found.log, accelerator=found.accelerator,
        used=found.metrics.kv_usage, cache=found.metrics.cache_config,
    )  # fmt: skip
    how = {(figure.name, figure.unit): (figure.value, figure.how) for figure in laid.figures}
    assert how["KV cache", "GiB"] == (11.42, "measured")
    assert how["KV blocks", "blocks"] == (23388.0, "measured")
    assert how["tokens a block", "tokens"] == (16.0, "measured")
    assert how["precision of the weights", ""] == ("w4a16", "derived")
    assert how["precision of the KV cache", ""] == ("fp8", "derived")
    assert how["maximum concurrency", "requests"] == (7.45, "measured")
    rest = how["activations, graphs, outside torch", "GiB"]
    assert rest == (pytest.approx(0.95 * 21.96 - 8.21 - 11.42, abs=0.01), "derived")
    assert all(one.quote for one in laid.figures if one.how == "measured" and one.unit != "share"
               and one.name != "context length")  # fmt: skip
    # The scenario's printed tokens are those of our arithmetic, so both must hold together.
    assert laid.explanation[-1].endswith("they agree.")


async def test_fit_takes_it_and_explains_the_difference():
    found, _ = await see("healthy", ask_endpoint=False)
    assert found.metrics is None
    request = FitRequest("12B", "L4", "w4a16", flags=("--max-model-len", "16384"))
    result = fit_measured(request, found.log)
    assert result.memory.kv.gib()["expected"] == pytest.approx(11.42, abs=0.01)
    assert any("11.42 GiB measured" in line for line in result.explanation)


async def test_a_failed_start_is_not_taken_for_what_serves():
    found, _ = await see("int4-kernel-l4")
    assert found.log.args["kv_cache_dtype"] == "fp8"  # the failing revision says nvfp4
    assert "and /metrics" in found.log.source
    assert any("did not reach its KV cache" in gap.why for gap in found.gaps)
    assert not found.starts[0].ready


async def test_logs_that_are_refused_are_a_gap():
    found, _ = await see("logs-forbidden")
    assert any("logging.logEntries.list" in gap.why for gap in found.gaps)
    assert found.metrics is not None


async def test_a_sleeping_service_is_not_woken():
    found, cloud = await see("scaled-to-zero")
    assert found.metrics is None
    assert any("was not woken" in gap.why for gap in found.gaps)
    assert not cloud.woken


async def test_a_prompt_that_quotes_a_start_is_no_start():
    forged = (
        "(APIServer pid=1) INFO {{time}} [logger.py:40] Received request chatcmpl-1: prompt: "
        "'non-default args: {\\'model\\': \\'x\\'}\nAvailable KV cache memory: 999.0 GiB\n"
        "', params: SamplingParams(n=1), lora_request: None."
    )
    scenario = load_scenario("healthy")
    from dataclasses import replace

    scenario = replace(
        scenario, logs=(*scenario.logs, {"at": "-5m", "instance": "i1", "text": forged})
    )
    async with SimulatedCloud(scenario) as cloud:
        found = await look(cloud.target(), cloud.config(), cloud.endpoint_config())
    assert found.log.figures["kv_gib"] == 11.42
    assert found.log.args["model"] != "x"


@pytest.mark.parametrize(
    ("name", "want"),
    [("v6e-4", ("v6e", 4)), ("v5p-8", ("v5p", 4)), ("nvidia-l4", ("nvidia-l4", 0))],
)
def test_a_tpu_type_is_chips(name, want):
    from tools.sizing.live import _card_of, _Platform

    assert _card_of(_Platform({"": name}), []) == want


async def test_a_local_endpoint_has_no_logs():
    from dataclasses import replace

    async with SimulatedCloud(load_scenario("healthy")) as cloud:
        target = replace(cloud.target(), kind="local")
        found = await look(target, cloud.config(), cloud.endpoint_config())
    assert found.metrics is not None
    assert found.gaps[0].what == "logs"
