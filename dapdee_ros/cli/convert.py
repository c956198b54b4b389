"""Convert model folders of an earlier version, which held weights, to today's, which hold ONNX.

    dapdee convert models/mine
    dapdee convert models/mine --out models/mine-converted

The answers stay the same: the largest difference that a few random images show is printed. The
model gets another id, so car and edge need the same converted folder.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from dapdee_ros.cli.optional_packages import require_torch
from dapdee_ros.errors import CommandError

SUMMARY = "convert a model folder of an earlier version"


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("folder", metavar="FOLDER", type=Path, nargs="+", help="model folder")
    parser.add_argument(
        "--out", type=Path, help="folder to create (default: FOLDER itself, in place)"
    )


def run(args: argparse.Namespace) -> int:
    """Convert, and say what became of size and answers."""
    if args.out and len(args.folder) > 1:
        raise CommandError("--out is for one FOLDER; several are converted in place")
    require_torch("converting a model")
    from dapdee_ros.engines.engine import EngineError
    from dapdee_ros.exits.card import ModelFolderError
    from dapdee_ros.exits.conversion import convert

    for folder in args.folder:
        try:
            done = convert(folder, args.out, lambda step: print(f"{step} ...", file=sys.stderr))
        except (EngineError, ModelFolderError) as error:
            raise CommandError(str(error)) from error
        print(
            f"{args.out or folder}: {done.bytes_before:,} bytes before, {done.bytes_after:,} now; "
            f"model id {done.former_id} before, {done.card.model_id} now; outputs differ by "
            f"{done.difference:.1e} of the largest at most"
        )
    return 0
