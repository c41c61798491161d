"""The one table of commands: it feeds the command line, slash commands, palette, keys and help.

A row names its handlers as ``module:function`` and they are imported only when they run, so
this module, like all that ``--help`` needs, imports the standard library and little of that.

``handler`` runs on the command line: ``(argparse.Namespace) -> int``, the exit code.
``chat`` runs in the chat: ``async (ChatScreen, str) -> None``, with the text behind the name.
"""

from __future__ import annotations

from tui import (
    arguments,
    bench_arguments,
    logs_arguments,
    record_arguments,
    runbook_arguments,
    sizing_arguments,
)
from tui.command import Command

TYPE_CHECKING = False  # typing itself would be a third of the start of --help
if TYPE_CHECKING:
    from collections.abc import Sequence

GROUPS = {
    "bench": "Measure an endpoint under load",
    "demo": "Try everything on a simulated cloud",
    "incident": "Look at recorded incidents",
    "logs": "Read, mine and follow logs",
    "runbook": "Look after runbooks: the failures that are known",
    "session": "Look at recorded sessions",
    "audit": "Look at the audit log",
    "prices": "Look after the prices",
    "state": "Look after state.db",
}


COMMANDS: tuple[Command, ...] = (
    Command(
        "chat",
        "Open the chat (what plain `gemma-sre` does)",
        handler="tui.chat:run",
        arguments=arguments.chat,
    ),
    Command(
        "diagnose",
        "Find out what is wrong with an endpoint, with evidence",
        handler="tui.headless:diagnose",
        arguments=arguments.diagnose,
        slash="/diagnose",
        usage="[service]",
        chat="tui.chat_commands:diagnose",
        key="f5",
    ),
    Command(
        "incident list",
        "List recorded incidents, newest first",
        handler="tui.headless_incidents:list_incidents",
        arguments=arguments.incident_list,
        slash="/incidents",
        chat="tui.chat_commands:incidents",
        key="f3",
    ),
    Command(
        "incident show",
        "Show one incident with its evidence",
        handler="tui.headless_incidents:show_incident",
        arguments=arguments.incident_show,
    ),
    Command(
        "incident search",
        "Find earlier incidents by words, cause or fingerprint",
        handler="tui.headless_incidents:search_incidents",
        arguments=record_arguments.incident_search,
    ),
    Command(
        "incident resolve",
        "Close an incident with what fixed it",
        handler="tui.headless_incidents:resolve_incident",
        arguments=record_arguments.incident_resolve,
    ),
    Command(
        "incident note",
        "Add a note to an incident's timeline",
        handler="tui.headless_incidents:note_incident",
        arguments=record_arguments.incident_note,
    ),
    Command(
        "incident export",
        "Write an incident's post-mortem in Markdown",
        handler="tui.headless_incidents:export_incident",
        arguments=record_arguments.incident_export,
    ),
    Command(
        "session list",
        "List sessions, the last used first",
        handler="tui.headless_sessions:list_sessions",
        arguments=record_arguments.session_list,
    ),
    Command(
        "session show",
        "Show a session's questions and answers",
        handler="tui.headless_sessions:show_session",
        arguments=record_arguments.session_show,
    ),
    Command(
        "session rename",
        "Give a session a name",
        handler="tui.headless_sessions:rename_session",
        arguments=record_arguments.session_rename,
    ),
    Command(
        "session export",
        "Write a session as Markdown or JSON",
        handler="tui.headless_sessions:export_session",
        arguments=record_arguments.session_export,
    ),
    Command(
        "session delete",
        "Forget a session, its turns and checkpoints",
        handler="tui.headless_sessions:delete_session",
        arguments=record_arguments.session_delete,
    ),
    Command(
        "audit show",
        "Show who did what, when, with what result",
        handler="tui.headless_audit:show_audit",
        arguments=record_arguments.audit_show,
    ),
    Command(
        "audit verify",
        "Check that the audit log was not tampered with",
        handler="tui.headless_audit:verify_audit",
        arguments=record_arguments.audit_verify,
    ),
    Command(
        "audit export",
        "Write the audit log as JSON lines",
        handler="tui.headless_audit:export_audit",
        arguments=record_arguments.audit_export,
    ),
    Command(
        "state prune",
        "Forget what is old and give the room back",
        handler="tui.headless_sessions:prune_state",
        arguments=record_arguments.state_prune,
    ),
    Command(
        "logs read",
        "Print log entries, of files or of the cloud",
        handler="tui.logs_commands:read",
        arguments=logs_arguments.read,
    ),
    Command(
        "logs patterns",
        "Mine log entries for patterns, the most telling first",
        handler="tui.logs_commands:patterns",
        arguments=logs_arguments.patterns,
    ),
    Command(
        "logs root-cause",
        "Find the exception behind the wrappers, and its option",
        handler="tui.logs_commands:root_cause",
        arguments=logs_arguments.root_cause,
    ),
    Command(
        "logs tail",
        "Print log entries as they come",
        handler="tui.logs_commands:tail",
        arguments=logs_arguments.tail,
    ),
    Command(
        "runbook list",
        "List runbooks, shipped ones and your own",
        handler="tui.runbook_commands:list_runbooks",
        arguments=runbook_arguments.list_,
    ),
    Command(
        "runbook show",
        "Show a runbook, or the version that an incident showed",
        handler="tui.runbook_commands:show",
        arguments=runbook_arguments.show,
    ),
    Command(
        "runbook draft",
        "Draft a runbook from logs, an incident or a pattern",
        handler="tui.runbook_commands:draft",
        arguments=runbook_arguments.draft,
    ),
    Command(
        "runbook lint",
        "Check runbooks: parts, evidence, commands, signature",
        handler="tui.runbook_commands:lint",
        arguments=runbook_arguments.lint,
    ),
    Command(
        "runbook approve",
        "Approve a runbook, so that it may name a cause",
        handler="tui.runbook_commands:approve",
        arguments=runbook_arguments.approve,
    ),
    Command(
        "runbook diff",
        "Compare a runbook with its version before, or with another",
        handler="tui.runbook_commands:diff",
        arguments=runbook_arguments.diff,
    ),
    Command(
        "runbook export",
        "Write a runbook as Markdown, HTML or JSON",
        handler="tui.runbook_commands:export",
        arguments=runbook_arguments.export,
    ),
    Command(
        "demo run",
        "Diagnose a simulated failure; in a terminal, in the chat",
        handler="tui.headless_demo:run",
        arguments=arguments.demo_run,
    ),
    Command(
        "demo list",
        "List the scenarios that ship",
        handler="tui.headless_demo:list_scenarios",
        arguments=arguments.as_json,
    ),
    Command(
        "demo validate",
        "Check a scenario file against its schema",
        handler="tui.headless_demo:validate",
        arguments=arguments.demo_validate,
    ),
    Command(
        "fit",
        "Compute whether a model fits an accelerator, and what helps",
        handler="tui.sizing_commands:run_fit",
        arguments=sizing_arguments.add_fit_arguments,
        slash="/fit",
        usage="MODEL --accelerator A [-- flags]",
        chat="tui.sizing_chat:fit",
    ),
    Command(
        "cost",
        "Compute the cost of an hour, a month, a million tokens",
        handler="tui.sizing_commands:run_cost",
        arguments=sizing_arguments.add_cost_arguments,
        slash="/cost",
        usage="MODEL --accelerator A",
        chat="tui.sizing_chat:cost",
    ),
    Command(
        "recommend",
        "Rank models, accelerators and flags for a workload",
        handler="tui.sizing_commands:run_recommend",
        arguments=sizing_arguments.add_recommend_arguments,
    ),
    Command(
        "lint",
        "Check a `vllm serve` command before it is deployed",
        handler="tui.sizing_commands:run_lint",
        arguments=sizing_arguments.add_lint_arguments,
    ),
    Command(
        "memory",
        "Show where a service's memory went, measured or derived",
        handler="tui.sizing_commands:run_memory",
        arguments=sizing_arguments.add_memory_arguments,
    ),
    Command(
        "prices refresh",
        "Read the prices again from Google's billing catalogue",
        handler="tui.sizing_prices:run_refresh",
        arguments=sizing_arguments.add_refresh_arguments,
    ),
    Command(
        "query",
        "Ask the model once and show how fast it answered",
        handler="tui.query_commands:run_query",
        arguments=bench_arguments.add_query_arguments,
    ),
    Command(
        "metrics",
        "Show the server's own figures now, and what they mean",
        handler="tui.metrics_commands:run_metrics",
        arguments=bench_arguments.add_metrics_arguments,
    ),
    Command(
        "bench plan",
        "Show what a load run would do, how long, at what cost",
        handler="tui.bench_commands:run_plan",
        arguments=bench_arguments.add_plan_arguments,
    ),
    Command(
        "bench run",
        "Measure an endpoint under load (costs money and load)",
        handler="tui.bench_commands:run_run",
        arguments=bench_arguments.add_run_arguments,
    ),
    Command(
        "bench list",
        "List the load runs that are kept",
        handler="tui.bench_commands:run_list",
        arguments=bench_arguments.add_list_arguments,
    ),
    Command(
        "bench show",
        "Show a load run as a heat-map and a table",
        handler="tui.bench_commands:run_show",
        arguments=bench_arguments.add_show_arguments,
    ),
    Command(
        "bench compare",
        "Compare two load runs, if they are alike",
        handler="tui.bench_commands:run_compare",
        arguments=bench_arguments.add_compare_arguments,
    ),
    Command(
        "bench report",
        "Write a load run as one HTML file",
        handler="tui.bench_commands:run_report",
        arguments=bench_arguments.add_report_arguments,
    ),
    Command(
        "bench import",
        "Import grids and results of other load generators",
        handler="tui.bench_commands:run_import",
        arguments=bench_arguments.add_import_arguments,
    ),
    Command(
        "check",
        "Check the set-up: credentials, permissions, endpoint, model",
        handler="tui.headless_check:check",
        arguments=arguments.check,
    ),
    Command(
        "completion",
        "Print the shell's completion script",
        handler="tui.completion:print_script",
        arguments=arguments.completion,
    ),
    Command(
        "version",
        "Print the version",
        handler="tui.cli:print_version",
        arguments=arguments.as_json,
    ),
    Command(
        "help", "Show commands and keys", slash="/help", chat="tui.chat_commands:help", key="f1"
    ),
    Command(
        "quit", "Leave the chat; the session is kept", slash="/quit", chat="tui.chat_commands:quit"
    ),
)

# A command of one word that is a group, called without its second word.
GROUP_DEFAULTS = {
    "bench": "bench list",
    "demo": "demo run",
    "incident": "incident list",
    "runbook": "runbook list",
    "session": "session list",
}


def on_command_line() -> tuple[Command, ...]:
    """Return the commands that a shell can call."""
    return tuple(command for command in COMMANDS if command.handler)


def in_chat() -> tuple[Command, ...]:
    """Return the commands that have a slash name."""
    return tuple(command for command in COMMANDS if command.slash)


def find_slash(text: str) -> tuple[Command | None, str]:
    """Return the command that ``text`` calls, and what follows its name."""
    name, _, rest = text.strip().partition(" ")
    for command in in_chat():
        if command.slash == name.lower():
            return command, rest.strip()
    return None, rest.strip()


def nearest(word: str, names: Sequence[str]) -> str:
    """Return the name that ``word`` was probably meant to be, or an empty text."""
    import difflib

    found = difflib.get_close_matches(word, names, n=1, cutoff=0.6)
    if found:
        return found[0]
    starts = [name for name in names if word and name.startswith(word)]
    return starts[0] if len(starts) == 1 else ""
