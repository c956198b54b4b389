"""The trainings of `dapdee bottleneck`: with a bar, resumable, measured and written at the end."""

from __future__ import annotations

import argparse
import math
import platform
import shlex
import sys
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from dapdee_ros.cli.path_names import without_folders
from dapdee_ros.cli.stopping import Stopper
from dapdee_ros.errors import CommandError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dapdee_ros.cli.bottleneck_data import BottleneckData
    from dapdee_ros.codecs.bottleneck.file import Bottleneck
    from dapdee_ros.exits.card import ModelCard
    from dapdee_ros.tasks.task import Task
    from dapdee_ros.training.bottlenecks.calibration import MeasuredPoint
    from dapdee_ros.training.bottlenecks.points import Point
    from dapdee_ros.training.bottlenecks.trainee import Trainee
    from dapdee_ros.training.task import Frames
    from dapdee_ros.training.training import Training

_LOOKS = 8
"""How often in a training a few held-out frames are looked at."""

_LOOK_FRAMES = 24


@dataclass(frozen=True)
class Order:
    """One bottleneck to train.

    Attributes:
        name: of the bottleneck.
        boundary: its tensors.
        out: the folder of the file.
    """

    name: str
    boundary: tuple[str, ...]
    out: Path

    @property
    def path(self) -> Path:
        """The file."""
        from dapdee_ros.codecs.bottleneck.file import SUFFIX

        return self.out / f"{self.name}{SUFFIX}"

    @property
    def checkpoints(self) -> Path:
        """The folder that holds the checkpoint while the training runs."""
        return self.out / f"{self.name}.training"

    def check(self, restart: bool) -> None:
        """Refuse to replace a finished bottleneck, or forget what there is if that is wanted.

        Raises:
            CommandError: if there is one, or the name cannot be one.
        """
        from dapdee_ros.codecs.bottleneck.file import is_name
        from dapdee_ros.training.checkpoint import CHECKPOINT_FILE

        if not is_name(self.name):
            raise CommandError(
                f"a bottleneck cannot be called {self.name!r}: up to 28 small letters, digits, - "
                "and _, a letter first; choose another --name"
            )
        checkpoint = self.checkpoints / CHECKPOINT_FILE
        if restart:
            checkpoint.unlink(missing_ok=True)
        elif self.path.exists() and not checkpoint.exists():
            raise CommandError(
                f"{self.path} is a finished bottleneck: choose another --name or --out, or "
                "--restart to replace it"
            )


def train_bottleneck(
    args: argparse.Namespace,
    folder: Path,
    data: BottleneckData,
    order: Order,
    started: Bottleneck | None = None,
) -> bool:
    """Train one bottleneck to its end and write it.

    Args:
        args: the command's options.
        folder: the model's.
        data: frames.
        order: what to train.
        started: whose weights and points to start with.

    Returns:
        False if it was stopped before that; its checkpoint is there.

    Raises:
        ModelFolderError, CheckpointError, GraphError, EngineError, DataError, DivergedError: as the
            parts do.
    """
    import torch

    from dapdee_ros.tasks.task import task_of
    from dapdee_ros.training.bottlenecks.imported import frozen_network
    from dapdee_ros.training.bottlenecks.judging import own_answers
    from dapdee_ros.training.bottlenecks.points import FINEST, Point, usual_points
    from dapdee_ros.training.bottlenecks.task import BottleneckTraining, usual_crop
    from dapdee_ros.training.bottlenecks.trainee import Design, Trainee
    from dapdee_ros.training.bottlenecks.writing import start_from
    from dapdee_ros.training.checkpoint import CHECKPOINT_FILE
    from dapdee_ros.training.training import Training

    recipe = _recipe(args)
    network = frozen_network(folder)
    card = network.card
    torch.manual_seed(recipe.seed)
    channels = args.channels if started is None else started.latent_shape[1]
    if started is None or args.finest is not None:
        points = usual_points(channels, args.points, args.finest or FINEST)
    else:
        points = tuple(Point(point.channels, point.step) for point in started.points)
    trainee = Trainee(network, Design(order.boundary, points, channels, args.rate_weight))
    dense = card.task["name"] != "classification"
    crop = None if args.whole_frames else usual_crop(trainee, card.input_size, dense)
    task = BottleneckTraining(trainee, data.training, recipe, crop)
    trainee.measure(task.first_frames())
    began: dict[str, Any] = {}
    if started is not None:
        start_from(started, trainee)
        trainee.measure_prior(task.first_frames())
        began["started_from"] = {
            "name": started.name,
            "model_id": started.model_id,
            "provenance": dict(started.provenance),
        }
    identity = {
        "model_id": card.model_id,
        "boundary": list(order.boundary),
        "data": without_folders(args.data),
        "frames": len(data.training),
        "points": [list(point) for point in points],
        "rate_weight": args.rate_weight,
        "crop": None if crop is None else list(crop),
        "start_from": None if started is None else started.id,
    }
    training = Training(trainee, task, recipe, order.checkpoints, identity)
    if training.step:
        print(f"resuming {order.name} at step {training.step} of {training.steps}", file=sys.stderr)
    judge = task_of(card)
    truths = data.truths
    if truths is None:
        truths = own_answers(trainee, data.judged, judge)
    if not _train(training, order, data, judge, truths):
        saved = order.checkpoints / CHECKPOINT_FILE
        print(f"saved {saved}; the same command resumes from there", file=sys.stderr)
        return False
    _finish(training, card, data, order, judge, truths, began)
    (order.checkpoints / CHECKPOINT_FILE).unlink(missing_ok=True)
    if order.checkpoints.exists() and not any(order.checkpoints.iterdir()):
        order.checkpoints.rmdir()
    return True


