from __future__ import annotations

from dataclasses import replace
from datetime import date

import pytest

from runbooks.lint import lint_runbook
from runbooks.rule import Rule
from runbooks.runbook import Example, Runbook
from runbooks.shell import (
    Command,
    check_command,
    fenced_commands,
    inline_commands,
    known_options,
    split_commands,
    tables,
)

TODAY = date(2026, 11, 22)


@pytest.fixture
def good(library) -> Runbook:
    return replace(library.runbooks["mm-batched-tokens"], id="mine", status="draft")


@pytest.fixture
def alone(library):
    return library.without("mm-batched-tokens")


def findings(book, catalog, **more) -> list[tuple[str, str, str]]:
    found = lint_runbook(book, catalog, today=TODAY, **more)
    return [(item.severity, item.where, item.message) for item in found]


def with_section(book: Runbook, name: str, text: str) -> Runbook:
    return replace(book, sections={**book.sections, name: text})


def bash(text: str) -> str:
    return f"```bash\n{text}\n```"


def test_a_good_runbook_has_no_findings(good, alone):
    assert findings(good, alone) == []


def test_each_missing_section_is_named(good, alone):
    for name in good.sections:
        (found,) = (
            item for item in findings(with_section(good, name, " "), alone) if "empty" in item[2]
        )
        assert found[:2] == ("error", name)


@pytest.mark.parametrize(
    ("command", "problem"),
    [
        ('gcloud run service describe "$SERVICE"', "no sub-command"),
        ('gcloud run services describe "$SERVICE" --zone x', "--zone is not in its list"),
        ("vllm serve google/gemma-4-12B-it --swap-space 4", "--swap-space"),
        ("vllm serve google/gemma-4-12B-it --max-modellen 4", "--max-modellen"),
        ("curl --no-such-flag https://example.com", "--no-such-flag"),
        ("docker run --rn --entrypoint vllm image serve", "--rn"),
        ("kubectl get pods --namespce x", "--namespce"),
        ("wget https://example.com", "not a command that can be checked"),
        ("echo 'open", "can't be parsed"),
        (
            'gcloud compute tpus tpu-vm ssh n --zone z --command "docker logz c"',
            "docker has no sub-command",
        ),
        ('curl -H "Authorization: Bearer $(gcloud auth print-token)" x', "gcloud has no sub-"),
        ("kubectl exec pod -n ns -- vllm serve m --nope", "--nope"),
        ("for z in a b; do sudo gcloud nope $z; done", "gcloud has no sub-command"),
    ],
)
def test_a_command_that_does_not_exist_is_found(good, alone, command, problem):
    found = findings(with_section(good, "Diagnosis", bash(command)), alone)
    assert any(item[1] == "Diagnosis" and problem in item[2] for item in found), found


@pytest.mark.parametrize(
    "command",
    [
        "vllm serve m --limit-mm-per-prompt.image=0 --no-enable-prefix-caching --help",
        "gcloud logging read 'severity>=ERROR AND textPayload:\"a b\"' --limit 3 | grep x > out",
        "docker run --rm --gpus all --entrypoint python3 image -c 'print(1)' --anything",
        'curl -fsS -o /dev/null -w "%{http_code}\\n" https://example.com',
        "A=b sudo kubectl get pods -A",
        "for z in a b; do gcloud compute tpus accelerator-types list --zone $z; done",
    ],
)
def test_a_command_that_exists_passes(good, alone, command):
    assert findings(with_section(good, "Diagnosis", bash(command)), alone) == []


def test_a_changing_step_needs_a_check_and_a_way_back(good, alone):
    changing = with_section(good, "Mitigation", bash("gcloud run services update s --port 1"))
    assert findings(changing, alone) == []
    without_check = with_section(changing, "Verify", "It is well.")
    assert [item[1] for item in findings(without_check, alone)] == ["Verify"]
    without_way_back = with_section(changing, "Rollback", "Hope.")
    assert [item[1] for item in findings(without_way_back, alone)] == ["Rollback"]


def test_a_changing_command_in_a_fix_counts_too(good, alone):
    book = replace(
        with_section(with_section(good, "Mitigation", "See the fix."), "Rollback", "None."),
        fix=("Do `gcloud run services update s --port 1` now",),
    )
    assert [item[1] for item in findings(book, alone)] == ["Rollback"]


