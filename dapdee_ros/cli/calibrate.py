"""Measure a model's exits and gates on held-out frames and write its calibration.json.

For each exit: its accuracy and the temperature that makes its confidence mean what it says. For
each gate exit, each later exit and each threshold: the share of frames that stop at the gate, and
the accuracy over all frames when those that stop end there and the others at the later exit.
"""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING

from dapdee_ros.cli.errors import CommandError

if TYPE_CHECKING:
    from dapdee_ros.exits.gates import Calibration

SUMMARY = "measure a model's exits and gates on held-out frames"


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add = parser.add_argument
    add("--model", required=True, help="a model folder, or the name of a model")
    add("--data", required=True, help="roadsigns, cifar10:DIR or folder:DIR")
    add("--frames", type=int, default=10_000, help="for roadsigns (default 10000)")
    add("--max-loss", type=float, default=0.005, help="accuracy the table may lose (default 0.005)")
    add("--threads", type=int, help="CPU threads (default: torch's choice)")


def run(args: argparse.Namespace) -> int:
    """Calibrate, write, and print the table."""
    import torch

    from dapdee_ros.datasets.sources import open_data
    from dapdee_ros.datasets.split import DataError
    from dapdee_ros.exits.calibration import calibrate
    from dapdee_ros.exits.card import CALIBRATION_FILE, ModelFolderError, find_model
    from dapdee_ros.exits.model_folder import load_module
    from dapdee_ros.exits.training import logits_of

    if args.frames < 1:
        raise CommandError(f"--frames must be at least 1, got {args.frames}")
    if args.threads:
        torch.set_num_threads(args.threads)
    try:
        folder = find_model(args.model)
        # A calibration of other weights is what this command is there to replace.
        card, model = load_module(folder, with_calibration=False)
        source = open_data(args.data, size=card.input_size, held_out_frames=args.frames)
    except (DataError, ModelFolderError) as error:
        raise CommandError(str(error)) from error
    if source.labels != card.labels or source.size != card.input_size:
        raise CommandError(
            f"{folder} tells {len(card.labels)} classes {card.labels[:3]}... in {card.input_size} "
            f"frames, {args.data} has {len(source.labels)} {source.labels[:3]}... in {source.size}"
        )
    frames = source.calibration()
    calibration = calibrate(
        logits_of(model, frames.images),
        frames.labels,
        model_id=card.model_id,
        data=frames.description,
    )
    path = folder / CALIBRATION_FILE
    part = path.with_name(path.name + ".part")
    part.write_text(json.dumps(calibration.to_dict()) + "\n", encoding="utf-8")
    part.replace(path)
    print(f"wrote {path} ({calibration.data})")
    print_table(calibration, args.max_loss)
    return 0


def print_table(calibration: Calibration, max_loss: float) -> None:
    """Exits, and for each gate the threshold that stops most frames within ``max_loss``."""
    deepest = len(calibration.exit_accuracy)
    print("exit  accuracy  temperature")
    rows = zip(calibration.exit_accuracy, calibration.temperatures, strict=True)
    for number, (accuracy, temperature) in enumerate(rows, start=1):
        print(f"{number:4d}  {100 * accuracy:6.2f} %  {temperature:11.3f}")
    print(f"gate  threshold  stops     with exit {deepest}")
    for gate in sorted(calibration.gates):
        allowed = calibration.exit_accuracy[-1] - max_loss
        fitting = [
            t
            for t in calibration.thresholds(gate)
            if calibration.accuracy(gate, deepest, t) >= allowed
        ]
        if fitting:
            best = fitting[0]
            print(
                f"{gate:4d}  {best:9.4f}  {100 * calibration.share(gate, best):6.2f} %  "
                f"{100 * calibration.accuracy(gate, deepest, best):6.2f} %"
            )
