"""Train a network with exits and write it to a model folder.

Frames to classify come from the road-sign renderer (roadsigns), CIFAR-10 (cifar10:DIR, in
torchvision's layout or as folders of images) or any folder of images (folder:DIR, with
train/<class>/ and test/<class>/, or <class>/ alone). Frames to find objects or surfaces in come
from the renderer of road scenes (roadscenes) or from a data set in YOLO's or COCO's layout
(yolo:DIR, coco:DIR), for the models mobile-detector and mobile-segmenter, which have exits of their
own. The folder named by --out holds the checkpoint while the training
runs and the model at the end. Run again with the same options, an interrupted training resumes
where it stopped; Ctrl-C saves first. --snapshot writes the model as the last checkpoint has it.

Examples:
  dapdee train --model roadsigns --data roadsigns --out my_signs
  dapdee train --model vgg16-cifar --data cifar10:DIR --epochs 60 --out vgg16-cifar10
  dapdee train --model resnet18 --exits 4 --data folder:DIR --size 128x128 --out my_resnet
  dapdee train --model mobile-detector --data roadscenes --out my_detector
  dapdee train --model mobile-segmenter --data roadscenes --out my_segmenter
  dapdee train --model mobile-detector --data yolo:DIR --size 320x320 --out my_detector
  dapdee train --exits-of models/yolox --taps NODE,NODE --data coco:DIR --out yolox_with_exits
To train only the backbone, for comparison: the same command with --exit-weights 0,0,0,1.
"""

from __future__ import annotations

import argparse
import platform
import shlex
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dapdee_ros.cli.path_names import without_folders
from dapdee_ros.cli.stopping import Stopper
from dapdee_ros.cli.training_plan import (
    TrainingPlan,
    plan_added_exits,
    plan_classifier,
    plan_on_scenes,
    recipe_of,
)
from dapdee_ros.datasets.labelled_scenes import is_scenes
from dapdee_ros.errors import CommandError

if TYPE_CHECKING:
    from dapdee_ros.training.training import Training

SUMMARY = "train a network with exits: detector, segmenter, or classifier on your own images"


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add = parser.add_argument
    add(
        "--model",
        help="roadsigns, vgg16-cifar, alexnet-cifar, a torchvision name, mobile-detector, or "
        "mobile-segmenter",
    )
    add(
        "--exits-of",
        metavar="MODEL",
        help="in place of --model: add early exits at --taps to this detector (decoder yolox), "
        "which itself is not changed, such as an imported one; --branch-width is their width",
    )
    add(
        "--data",
        required=True,
        help="roadsigns, cifar10:DIR, folder:DIR, roadscenes, yolo:DIR or coco:DIR",
    )
    add("--out", required=True, type=Path, help="the model folder to create")
    add("--name", help="the model's name (default: that of the folder)")
    add("--epochs", type=int, help="epochs (default 30; detector 60, segmenter 40)")
    add("--batch-size", type=int, help="frames per step (default 128; detector 32, segmenter 16)")
    add("--optimiser", choices=("sgd", "adamw"), help="(default sgd; on road scenes adamw)")
    add(
        "--learning-rate",
        type=float,
        help="highest of the cycle (default 0.1; on road scenes 0.002)",
    )
    add("--weight-decay", type=float, help="(default 0.0005; on road scenes 0.05)")
    add("--label-smoothing", type=float, help="(default 0.05)")
    add("--argument", action="append", default=[], help="for the network's builder: NAME=VALUE")
    add("--taps", help="nodes with the exits before the deepest, from the input on: a,b,c")
    add("--exits", type=int, help="place this many exits automatically, the deepest included")
    add("--branch-width", type=int, help="channels in the exits (default 32)")
    add(
        "--branch-grid",
        type=int,
        help="side of the feature maps that exits classify (default 2)",
    )
    add("--exit-weights", help="weights of the exits' losses: w1,w2,... (default 0.3 to 1)")
    add(
        "--uncertainty",
        action="store_true",
        default=None,
        help="learn the weights from each exit's uncertainty",
    )
    add(
        "--distillation",
        type=float,
        help="weight of learning from the deepest exit (default 0; detector 0.5, segmenter 0.1)",
    )
    add("--cutout", type=int, help="side of a square covered in each frame (pixels)")
    add(
        "--cutmix",
        type=float,
        help="share of the steps that mix boxes of frames and their labels (0 to 1)",
    )
    add(
        "--start-from",
        type=Path,
        action="append",
        default=[],
        help="start with the weights of this model folder, or with its backbone where it is of "
        "another builder; of several, with their mean",
    )
    add(
        "--exits-only",
        action="store_true",
        default=None,
        help="train only the early exits: the backbone stays as in --start-from",
    )
    add(
        "--start-scale",
        type=float,
        help="start with frames shrunk to this share of their side, which is faster: full frames "
        "come after 60 %% of the steps (default 1, detector 0.8, segmenter 0.6; the network must "
        "take smaller frames)",
    )
    add(
        "--average-decay",
        type=float,
        help="store a moving average of the weights, this share of which stays at every step "
        "(default 0: the weights themselves; on road scenes 0.998)",
    )
    add(
        "--cycles",
        type=int,
        help="cycles of the learning rate in a row; the mean of the weights at their ends is "
        "stored (default 1)",
    )
    add(
        "--size",
        type=_size,
        help="frame size HxW (default: the data's own; 64x64 for roadsigns, 320x320 for "
        "roadscenes)",
    )
    add(
        "--frames-per-epoch",
        type=int,
        help="of rendered data (default 20000 for roadsigns, 2000 for roadscenes)",
    )
    add(
        "--held-out-frames",
        type=int,
        help="of rendered data (default 5000 for roadsigns, 2000 for roadscenes)",
    )
    add("--no-flip", action="store_true", help="for folder: a mirrored image is another class")
    add("--no-bf16", action="store_true", help="compute in float32 throughout")
    add("--seed", type=int, help="(default 0)")
    add(
        "--workers",
        type=int,
        default=1,
        help="processes that render or read scenes beside the training; 0: it does so itself "
        "(default 1)",
    )
    add("--threads", type=int, help="CPU threads (default: torch's choice)")
    add("--restart", action="store_true", help="forget the checkpoint or the model in --out")
    add(
        "--snapshot",
        type=Path,
        metavar="DIR",
        help="train no further: write the state of the checkpoint in --out, by the same options, "
        "as a model folder",
    )


