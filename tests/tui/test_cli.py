from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import get_args

import pytest

from tools.domain import KINDS
from tools.errors import PermissionMissing, StateError, UsageError
from tui import arguments, cli, commands, help_text, parsing
from tui.version import VERSION

ROOT = Path(__file__).resolve().parents[2]
HEAVY = ("google", "grpc", "openai", "langgraph", "textual", "pydantic", "sqlite_utils")
SLOW = ("typing", "dataclasses", "asyncio", "inspect", "importlib.metadata", "difflib", "json")


def loaded_after(code: str) -> set[str]:
    script = f"import sys; before = set(sys.modules); {code}; print(*(set(sys.modules) - before))"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=ROOT
    )
    return set(done.stdout.splitlines()[-1].split())


def test_the_command_line_imports_nothing_heavy() -> None:
    loaded = loaded_after("import tui.cli; tui.cli.main(['--help'])")
    assert not [name for name in loaded if name.split(".")[0] in HEAVY]
    assert not loaded & set(SLOW)


def test_a_commands_help_imports_nothing_heavy() -> None:
    loaded = loaded_after("import tui.cli; tui.cli.main(['diagnose', '--help'])")
    assert not [name for name in loaded if name.split(".")[0] in HEAVY]


def test_version_is_that_of_the_project(capsys: pytest.CaptureFixture[str]) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["version"] == VERSION
    assert cli.main(["--version"]) == 0
    assert cli.main(["version"]) == 0
    assert capsys.readouterr().out == f"gemma-sre {VERSION}\n" * 2
    assert cli.main(["version", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["version"] == VERSION


def test_every_command_has_help_and_is_in_the_overview(capsys: pytest.CaptureFixture[str]) -> None:
    overview = help_text.overview()
    for command in commands.on_command_line():
        assert f"  {command.name} " in overview
        assert cli.main([*command.words, "--help"]) == 0
        assert command.summary in " ".join(capsys.readouterr().out.split())


def test_help_fits_eighty_columns() -> None:
    assert all(len(line) <= 80 for line in help_text.overview().splitlines())


def test_names_slashes_keys_and_handlers_are_each_used_once() -> None:
    for field in ("name", "slash", "key"):
        values = [getattr(command, field) for command in commands.COMMANDS]
        given = [value for value in values if value]
        assert len(given) == len(set(given)), field


@pytest.mark.parametrize(
    "path", sorted({h for c in commands.COMMANDS for h in (c.handler, c.chat)})
)
def test_every_handler_exists(path: str) -> None:
    from importlib import import_module

    if path:
        module, _, function = path.partition(":")
        assert callable(getattr(import_module(module), function))


def test_kinds_are_those_of_the_domain_and_the_settings() -> None:
    from agent.settings import Settings

    assert ("auto", *KINDS) == arguments.KINDS
    assert set(get_args(Settings.model_fields["kind"].annotation)) == set(arguments.KINDS)


def test_the_page_of_commands_is_current() -> None:
    page = (ROOT / "docs" / "commands.md").read_text(encoding="utf-8")
    assert page == help_text.commands_page(), "run: python -m tui.help_text"


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (["diagose"], "Did you mean 'diagnose'?"),
        (["diagnose", "--jsn"], "Did you mean --json?"),
        (["diagnose", "--kind", "moon"], "--kind"),
        (["diagnose", "a", "b"], "one argument too many"),
        (["diagnose", "--json", "--markdown"], "not allowed with"),
        (["--project", "p", "diagnose"], "Put the command first"),
        (["incident", "shw"], "Did you mean 'incident show'?"),
        (["incident", "show"], "required"),
        (["incident", "list", "--limit", "0"], "at least 1"),
        (["diagnose", "--since", "1h", "--from", "2026-01-01"], "exclude each other"),
        (["diagnose", "--to", "2026-01-01"], "needs --from"),
        (["diagnose", "--logs", "a", "--demo", "b"], "exclude each other"),
        (["diagnose", "--logs", "-", "-"], "once"),
        (["demo", "lst"], "Did you mean 'demo list'?"),
        (["zzz"], "Commands:"),
    ],
)
def test_wrong_usage_is_one_sentence_and_exit_2(
    words: list[str], hint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(words) == 2
    said = capsys.readouterr()
    assert hint in said.err
    assert said.err.startswith("error: ")
    assert said.err.count("\n") == 1
    assert said.out == ""


def test_no_abbreviated_options() -> None:
    parser = parsing.parser_of(next(c for c in commands.COMMANDS if c.name == "diagnose"))
    with pytest.raises(UsageError, match="--rules"):
        parser.parse_args(["--rules"])


def test_logs_take_several_files_and_stdin() -> None:
    parser = parsing.parser_of(next(c for c in commands.COMMANDS if c.name == "diagnose"))
    args = parser.parse_args(["svc", "--logs", "a", "-", "--logs", "b"])
    assert (args.service, args.logs) == ("svc", ["a", "-", "b"])


def test_demo_name_is_demo_run_name() -> None:
    found = cli.find(["demo", "int4-kernel-l4"])
    assert isinstance(found, tuple)
    command, rest = found
    assert command is not None
    assert (command.name, rest) == ("demo run", ["int4-kernel-l4"])


def test_the_chat_without_a_terminal_points_to_diagnose(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert cli.main([]) == 2
    assert "gemma-sre diagnose" in capsys.readouterr().err


class TestFailures:
    """Whatever a handler raises becomes a sentence and an exit code."""

    @pytest.fixture
    def failing(self, monkeypatch: pytest.MonkeyPatch) -> object:
        def fail_with(error: BaseException) -> int:
            def handler(path: str, args: object) -> int:
                raise error

            monkeypatch.setattr(cli, "call", handler)
            return cli.main(["version"])

        return fail_with

    @pytest.mark.parametrize(
        ("error", "code", "says"),
        [
            (StateError("It is locked.", fix="Close the other one."), 2, "Close the other one."),
            (PermissionMissing("Denied.", fix="Grant x."), 2, "error: Denied. Grant x."),
            (KeyboardInterrupt(), 130, "stopped; nothing lost"),
            (OSError(errno.ENOSPC, "No space left on device"), 74, "disk is full"),
            (RuntimeError("a [bold]secret[/bold]"), 70, "unexpected RuntimeError"),
        ],
    )
    def test_is_one_line(
        self,
        failing: object,
        error: BaseException,
        code: int,
        says: str,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        assert failing(error) == code  # type: ignore[operator]
        said = capsys.readouterr().err
        assert says in said
        assert said.count("\n") == 1
        assert "Traceback" not in said
        assert "secret" not in said

    def test_the_log_keeps_the_traceback_without_credentials(
        self, failing: object, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        error = RuntimeError("Authorization: Bearer abc.def token=hf_abcdefghijkl api_key='k1'")
        assert failing(error) == 70  # type: ignore[operator]
        log = tmp_path / "gemma-sre.log"
        assert str(log) in capsys.readouterr().err
        text = log.read_text()
        assert "Traceback" in text
        assert not [word for word in ("abc.def", "hf_abcdefghijkl", "k1'") if word in text]

    def test_debug_shows_the_traceback(
        self,
        failing: object,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        monkeypatch.setenv("GEMMA_SRE_DEBUG", "1")
        assert failing(RuntimeError("boom")) == 70  # type: ignore[operator]
        assert "Traceback" in capsys.readouterr().err

    def test_an_error_message_can_not_forge_lines_or_escapes(
        self, failing: object, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert failing(UsageError("a\nb\x1b[31mc")) == 2  # type: ignore[operator]
        assert capsys.readouterr().err == "error: a b\\x1b[31mc\n"


def test_a_closed_pipe_is_quiet() -> None:
    done = subprocess.run(
        [
            "bash",
            "-c",
            f"'{sys.executable}' -m tui diagnose --help | true; echo ${{PIPESTATUS[0]}}",
        ],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
        check=True,
    )
    assert done.stderr == ""
    assert done.stdout.strip() in {"0", "141"}


def test_a_full_disk_under_stdout_is_one_sentence() -> None:
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full on this system")
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "tui", "--help"],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        )
    assert done.returncode == 74
    assert "disk is full" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("shell", arguments.SHELLS)
def test_completion_scripts_name_the_program(
    shell: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["completion", shell]) == 0
    assert "gemma-sre" in capsys.readouterr().out


def complete(line: str) -> list[str]:
    read, write = os.pipe()
    # argcomplete writes its answer to descriptor 8.
    script = f"exec 8>&{write}; exec '{sys.executable}' -m tui"
    env = {
        **os.environ,
        "_ARGCOMPLETE": "1",
        "_ARGCOMPLETE_IFS": "\n",
        "COMP_LINE": line,
        "COMP_POINT": str(len(line)),
        "COMP_TYPE": "9",
    }
    subprocess.run(["bash", "-c", script], env=env, pass_fds=[write], cwd=ROOT, check=False)
    os.close(write)
    with os.fdopen(read) as answer:
        return [word.split("\x0b")[0].strip() for word in answer.read().split("\n")]


def test_completion_knows_commands_and_options() -> None:
    assert "diagnose" in complete("gemma-sre dia")
    assert "--markdown" in complete("gemma-sre diagnose --mark")
    assert {"list", "show"} <= set(complete("gemma-sre incident "))
