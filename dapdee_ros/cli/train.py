"""Train a network with exits and write it to a model folder.

Frames come from the road-sign renderer (roadsigns), CIFAR-10 (cifar10:DIR, torchvision's layout or
folders of images) or any folder of images (folder:DIR, with train/<class>/ and test/<class>/, or
<class>/ alone). The folder named by --out holds the checkpoint while the training runs and the
model at the end. Run again with the same options, an interrupted training resumes where it stopped;
Ctrl-C saves first.

Examples:
  dapdee train --model roadsigns --data roadsigns --out my_signs
  dapdee train --model vgg16-cifar --data cifar10:DIR --epochs 60 --out vgg16-cifar10
  dapdee train --model resnet18 --exits 4 --data folder:DIR --size 128x128 --out my_resnet
To train only the backbone, for comparison: the same command with --exit-weights 0,0,0,1.
"""

from __future__ import annotations

import argparse
import json
import platform
import shlex
import signal
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from dapdee_ros.errors import CommandError

if TYPE_CHECKING:
    from dapdee_ros.datasets.split import DataSource
    from dapdee_ros.exits.recipe import Recipe
    from dapdee_ros.exits.training import Training

SUMMARY = "train a network with exits: roadsigns, CIFAR-10 or your own folders of images"


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add = parser.add_argument
    add(
        "--model", required=True, help="roadsigns, vgg16-cifar, alexnet-cifar or a torchvision name"
    )
    add("--data", required=True, help="roadsigns, cifar10:DIR or folder:DIR")
    add("--out", required=True, type=Path, help="the model folder to create")
    add("--name", help="the model's name (default: that of the folder)")
    add("--epochs", type=int, default=30, help="epochs (default 30)")
    add("--batch-size", type=int, default=128, help="frames per step (default 128)")
    add("--optimiser", choices=("sgd", "adamw"), default="sgd", help="(default sgd)")
    add("--learning-rate", type=float, default=0.1, help="highest of the cycle (default 0.1)")
    add("--weight-decay", type=float, default=5e-4, help="(default 0.0005)")
    add("--label-smoothing", type=float, default=0.05, help="(default 0.05)")
    add("--argument", action="append", default=[], help="for the network's builder: NAME=VALUE")
    add("--taps", help="nodes with the exits before the deepest, from the input on: a,b,c")
    add("--exits", type=int, help="place this many exits automatically, the deepest included")
    add("--branch-width", type=int, default=32, help="channels in the exits (default 32)")
    add(
        "--branch-grid",
        type=int,
        default=2,
        help="side of the feature maps that exits classify (default 2)",
    )
    add("--exit-weights", help="weights of the exits' losses: w1,w2,... (default 0.3 to 1)")
    add("--uncertainty", action="store_true", help="learn the weights from each exit's uncertainty")
    add("--distillation", type=float, default=0.0, help="weight of learning from the deepest exit")
    add("--cutout", type=int, default=0, help="side of a square covered in each frame (pixels)")
    add(
        "--cutmix",
        type=float,
        default=0.0,
        help="share of the steps that mix boxes of frames and their labels (0 to 1)",
    )
    add(
        "--start-from",
        type=Path,
        action="append",
        default=[],
        help="start with the weights of this model folder; of several, with their mean",
    )
    add(
        "--exits-only",
        action="store_true",
        help="train only the early exits: the backbone stays as in --start-from",
    )
    add(
        "--start-scale",
        type=float,
        default=1.0,
        help="start with frames shrunk to this share of their side, which is faster: full frames "
        "come after 60 %% of the steps (default 1; the network must take smaller frames)",
    )
    add(
        "--cycles",
        type=int,
        default=1,
        help="cycles of the learning rate in a row; the mean of the weights at their ends is "
        "stored (default 1)",
    )
    add("--size", type=_size, help="frame size HxW (default: the data's own; 64x64 for roadsigns)")
    add("--frames-per-epoch", type=int, default=20_000, help="for roadsigns (default 20000)")
    add("--held-out-frames", type=int, default=5_000, help="for roadsigns (default 5000)")
    add("--no-flip", action="store_true", help="for folder: a mirrored image is another class")
    add("--no-bf16", action="store_true", help="compute in float32 throughout")
    add("--seed", type=int, default=0, help="(default 0)")
    add("--threads", type=int, help="CPU threads (default: torch's choice)")
    add("--restart", action="store_true", help="forget the checkpoint or the model in --out")


def _size(text: str) -> tuple[int, int]:
    height, _, width = text.partition("x")
    if not (height.isdigit() and width.isdigit()):
        raise argparse.ArgumentTypeError(f"expected HxW such as 64x64, got {text!r}")
    return int(height), int(width)


def _numbers(text: str | None, option: str) -> tuple[float, ...] | None:
    if text is None:
        return None
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        raise CommandError(f"{option} expects comma-separated numbers, got {text!r}") from None


