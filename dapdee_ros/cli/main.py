"""Entry point of the ``dapdee`` command; every subcommand is a module of this package."""

from __future__ import annotations

import argparse
import ast
import importlib
import keyword
import os
import sys
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from dapdee_ros import __version__
from dapdee_ros.errors import CommandError
from dapdee_ros.files import FileError

_NOT_COMMANDS = {"__init__", "errors", "main"}


def _module(command: str) -> str:
    """The module of a subcommand: ``import`` is a word of Python's own."""
    name = command.replace("-", "_")
    return f"{name}_" if keyword.iskeyword(name) else name


@cache
def _commands() -> dict[str, str]:
    """Names of the subcommands with their one-line summaries.

    The summaries are read from the source without importing it, so that ``dapdee --help`` does
    not wait for torch.
    """
    commands = {}
    for path in sorted(Path(__file__).parent.glob("*.py")):
        if path.stem in _NOT_COMMANDS:
            continue
        for statement in ast.parse(path.read_text(encoding="utf-8")).body:
            if (
                isinstance(statement, ast.Assign)
                and isinstance(statement.targets[0], ast.Name)
                and statement.targets[0].id == "SUMMARY"
                and isinstance(statement.value, ast.Constant)
            ):
                commands[path.stem.removesuffix("_").replace("_", "-")] = str(statement.value.value)
    return commands


def main(argv: Sequence[str] | None = None) -> int:
    """Run the ``dapdee`` command and return its exit status."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    commands = _commands()
    parser = argparse.ArgumentParser(
        prog="dapdee",
        description="Split inference on robots: train, calibrate, profile, plan, run.",
    )
    parser.add_argument("--version", action="version", version=f"dapdee {__version__}")
    subparsers = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    asked = next((a for a in arguments if not a.startswith("-")), None)
    for name, summary in commands.items():
        # Only the requested command is imported; the others show their summary.
        module = (
            importlib.import_module(f"dapdee_ros.cli.{_module(name)}") if name == asked else None
        )
        sub = subparsers.add_parser(
            name,
            help=summary,
            description=(module.__doc__ or summary) if module else summary,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        if module:
            module.configure(sub)
            sub.set_defaults(run=module.run)
    args = parser.parse_args(arguments)
    try:
        status = int(args.run(args))
        sys.stdout.flush()
        return status
    except (CommandError, FileError) as error:
        print(f"dapdee {args.command}: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:
        # The reader has closed the pipe (`| head`). Discard what is still buffered.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:
        # A file error without a message of its own.
        if error.filename is None or isinstance(error, ConnectionError):
            raise
        print(f"dapdee {args.command}: {error.filename}: {error.strerror}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"dapdee {args.command}: interrupted", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