def _size(text: str) -> tuple[int, int]:
    height, _, width = text.partition("x")
    if not (height.isdigit() and width.isdigit()):
        raise argparse.ArgumentTypeError(f"expected HxW such as 64x64, got {text!r}")
    return int(height), int(width)


def run(args: argparse.Namespace) -> int:
    """Train, resume a training, or say what prevents it."""
    from dapdee_ros.cli.optional_packages import require_torch

    require_torch("training")
    import torch

    from dapdee_ros.datasets.split import DataError
    from dapdee_ros.engines.engine import EngineError
    from dapdee_ros.exits.added_exits import AddedExitError
    from dapdee_ros.exits.builders import BuilderError
    from dapdee_ros.exits.card import ModelFolderError
    from dapdee_ros.graph.dag import GraphError
    from dapdee_ros.training.checkpoint import CHECKPOINT_FILE, CheckpointError
    from dapdee_ros.training.training import DivergedError, Training

    recipe = recipe_of(args)
    if args.threads:
        torch.set_num_threads(args.threads)
    _prepare_folders(args)
    checkpoint = args.out / CHECKPOINT_FILE
    try:
        torch.manual_seed(recipe.seed)
        if args.exits_of is not None:
            plan = plan_added_exits(args, recipe)
        else:
            plan = (plan_on_scenes if is_scenes(args.data) else plan_classifier)(args, recipe)
        weights = recipe.exit_weights
        if weights is not None and len(weights) != plan.model.exits:
            raise CommandError(
                f"--exit-weights names {len(weights)} weights, the model has {plan.model.exits} "
                "exits"
            )
        training = Training(plan.model, plan.task, recipe, args.out, plan.identity)
    except (
        AddedExitError,
        DataError,
        BuilderError,
        GraphError,
        CheckpointError,
        EngineError,
        ModelFolderError,
    ) as error:
        raise CommandError(str(error)) from error
    if args.snapshot is not None:
        if not training.step:
            raise CommandError(f"{args.out} holds no checkpoint yet: nothing to write")
        _finish(args, training, plan, args.snapshot)
        return 0
    if training.step:
        print(f"resuming at step {training.step} of {training.steps}", file=sys.stderr)
    try:
        if not _train(training):
            print(f"saved {checkpoint}; the same command resumes from there", file=sys.stderr)
            return 130
        _finish(args, training, plan, args.out)
        checkpoint.unlink(missing_ok=True)
    except DataError as error:
        # Of a process that reads images it comes with all that this process was doing.
        why = str(error).splitlines()[-1].removeprefix(f"{type(error).__name__}: ")
        why = why.rpartition("DataError: ")[2]
        raise CommandError(f"{why}; the training can be resumed from the last epoch") from error
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
            f"{recipe.learning_rate:g} or raise --batch-size {recipe.batch_size}, and --restart"
        ) from error
    return 0


