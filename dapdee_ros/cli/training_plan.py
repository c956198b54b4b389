"""What `dapdee train` is asked to train: recipe, network and data from its options."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from dapdee_ros.datasets.labelled_scenes import is_scenes
from dapdee_ros.errors import CommandError

if TYPE_CHECKING:
    from dapdee_ros.datasets.scene_data import SceneData
    from dapdee_ros.datasets.split import DataSource
    from dapdee_ros.exits.added_exits import AddedExits
    from dapdee_ros.exits.card import ModelCard
    from dapdee_ros.exits.networks import Network
    from dapdee_ros.training.recipe import Recipe
    from dapdee_ros.training.task import TrainingTask


_OF_RECIPE = (
    "epochs",
    "batch_size",
    "optimiser",
    "learning_rate",
    "weight_decay",
    "label_smoothing",
    "uncertainty",
    "distillation",
    "cutout",
    "cutmix",
    "start_scale",
    "cycles",
    "average_decay",
    "exits_only",
    "seed",
)
"""Options that are the recipe's fields; one that is not given is as the task's recipe has it."""

_CLASSIFIERS_ONLY = (
    "label_smoothing",
    "uncertainty",
    "cutout",
    "cutmix",
    "taps",
    "exits",
    "branch_width",
    "branch_grid",
    "no_flip",
)


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


@dataclass(frozen=True)
class TrainingPlan:
    """What is trained on what."""

    model: Network | AddedExits
    task: TrainingTask
    source: DataSource | SceneData
    identity: dict[str, Any]
    save: Callable[..., ModelCard]
    began: dict[str, Any] = field(default_factory=dict)


def recipe_of(args: argparse.Namespace) -> Recipe:
    """The recipe that the options describe, checked."""
    from dapdee_ros.exits.networks import SEGMENTERS
    from dapdee_ros.training.recipe import DETECTION_RECIPE, SEGMENTATION_RECIPE, Recipe

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
            raise CommandError(f"{_option(option)} must be at least 1, got {value}")
    if args.workers < 0:
        raise CommandError(f"--workers must be at least 0, got {args.workers}")
    scenes = is_scenes(args.data)
    if args.exits_of is not None:
        _check_added_exits(args)
    elif args.model is None:
        raise CommandError("--model says what to train, or --exits-of what to add exits to")
    elif scenes:
        useless = [name for name in _CLASSIFIERS_ONLY if getattr(args, name)]
        if useless:
            raise CommandError(
                f"{', '.join(map(_option, useless))}: for classifiers only, {args.data} "
                "trains detectors and segmenters"
            )
    given = {name: getattr(args, name) for name in _OF_RECIPE}
    given = {name: value for name, value in given.items() if value is not None}
    usual = SEGMENTATION_RECIPE if args.model in SEGMENTERS else DETECTION_RECIPE
    recipe = replace(
        usual if scenes else Recipe(),
        exit_weights=_numbers(args.exit_weights, "--exit-weights"),
        bf16=not args.no_bf16,
        **given,
    )
    if recipe.cycles > 1 and not args.average_decay:
        recipe = replace(recipe, average_decay=0.0)
    if recipe.cutout < 0:
        raise CommandError(f"--cutout must not be negative, got {recipe.cutout}")
    if not 0 <= recipe.cutmix <= 1:
        raise CommandError(f"--cutmix must be from 0 to 1, got {recipe.cutmix}")
    if not 0.25 <= recipe.start_scale <= 1:
        raise CommandError(f"--start-scale must be from 0.25 to 1, got {recipe.start_scale}")
    if not 0 <= recipe.average_decay < 1:
        raise CommandError(f"--average-decay must be from 0 to below 1, got {recipe.average_decay}")
    if recipe.average_decay and recipe.cycles > 1:
        raise CommandError("--cycles and --average-decay both average weights: choose one")
    if recipe.epochs % recipe.cycles:
        raise CommandError(
            f"--epochs {recipe.epochs} cannot be {recipe.cycles} cycles of whole epochs; choose a "
            f"multiple of {recipe.cycles}"
        )
    if recipe.exits_only and not args.start_from:
        raise CommandError("--exits-only needs a trained backbone: name its model by --start-from")
    if recipe.exits_only and recipe.cycles > 1:
        raise CommandError(
            "--exits-only leaves the backbone's batch norms alone, --cycles measures them again: "
            "choose one"
        )
    return recipe


def _check_added_exits(args: argparse.Namespace) -> None:
    """Refuse what makes no sense where exits are added to a network that stays as it is."""
    useless = [name for name in _CLASSIFIERS_ONLY if name not in ("taps", "branch_width")]
    useless += ["model", "size", "start_scale", "start_from", "argument", "exits_only"]
    given = [name for name in useless if getattr(args, name)]
    if given:
        raise CommandError(
            f"{', '.join(map(_option, given))}: not with --exits-of, which leaves the network and "
            "its input as they are"
        )
    if not is_scenes(args.data):
        raise CommandError(
            f"--exits-of adds exits to detectors: --data {args.data} shows no objects, expected "
            "roadscenes, yolo:DIR or coco:DIR"
        )


def _option(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def plan_classifier(args: argparse.Namespace, recipe: Recipe) -> TrainingPlan:
    """A classifier with exits at some of a backbone's nodes.

    Raises:
        CommandError: if options contradict each other.
        BuilderError, DataError, EngineError, GraphError, ModelFolderError: if the data or the
            network cannot be had.
    """
    from dapdee_ros.datasets.sources import open_data
    from dapdee_ros.exits.builders import DEFAULT_TAPS
    from dapdee_ros.exits.card import CLASSIFICATION
    from dapdee_ros.exits.model_folder import architecture_of, build_multi_exit
    from dapdee_ros.training.classification import ClassificationTraining

    if args.taps and args.exits:
        raise CommandError("give --taps or --exits, not both")
    source = open_data(
        args.data,
        size=args.size,
        frames_per_epoch=args.frames_per_epoch or 20_000,
        held_out_frames=args.held_out_frames or 5_000,
        flip=not args.no_flip,
    )
    taps: Any = args.taps.split(",") if args.taps else DEFAULT_TAPS.get(args.model, 3)
    if args.exits:
        taps = args.exits - 1
    architecture = architecture_of(
        args.model,
        len(source.labels),
        _builder_arguments(args.argument),
        (),
        32 if args.branch_width is None else args.branch_width,
        2 if args.branch_grid is None else args.branch_grid,
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
    began = _start(args, model, architecture, identity)
    task = ClassificationTraining(source, recipe, model.exits)
    save = _saving(source, source.labels, architecture, {"name": CLASSIFICATION})
    return TrainingPlan(model, task, source, identity, save, began)


def plan_on_scenes(args: argparse.Namespace, recipe: Recipe) -> TrainingPlan:
    """A detector or a segmenter.

    Raises:
        BuilderError, DataError, EngineError, ModelFolderError: if the data or the network cannot be
            had.
        CommandError: if the data has no class maps and a segmenter needs them.
    """
    from dapdee_ros.cli.progress import shown_files
    from dapdee_ros.datasets.labelled_scenes import open_scenes
    from dapdee_ros.datasets.roadscenes import DEFAULT_SIZE
    from dapdee_ros.exits.networks import (
        SEGMENTERS,
        build_exit_network,
        detection_task,
        exit_architecture,
        segmentation_task,
    )
    from dapdee_ros.training.detection import DetectionTraining
    from dapdee_ros.training.segmentation import SegmentationTraining

    source = open_scenes(
        args.data,
        args.size or DEFAULT_SIZE,
        frames_per_epoch=args.frames_per_epoch,
        held_out_frames=args.held_out_frames,
        seed=recipe.seed,
        show=shown_files,
    )
    segments = args.model in SEGMENTERS
    labels = source.surfaces if segments else source.labels
    if not labels:
        raise CommandError(
            f"{args.data} has no class maps: a segmenter learns from the outlines (segmentation) "
            "of COCO's layout, or from roadscenes"
        )
    architecture = exit_architecture(args.model, len(labels), _builder_arguments(args.argument))
    model = build_exit_network(architecture, source.size, source.mean, source.std)
    identity = {
        "architecture": architecture,
        "data": args.data,
        "size": list(source.size),
        "frames_per_epoch": source.frames_per_epoch(),
    }
    began = _start(args, model, architecture, identity)
    kind = SegmentationTraining if segments else DetectionTraining
    task = kind(source, recipe, model.exits, args.workers)
    card_task = segmentation_task() if segments else detection_task()
    save = _saving(source, labels, architecture, card_task)
    return TrainingPlan(model, task, source, identity, save, began)


def plan_added_exits(args: argparse.Namespace, recipe: Recipe) -> TrainingPlan:
    """Early exits for a detector that there is.

    Raises:
        AddedExitError: if an exit cannot be where it is wanted.
        CommandError: if the detector, the data or the options do not fit.
        DataError, EngineError, ModelFolderError: if the data or the network cannot be had.
    """
    from dapdee_ros.cli.progress import shown_files
    from dapdee_ros.datasets.labelled_scenes import open_scenes
    from dapdee_ros.exits.added_exits import AddedExits, save_with_exits
    from dapdee_ros.exits.card import find_model
    from dapdee_ros.exits.detector import STRIDES
    from dapdee_ros.exits.runnable import load_runnable
    from dapdee_ros.runtime.network_input import frame_as_input
    from dapdee_ros.tasks.detection import Detector
    from dapdee_ros.training.detection import DetectionTraining

    found = load_runnable(find_model(args.exits_of), with_calibration=False)
    card = found.card
    layout = {"decoder": card.task.get("decoder"), "strides": card.task.get("strides", STRIDES)}
    if card.task["name"] != Detector.name or layout["decoder"] != "yolox":
        raise CommandError(
            f"{card.path} is for {card.task['name']}, decoder {layout['decoder']}: exits can be "
            "added to detectors with decoder yolox, whose rows theirs are like"
        )
    if list(layout["strides"]) != list(STRIDES) or len(card.dag.exits) != 1:
        raise CommandError(
            f"{card.path} has {len(card.dag.exits)} exits with strides {list(layout['strides'])}: "
            f"exits can be added to detectors with one exit and strides {list(STRIDES)}"
        )
    if not args.taps:
        raise CommandError("--exits-of needs --taps: the tensors that the new exits read, a,b,c")
    source = open_scenes(
        args.data,
        card.input_size,
        frames_per_epoch=args.frames_per_epoch,
        held_out_frames=args.held_out_frames,
        seed=recipe.seed,
        place=partial(frame_as_input, spec=card.input_spec),
        show=shown_files,
    )
    if source.labels != card.labels:
        raise CommandError(
            f"{card.path} finds {len(card.labels)} classes {card.labels[:3]}..., {args.data} shows "
            f"{len(source.labels)} {source.labels[:3]}...: they have to be the same"
        )
    width = 32 if args.branch_width is None else args.branch_width
    model = AddedExits(found.engine, args.taps.split(","), card.input_size, width)
    identity = {
        "exits_of": card.model_id,
        "taps": list(model.taps),
        "width": width,
        "data": args.data,
        "frames_per_epoch": source.frames_per_epoch(),
    }
    # The network takes frames of one size only.
    task = DetectionTraining(source, replace(recipe, start_scale=1.0), model.exits, args.workers)
    began = {"exits_added_to": {"model_id": card.model_id, **card.provenance}}
    return TrainingPlan(model, task, source, identity, partial(save_with_exits, card=card), began)


def _saving(
    source: DataSource | SceneData,
    labels: tuple[str, ...],
    architecture: dict[str, Any],
    task: dict[str, Any],
) -> Callable[..., ModelCard]:
    """What writes a network that torch can build: all but folder, network and figures is given."""
    from dapdee_ros.exits.model_folder import save_model

    return partial(
        save_model,
        architecture=architecture,
        labels=labels,
        mean=source.mean,
        std=source.std,
        task=task,
    )


def _start(
    args: argparse.Namespace,
    model: Network,
    architecture: dict[str, Any],
    identity: dict[str, Any],
) -> dict[str, Any]:
    """Give the model the weights of those that it starts from; how these came about."""
    from dapdee_ros.training.starting_point import start_from

    if not args.start_from:
        return {}
    cards = start_from(args.start_from, model, architecture)
    identity["start_from"] = [card.model_id for card in cards]
    return {"started_from": [{"model_id": card.model_id, **card.provenance} for card in cards]}