def _recipe(args: argparse.Namespace) -> Any:
    from dapdee_ros.training.bottlenecks.task import BOTTLENECK_RECIPE, STEPS_PER_EPOCH

    return replace(
        BOTTLENECK_RECIPE,
        epochs=-(-args.steps // STEPS_PER_EPOCH),
        batch_size=args.batch_size,
        learning_rate=args.learning_rate,
        bf16=not args.no_bf16,
        seed=args.seed,
    )


def _train(
    training: Training[Trainee],
    order: Order,
    data: BottleneckData,
    judge: Task,
    truths: Sequence[Any],
) -> bool:
    """Run the training with a bar; False if it was stopped before its end."""
    from tqdm import tqdm

    every = max(1, training.steps // _LOOKS // training.steps_per_epoch)
    with (
        Stopper() as stopper,
        tqdm(
            total=training.steps,
            initial=training.step,
            desc=order.name,
            unit="step",
            mininterval=1.0,
            file=sys.stderr,
        ) as bar,
    ):
        for at in training.run(lambda: stopper.asked):
            size_bytes, apart = at.figures
            bar.set_postfix_str(
                f"loss {at.loss:.3f}, {size_bytes:.0f} bytes, answers {apart:.3f} apart",
                refresh=False,
            )
            bar.update()
            ended = at.step % training.steps_per_epoch == 0
            if ended and at.epoch % every == 0 and at.step < at.steps:
                bar.write(f"step {at.step}: {_look(training, data, judge, truths)}", sys.stderr)
    return training.step == training.steps


def _look(
    training: Training[Trainee], data: BottleneckData, judge: Task, truths: Sequence[Any]
) -> str:
    """Bytes and quality of the deepest exit at every point, on a few held-out frames."""
    trainee = cast("Trainee", training.present())
    was_training = trainee.training
    trainee.eval()
    measured = _measured(
        trainee,
        _some(data.counted, _LOOK_FRAMES),
        _some(data.judged, _LOOK_FRAMES),
        judge,
        truths[:_LOOK_FRAMES],
    )[1]
    trainee.train(was_training)
    deepest = trainee.exits[-1]
    plain = measured[0].qualities[deepest][0]
    each = ", ".join(
        f"{one.mean_bytes:.0f} B {100 * one.qualities[deepest][1]:.1f}" for one in measured
    )
    return f"{judge.quality_name} of exit {deepest}: {each} (without {100 * plain:.1f}) %"


def _some(frames: Frames, most: int) -> Frames:
    import numpy as np

    from dapdee_ros.cli.bottleneck_data import Stack

    return Stack(min(most, len(frames)), lambda place: frames.pixels(np.array([place]))[0])


def _measured(
    trainee: Trainee,
    counted: Frames,
    judged: Frames,
    judge: Task,
    truths: Sequence[Any],
    shown: bool = False,
) -> tuple[list[list[list[int]]], list[MeasuredPoint]]:
    """Each point's priors, and what it costs and loses; ``shown``: with a bar, and all of it."""
    from tqdm import tqdm

    from dapdee_ros.training.bottlenecks.calibration import count_priors, measure_points
    from dapdee_ros.training.bottlenecks.judging import comparisons

    points = trainee.design.points
    priors = count_priors(trainee, counted, points)
    with tqdm(
        total=len(judged),
        desc="measuring",
        unit="frame",
        file=sys.stderr,
        leave=False,
        disable=not shown,
    ) as bar:
        measured = measure_points(
            trainee,
            judged,
            points,
            priors,
            comparisons(judge, truths),
            lambda done: bar.update(done) and None,
            with_changes=shown,
        )
    return priors, measured


def _finish(
    training: Training[Trainee],
    card: ModelCard,
    data: BottleneckData,
    order: Order,
    judge: Task,
    truths: Sequence[Any],
    began: dict[str, Any],
) -> None:
    """Measure the bottleneck as it will be stored, write it, and show what it does."""
    import torch

    from dapdee_ros.codecs.bottleneck.file import point_name
    from dapdee_ros.training.bottlenecks.calibration import codec_losses, measure_times
    from dapdee_ros.training.bottlenecks.writing import Trained, settle, write_bottleneck

    trainee = training.trained()
    settle(trainee)
    priors, measured = _measured(trainee, data.counted, data.judged, judge, truths, shown=True)
    rows = sorted(
        zip(trainee.design.points, priors, measured, strict=True), key=lambda r: r[2].mean_bytes
    )
    points, priors, measured = (list(column) for column in zip(*rows, strict=True))
    times = measure_times(trainee, data.judged)
    losses = codec_losses(order.name, order.boundary, len(data.judged), measured, times)
    codecs = [point_name(order.name, number) for number in range(1, len(points) + 1)]
    write_bottleneck(
        order.path,
        trainee,
        card,
        [Trained(point, prior) for point, prior in zip(points, priors, strict=True)],
        {
            **losses.to_dict(),
            "data": without_folders(data.description),
            "quantiles": {
                codec: list(one.quantiles_bytes)
                for codec, one in zip(codecs, measured, strict=True)
            },
            "quality": {
                codec: {
                    str(number): [None if math.isnan(q) else round(q, 6) for q in pair]
                    for number, pair in one.qualities.items()
                }
                for codec, one in zip(codecs, measured, strict=True)
            },
        },
        {
            "command": shlex.join(["dapdee", *map(without_folders, sys.argv[1:])]),
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "recipe": asdict(training.recipe),
            "rate_weight": trainee.design.rate_weight,
            "versions": {"python": platform.python_version(), "torch": torch.__version__},
            "trained_on": without_folders(
                f"{len(data.training)} frames, {training.identity['data']}"
            ),
            **began,
        },
    )
    _show(order, card, points, measured, judge, data.description)


def _show(
    order: Order,
    card: ModelCard,
    points: Sequence[Point],
    measured: Sequence[MeasuredPoint],
    judge: Task,
    description: str,
) -> None:
    from dapdee_ros.exits.bottlenecks import QUANTILES

    size = order.path.stat().st_size
    print(f"{order.path}: {size} bytes, for {' and '.join(order.boundary)} of {card.name}")
    exits = sorted(measured[0].qualities)
    print(
        f"{'codec':20} {'channels':>8} {'step':>6} {'bytes':>7} "
        f"{f'{QUANTILES[0]:.0%} to {QUANTILES[-1]:.0%}':>13}"
        + "".join(f"{f'{judge.quality_name} of exit {number}':>24}" for number in exits)
    )
    for number, (point, one) in enumerate(zip(points, measured, strict=True), start=1):
        span = f"{one.quantiles_bytes[0]} to {one.quantiles_bytes[-1]}"
        line = (
            f"{f'{order.name}@{number}':20} {point.channels:8d} {point.step:6.2f} "
            f"{one.mean_bytes:7.0f} {span:>13}"
        )
        for exit_number in exits:
            plain, coded = one.qualities[exit_number]
            line += f"{f'{100 * coded:.2f} % ({100 * (coded - plain):+.2f})':>24}"
        print(line)
    print(f"measured on {without_folders(description)}")
