"""Shell completion through argcomplete, which is imported only when a shell asks."""

from __future__ import annotations

import argparse

from tui.parsing import PROGRAM, whole_parser
from tui.plain import write


def complete() -> None:
    """Answer the shell's question and exit the process, as argcomplete does."""
    import argcomplete

    argcomplete.autocomplete(whole_parser(), always_complete_options="long")


def print_script(args: argparse.Namespace) -> int:
    """Print the script that a shell evaluates."""
    from argcomplete.shell_integration import shellcode

    write(shellcode([PROGRAM], shell=args.shell) + "\n")
    return 0