def _builder_arguments(texts: list[str]) -> dict[str, Any]:
    """``NAME=VALUE`` pairs, values as JSON where they are (0.5, true), else as text."""
    arguments: dict[str, Any] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not (equals and name.isidentifier()):
            raise CommandError(f"--argument expects NAME=VALUE, got {text!r}")
        try:
            arguments[name] = json.loads(value)
        except json.JSONDecodeError:
            arguments[name] = value
    return arguments


def run(args: argparse.Namespace) -> int:
    """Train, resume a training, or say what prevents it."""
    from dapdee_ros.cli.optional_packages import require_torch

    require_torch("training")
    import torch

    from dapdee_ros.datasets.sources import open_data
    from dapdee_ros.datasets.split import DataError
    from dapdee_ros.engines.engine import EngineError
    from dapdee_ros.exits.builders import DEFAULT_TAPS, BuilderError
    from dapdee_ros.exits.card import MODEL_FILE, ModelFolderError
    from dapdee_ros.exits.checkpoint import CHECKPOINT_FILE, CheckpointError
    from dapdee_ros.exits.model_folder import architecture_of, build_multi_exit
    from dapdee_ros.exits.recipe import Recipe
    from dapdee_ros.exits.starting_point import start_from
    from dapdee_ros.exits.training import DivergedError, Training
    from dapdee_ros.files import require_folder
    from dapdee_ros.graph.dag import GraphError

    for option in (
        "epochs",
        "cycles",
        "batch_size",
        "frames_per_epoch",
        "held_out_frames",
        "threads",
    ):
        value = getattr(args, option)
        if value is not None and value < 1:
            raise CommandError(f"--{option.replace('_', '-')} must be at least 1, got {value}")
    if args.cutout < 0:
        raise CommandError(f"--cutout must not be negative, got {args.cutout}")
    if not 0 <= args.cutmix <= 1:
        raise CommandError(f"--cutmix must be from 0 to 1, got {args.cutmix}")
    if not 0.25 <= args.start_scale <= 1:
        raise CommandError(f"--start-scale must be from 0.25 to 1, got {args.start_scale}")
    if args.epochs % args.cycles:
        raise CommandError(
            f"--epochs {args.epochs} cannot be {args.cycles} cycles of whole epochs; choose a "
            f"multiple of {args.cycles}"
        )
    if args.exits_only and not args.start_from:
        raise CommandError("--exits-only needs a trained backbone: name its model by --start-from")
    if args.exits_only and args.cycles > 1:
        raise CommandError(
            "--exits-only leaves the backbone's batch norms alone, --cycles measures them again: "
            "choose one"
        )
    if args.taps and args.exits:
        raise CommandError("give --taps or --exits, not both")
    if args.threads:
        torch.set_num_threads(args.threads)
    recipe = Recipe(
        epochs=args.epochs,
        batch_size=args.batch_size,
        optimiser=args.optimiser,
        learning_rate=args.learning_rate,
        weight_decay=args.weight_decay,
        label_smoothing=args.label_smoothing,
        exit_weights=_numbers(args.exit_weights, "--exit-weights"),
        uncertainty=args.uncertainty,
        distillation=args.distillation,
        cutout=args.cutout,
        cutmix=args.cutmix,
        start_scale=args.start_scale,
        cycles=args.cycles,
        exits_only=args.exits_only,
        bf16=not args.no_bf16,
        seed=args.seed,
    )
    _, _, folder = args.data.partition(":")
    data = Path(folder).expanduser().resolve()
    if folder and data in (args.out.resolve(), *args.out.resolve().parents):
        raise CommandError(
            f"--out {args.out} would be among the images of {args.data}: choose a folder outside"
        )
    require_folder(args.out)
    checkpoint = args.out / CHECKPOINT_FILE
    if args.restart:
        checkpoint.unlink(missing_ok=True)
    elif (args.out / MODEL_FILE).exists() and not checkpoint.exists():
        raise CommandError(
            f"{args.out} holds a finished model: choose another folder, or --restart to replace it"
        )
    try:
        source = open_data(
            args.data,
            size=args.size,
            frames_per_epoch=args.frames_per_epoch,
            held_out_frames=args.held_out_frames,
            flip=not args.no_flip,
        )
        torch.manual_seed(args.seed)
        taps: Any = args.taps.split(",") if args.taps else DEFAULT_TAPS.get(args.model, 3)
        if args.exits:
            taps = args.exits - 1
        architecture = architecture_of(
            args.model,
            len(source.labels),
            _builder_arguments(args.argument),
            (),
            args.branch_width,
            args.branch_grid,
        )
        architecture["taps"] = taps
        model = build_multi_exit(architecture, source.size, source.mean, source.std)
        architecture["taps"] = list(model.taps)
        identity = {
            "architecture": architecture,
            "data": args.data,
            "size": list(source.size),
            "frames_per_epoch": source.frames_per_epoch(),
        }
        began: dict[str, Any] = {}
        if args.start_from:
            cards = start_from(args.start_from, model, architecture)
            identity["start_from"] = [card.model_id for card in cards]
            began = {
                "started_from": [{"model_id": card.model_id, **card.provenance} for card in cards]
            }
        weights = recipe.exit_weights
        if weights is not None and len(weights) != len(model.taps) + 1:
            raise CommandError(
                f"--exit-weights names {len(weights)} weights, the model has "
                f"{len(model.taps) + 1} exits"
            )
        training = Training(model, source, recipe, args.out, identity)
    except (
        DataError,
        BuilderError,
        GraphError,
        CheckpointError,
        EngineError,
        ModelFolderError,
    ) as error:
        raise CommandError(str(error)) from error
    if training.step:
        print(f"resuming at step {training.step} of {training.steps}", file=sys.stderr)
    try:
        if not _train(training, source):
            print(f"saved {checkpoint}; the same command resumes from there", file=sys.stderr)
            return 130
        _finish(args, training, source, architecture, recipe, began)
    except DivergedError as error:
        kept = (
            f"; {checkpoint} stays as the last good epoch left it, and --restart starts over"
            if checkpoint.exists()
            else ""
        )
        raise CommandError(f"{error} (--learning-rate, --batch-size){kept}") from error
    except ModelFolderError as error:
        raise CommandError(
            f"the trained network cannot be stored: {error}. Lower --learning-rate "
            f"{args.learning_rate:g} or raise --batch-size {args.batch_size}, and --restart"
        ) from error
    return 0