def test_looking_may_not_change_anything(good, alone):
    for name in ("Diagnosis", "Verify"):
        found = findings(with_section(good, name, bash("kubectl delete pod x")), alone)
        assert (name, "changes something") in {(item[1], item[2][-17:]) for item in found}


def test_an_option_in_a_fix_must_exist(good, alone):
    found = findings(replace(good, fix=("Set `--max-batched 1`",)), alone)
    assert found == [("error", "fix", "no list of options holds --max-batched")]


def test_a_signature_must_recognise_its_own_and_nobody_elses(good, alone, library):
    deaf = replace(good, rules=(Rule(line="never printed"),))
    assert {item[1] for item in findings(deaf, alone)} == {"examples[0]", "examples[1]"}
    greedy = replace(good, rules=(*good.rules, Rule(line="Error")))
    found = findings(greedy, alone)
    assert any("also match an example of" in item[2] for item in found)
    biting = replace(good, never=(*good.never, good.examples[0].lines[0]))
    assert [item[1] for item in findings(biting, alone)] == ["not[1]"]
    double = findings(good, library)
    assert double == [("error", "rules", "they also match an example of mm-batched-tokens")]


def test_a_signature_hidden_behind_a_place_is_still_tried(good, alone):
    hidden = replace(good, rules=(*good.rules, Rule(line="capacity", on="platform")))
    assert any("also match" in item[2] for item in findings(hidden, alone))


def test_ids_must_exist_and_not_displace_each_other(good, alone):
    book = replace(good, excludes=("absent", "mine"), may_be=("absent",))
    assert [item[1] for item in findings(book, alone)] == ["may_be", "excludes", "excludes"]
    rival = replace(
        alone.runbooks["load-peak-oom"], id="oom-wrong-gpu", excludes=("load-peak-oom",)
    )
    found = lint_runbook(rival, alone, today=TODAY)
    assert any("displace each other" in item.message for item in found)


def test_dates_grow_stale(good, alone):
    assert findings(replace(good, reviewed=date(2025, 1, 1)), alone)[0][:2] == (
        "warning",
        "reviewed",
    )
    assert "future" in findings(replace(good, reviewed=date(2027, 1, 1)), alone)[0][2]


def test_evidence_ids_must_resolve(good, alone):
    book = with_section(good, "Meaning", "The kernel is missing [E1], and more [E2].")
    book = with_section(book, "Evidence", "- **E1** insertId abc: `ValueError`")
    assert findings(book, alone) == [
        ("error", "Meaning", "E2 does not stand in the section Evidence")
    ]


def test_a_cause_without_example_or_step_or_source_is_unfinished(good, alone):
    book = replace(good, examples=(), fix=(), sources=())
    assert {item[1] for item in findings(book, alone)} == {"examples", "fix", "sources"}


def test_the_lists_say_when_they_were_read():
    for name, table in tables().items():
        assert isinstance(table["read"], date), name
        assert table["source"]
        assert table["version"]
    assert len(known_options("vllm")) > 400


def test_commands_are_taken_apart_as_a_shell_would():
    script = (
        "X=1 gcloud a b \\\n  --c 'd e' > f && echo \"$(docker ps -a)\"; # not this\n# nor this"
    )
    assert split_commands(script)[:2] == [
        Command(("docker", "ps", "-a")),
        Command(("gcloud", "a", "b", "--c", "d e")),
    ]
    assert fenced_commands("```python\nprint()\n```\n```bash\nls\n```") == [Command(("ls",))]
    assert inline_commands("use `gcloud x y`, not `foo`", ("gcloud",)) == [
        Command(("gcloud", "x", "y"))
    ]


def test_effects():
    def effect(text: str) -> str:
        (command,) = split_commands(text)
        return check_command(command).effect

    assert effect("gcloud run services describe x") == "read"
    assert effect("gcloud run services update x") == "change"
    assert effect('gcloud compute tpus tpu-vm ssh n --command "docker stop x"') == "change"
    assert effect("curl -X DELETE https://x") == "change"
    assert effect("sed -i s/a/b/ x") == "change"
    assert effect("vllm serve --help=all") == "read"


def test_examples_may_be_facts(good, alone):
    book = replace(
        good,
        rules=(Rule(fact="canary.mine", equals=True),),
        examples=(Example(facts={"canary.mine": True}),),
        never=(),
    )
    assert findings(book, alone) == []
