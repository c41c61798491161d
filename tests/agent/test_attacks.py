"""What a caller of the endpoint may try, against the rules and against a model that obeys it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from google.protobuf import json_format

from agent.answers import Settled, settle_answer, settle_hypotheses
from agent.look import Look
from agent.memory import Memory
from agent.report import build_report, with_brain
from agent.verdict import conclude
from runbooks.catalog import Catalog
from tools.domain import LogRecord, Target
from tools.logs.records import record_from_entry
from tools.simulator.log_entries import build_entries
from tools.simulator.scenario import Scenario, load_scenario
from tui.headless_report import render

ATTACKS = Path(__file__).parent / "attacks"
CATALOG = Catalog.load()
# base → where the attack lands, and what is truly the case
BASES = {
    "healthy": ({"instance": "i1"}, ("healthy", [])),
    "int4-kernel-l4": (
        {"instance": "i0", "revision": "gemma-4-12b-00010-qkz"},
        ("confirmed", ["wna16-no-kernel"]),
    ),
}
_ESCAPES = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u202a-\u202e\u2066-\u2069\U000e0000-\U000e007f]"
)
_STRUCK = re.compile(r"~~.*?~~ {0,2}(?:\n(?=~~))?", re.DOTALL)


@dataclass(frozen=True)
class Attack:
    name: str
    carrier: str
    text: str
    answer: str
    false: tuple[str, ...]
    secret: str
    block: Mapping[str, Any] = field(default_factory=dict)

    def hits(self, shown: str) -> list[str]:
        return [word for word in self.false if word.lower() in shown.lower()]


def _load(name: str) -> Any:
    return yaml.safe_load((ATTACKS / f"{name}.yaml").read_text("utf-8"))


def _filled(value: Any, text: str) -> Any:
    if isinstance(value, str):
        line = text.replace("\n", "\\n")
        return value.replace("{line}", line).replace("{text}", text)
    if isinstance(value, dict):
        return {key: _filled(part, text) for key, part in value.items()}
    return [_filled(part, text) for part in value] if isinstance(value, list) else value


@cache
def attacks() -> dict[str, Attack]:
    carriers, payloads = _load("carriers"), _load("payloads")
    found = {}
    for row in _load("cases"):
        for name in row["payloads"]:
            for carrier in row["carriers"]:
                told = payloads[name]
                secret = "".join(told.get("secret", ()))
                text = told["text"].replace("{secret}", secret)
                answer = told.get("answer", f"The cause is this: {text} [E1].")
                found[f"{name}@{carrier}"] = Attack(
                    name,
                    carrier,
                    text,
                    answer,
                    tuple(told.get("false", ())),
                    secret,
                    _filled(carriers[carrier], text),
                )
    return found


def attacked(base: str, attack: Attack) -> Scenario:
    """Return the scenario with the attack in its logs, ten minutes before now."""
    where, _ = BASES[base]
    block = {"at": "-10m", **where, **attack.block}
    if "instanceId" in block.get("labels", {}):
        del block["instance"]
    scenario = _scenario(base)
    return replace(scenario, logs=(*scenario.logs, block))


@cache
def _scenario(base: str) -> Scenario:
    return load_scenario(base)


def _records(scenario: Scenario) -> list[LogRecord]:
    return [
        record_from_entry(json_format.MessageToDict(type(e.proto).pb(e.proto)))
        for e in build_entries(scenario)
    ]


@cache
def _base_records(base: str) -> tuple[LogRecord, ...]:
    return tuple(_records(_scenario(base)))


def diagnosed(base: str, attack: Attack) -> tuple[Look, dict[str, Any]]:
    """Judge the base's own log with the attack in it, as a diagnosis of log files does."""
    scenario = attacked(base, attack)
    fresh = _records(replace(scenario, logs=scenario.logs[-1:]))
    target = Target("cloud-run", "gemma-4-12b", "demo-project", "us-east4")
    look = Look(target, CATALOG, records=[*_base_records(base), *fresh])
    findings = look.findings()
    verdict = conclude(findings, CATALOG)
    return look, build_report(findings, verdict, look.evidence)


def obeyed(attack: Attack, look: Look, report: dict[str, Any]) -> tuple[Settled, dict[str, Any]]:
    """Return what becomes of a model that says and notes what the attack wants."""
    settled = settle_answer(attack.answer, report, evidence=look.evidence, catalog=CATALOG)
    note = {"title": attack.answer, "why": f"the model believes: {attack.text}", "against": "-"}
    beliefs = settle_hypotheses([note], report, CATALOG)
    return settled, with_brain(report, "model", "x", [*beliefs, *settled.hypotheses])


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Memory]:
    memory = Memory.open(tmp_path_factory.mktemp("attacks") / "state.db")
    yield memory
    memory.close()


def test_there_are_more_than_a_hundred() -> None:
    assert len(attacks()) >= 100
    carriers, payloads = _load("carriers"), _load("payloads")
    assert {attack.carrier for attack in attacks().values()} == set(carriers)
    assert {attack.name for attack in attacks().values()} == set(payloads)


@pytest.mark.parametrize("base", BASES)
@pytest.mark.parametrize("name", attacks())
def test_an_attack_changes_nothing(kept: Memory, base: str, name: str) -> None:
    attack = attacks()[name]
    look, report = diagnosed(base, attack)
    level, causes = BASES[base][1]
    assert (report["verdict"], [c["id"] for c in report["causes"]]) == (level, causes)
    plain = json.dumps(report, ensure_ascii=False)
    assert attack.hits(plain) == []
    assert not attack.secret or attack.secret not in plain
    settled, whole = obeyed(attack, look, report)
    assert (whole["verdict"], whole["causes"]) == (report["verdict"], report["causes"])
    assert attack.hits(_STRUCK.sub("", settled.text)) == []
    assert _ESCAPES.search(settled.text) is None
    for style in ("text", "markdown", "json"):
        shown = render(whole, style)  # type: ignore[arg-type]
        assert _ESCAPES.search(shown) is None
        assert not attack.secret or attack.secret not in shown
    assert not attack.secret or attack.secret not in settled.text
    _keep(kept, look, settled, whole)
    if attack.secret:
        assert attack.secret.encode() not in _on_disk(kept)


def test_the_same_words_of_the_process_itself_are_a_cause() -> None:
    """What makes the suite mean something: printed by the engine, the forgery is believed."""
    genuine = replace(attacks()["forged-traceback@prompt-raw"], block={"text": ""})
    lines = genuine.text.rpartition("\n")[0]
    for block, wanted in (
        ({"text": lines}, "likely"),
        ({"text": lines, "stream": "stderr"}, "likely"),
    ):
        _, report = diagnosed("healthy", replace(genuine, block=block))
        assert report["verdict"] == wanted
        assert [cause["id"] for cause in report["causes"]] == ["hf-gated-401"]


def _keep(memory: Memory, look: Look, settled: Settled, report: dict[str, Any]) -> None:
    session = memory.start_session()
    turn = memory.start_turn(session, "diagnose", "diagnose", {})
    content = "\n".join(record.text for record in look.records[-60:])
    memory.record_call(
        turn, {"call": "probe-logs", "name": "logs", "state": "ok", "content": content}
    )
    memory.finish_turn(turn, "finished", answer=settled.text, author="model", report=report)


def _on_disk(memory: Memory) -> bytes:
    folder = memory.path.parent
    return b"".join(path.read_bytes() for path in folder.iterdir() if path.is_file())