def _prepare_folders(args: argparse.Namespace) -> None:
    """Check where to write, and forget what is there if that is wanted."""
    from dapdee_ros.exits.card import MODEL_FILE
    from dapdee_ros.files import require_folder
    from dapdee_ros.training.checkpoint import CHECKPOINT_FILE

    _, _, folder = args.data.partition(":")
    data = Path(folder).expanduser().resolve()
    if folder and data in (args.out.resolve(), *args.out.resolve().parents):
        raise CommandError(
            f"--out {args.out} would be among the images of {args.data}: choose a folder outside"
        )
    require_folder(args.out)
    checkpoint = args.out / CHECKPOINT_FILE
    if args.snapshot is not None:
        if args.restart:
            raise CommandError("--snapshot writes what --restart would forget: choose one")
        require_folder(args.snapshot)
    elif args.restart:
        checkpoint.unlink(missing_ok=True)
    elif (args.out / MODEL_FILE).exists() and not checkpoint.exists():
        raise CommandError(
            f"{args.out} holds a finished model: choose another folder, or --restart to replace it"
        )


def _train(training: Training) -> bool:
    """Run the training with a progress bar; False if it was stopped before its end."""
    from tqdm import tqdm

    name = training.task.quality_name
    with (
        Stopper() as stopper,
        tqdm(total=training.steps, initial=training.step, unit="step", mininterval=1.0) as bar,
    ):
        epoch_start = time.monotonic()
        held: tuple[float, ...] = ()
        for at in training.run(lambda: stopper.asked):
            exits = f", exits {_percent(at.figures or held)} %" if at.figures or held else ""
            bar.set_postfix_str(f"loss {at.loss:.3f}{exits}", refresh=False)
            bar.update()
            if at.step % training.steps_per_epoch == 0 and at.step < at.steps:
                # Of some frames; the finished model is evaluated on all of them.
                held = training.task.evaluated(
                    training.present(), part=True, bf16=training.recipe.bf16
                )
                bar.write(
                    f"epoch {at.epoch}: held-out {name} {_percent(held, ' ', 2)} %, "
                    f"loss {at.loss:.3f}, {time.monotonic() - epoch_start:.0f} s",
                    file=sys.stderr,
                )
                epoch_start = time.monotonic()
    return training.step == training.steps


def _percent(shares: Sequence[float], between: str = "/", digits: int = 1) -> str:
    return between.join(f"{100 * share:.{digits}f}" for share in shares)


def _finish(args: argparse.Namespace, training: Training, plan: TrainingPlan, folder: Path) -> None:
    """Measure the weights as they will be stored, and write the model folder.

    Raises:
        ModelFolderError: if they cannot be stored.
    """
    import torch

    from dapdee_ros.exits.model_folder import half_precision, load_weights

    model, source = training.trained(), plan.source
    load_weights(model, half_precision(model.state_dict()), "the trained model")
    quality = training.task.evaluated(model, part=False, bf16=False)
    held_out = source.held_out()
    if training.step < training.steps:
        plan.began["stopped_at"] = f"step {training.step} of {training.steps}"
    measured: dict[str, Any] = {
        "name": args.name or folder.resolve().name,
        "exit_quality": quality,
        "quality_data": without_folders(held_out.description),
        "provenance": {
            "command": shlex.join(["dapdee", *map(without_folders, sys.argv[1:])]),
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "recipe": asdict(training.recipe),
            "versions": {"python": platform.python_version(), "torch": torch.__version__},
            "trained_on": without_folders(
                f"{source.frames_per_epoch()} frames per epoch, {args.data}"
            ),
            **plan.began,
        },
    }
    card = plan.save(folder, model, **measured)
    print(f"{card.path}: model {card.model_id}")
    name = training.task.quality_name
    for number, share in enumerate(quality, start=1):
        print(f"exit {number}: {name} {100 * share:.2f} % of {len(held_out)} held-out frames")