class _Stopper:
    """Turns Ctrl-C and SIGTERM into a flag that the training checks between steps."""

    def __init__(self) -> None:
        self.asked = False

    def __enter__(self) -> _Stopper:
        kinds = (signal.SIGINT, signal.SIGTERM)
        self._before = {kind: signal.signal(kind, self._ask) for kind in kinds}
        return self

    def __exit__(self, *_: object) -> None:
        for kind, handler in self._before.items():
            signal.signal(kind, handler)

    def _ask(self, _kind: int, _frame: FrameType | None) -> None:
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True


def _train(training: Training, source: DataSource) -> bool:
    """Run the training with a progress bar; False if it was stopped before its end."""
    from tqdm import tqdm

    from dapdee_ros.datasets.split import Split
    from dapdee_ros.exits.training import exit_accuracies

    held_out = source.held_out()
    # Enough to follow the progress; the finished model is evaluated on all of them.
    watched = Split(held_out.images[::5], held_out.labels[::5], held_out.description)
    with (
        _Stopper() as stopper,
        tqdm(total=training.steps, initial=training.step, unit="step", mininterval=1.0) as bar,
    ):
        epoch_start = time.monotonic()
        for at in training.run(lambda: stopper.asked):
            exits = "/".join(f"{100 * a:.1f}" for a in at.accuracy)
            bar.set_postfix_str(f"loss {at.loss:.3f}, exits {exits} %", refresh=False)
            bar.update()
            if at.step % training.steps_per_epoch == 0 and at.step < at.steps:
                held = exit_accuracies(training.present(), watched, bf16=training.recipe.bf16)
                bar.write(
                    f"epoch {at.epoch}: held-out "
                    + " ".join(f"{100 * a:.2f}" for a in held)
                    + f" %, loss {at.loss:.3f}, {time.monotonic() - epoch_start:.0f} s",
                    file=sys.stderr,
                )
                epoch_start = time.monotonic()
    return training.step == training.steps


def _finish(
    args: argparse.Namespace,
    training: Training,
    source: DataSource,
    architecture: dict[str, Any],
    recipe: Recipe,
    began: dict[str, Any],
) -> None:
    """Measure the weights as they will be stored, and write the model folder."""
    from dataclasses import asdict

    import torch

    from dapdee_ros.exits.checkpoint import CHECKPOINT_FILE
    from dapdee_ros.exits.model_folder import half_precision, load_weights, save_model
    from dapdee_ros.exits.training import exit_accuracies

    model = training.trained()
    load_weights(model, half_precision(model.state_dict()), "the trained model")
    held_out = source.held_out()
    accuracy = exit_accuracies(model, held_out)
    card = save_model(
        args.out,
        model,
        name=args.name or args.out.resolve().name,
        architecture=architecture,
        labels=source.labels,
        mean=source.mean,
        std=source.std,
        exit_quality=accuracy,
        quality_data=held_out.description,
        provenance={
            "command": shlex.join(["dapdee", *sys.argv[1:]]),
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "recipe": asdict(recipe),
            "versions": {"python": platform.python_version(), "torch": torch.__version__},
            "trained_on": f"{source.frames_per_epoch()} frames per epoch, {args.data}",
            **began,
        },
    )
    (args.out / CHECKPOINT_FILE).unlink(missing_ok=True)
    print(f"{card.path}: model {card.model_id}")
    for number, share in enumerate(accuracy, start=1):
        print(f"exit {number}: {100 * share:.2f} % of {len(held_out)} held-out frames")
