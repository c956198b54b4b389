"""Train a bottleneck: a codec of a model's own, for one boundary, that sends very little.

A small encoder on the car and a decoder on the edge server are trained so that the network behind
them, which stays as it is, answers as before. Images are enough, nobody has to say what they show:
rendered ones (roadscenes, roadsigns), a recording of your own (folder:DIR, bag:FILE) or a data set
(yolo:DIR, coco:DIR, cifar10:DIR), whose truth then measures the quality. One training gives
several operating points, from few bytes to many; each is a codec NAME@P of the model, P from 1, and
the planner chooses among them. The file is written beside the model, MODEL/bottlenecks/NAME.onnx.

--at names the boundary: a node, or a part of the network, whose last node is meant (stage2).
Several, separated by commas, are trained one after the other; a+b is one boundary of two tensors.
--at auto proposes the boundaries where a bottleneck would save most of the latency, over a range of
link rates and slowdowns of the car, from the profiles of both sides; --propose ends after that.

Ctrl-C saves, and the same command resumes; so it does after a kill, from the last 50 steps.

Examples:
  dapdee bottleneck my_detector --propose
  dapdee bottleneck my_detector --data roadscenes --at stage2
  dapdee bottleneck my_detector --data bag:drive/ --at stage1,stage2 --steps 6000
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from dapdee_ros.errors import CommandError

if TYPE_CHECKING:
    from dapdee_ros.exits.card import ModelCard
    from dapdee_ros.graph.dag import ModelDag

SUMMARY = "train a codec of a model's own that sends a boundary in very few bytes"

_USUAL = {
    "steps": 4000, "batch_size": 8, "channels": 48, "points": 6, "frames": 2000,
    "held_out_frames": 200, "most": 2,
}  # fmt: skip

_PIXELS_PER_BYTE = 64
"""What trained bottlenecks come to, about."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add = parser.add_argument

    def number(name: str, what: str) -> None:
        usual = _USUAL[name]
        add(
            f"--{name.replace('_', '-')}", type=int, default=usual, help=f"{what} (default {usual})"
        )

    add("model", metavar="MODEL", help="a model folder, or the name of a model")
    add(
        "--data",
        help="roadscenes, roadsigns, folder:DIR, bag:FILE, yolo:DIR, coco:DIR or cifar10:DIR",
    )
    add("--at", default="auto", metavar="NODE[,NODE]", help="the boundaries (default auto)")
    add("--propose", action="store_true", help="only show what --at auto proposes")
    number("most", "with --at auto: train at most this many")
    add("--out", type=Path, help="folder to write to (default: bottlenecks, in the model's folder)")
    add("--name", help="the bottleneck's name (default: after the boundary)")
    number("steps", "steps of the training")
    number("batch_size", "frames per step")
    add("--learning-rate", type=float, default=1.5e-3, help="highest of the cycle (default 0.0015)")
    add(
        "--rate-weight",
        type=float,
        default=0.06,
        help="what a kilobyte per frame weighs against the answers' errors at the point of the "
        "most bytes (default 0.06): lower for better answers, higher for fewer bytes",
    )
    number("channels", "of what is sent")
    number("points", "operating points")
    add(
        "--finest",
        type=float,
        help="quantiser step of the point of the most bytes (default 2): smaller for better "
        "answers; with --start-from it replaces the file's points by --points new ones",
    )
    number("frames", "most frames to train on")
    number("held_out_frames", "most frames to count symbols on, and as many to measure on")
    add("--whole-frames", action="store_true", help="train on whole frames, not on parts: slower")
    add("--topic", help="of bag:FILE: the image topic (default: the only one)")
    add(
        "--start-from",
        type=Path,
        metavar="FILE",
        help="start with the weights and the points of this bottleneck, at its boundary; --steps 0 "
        "only measures it again",
    )
    add("--seed", type=int, default=0, help="of weights and draws (default 0)")
    add("--threads", type=int, help="CPU threads (default: torch's choice)")
    add("--no-bf16", action="store_true", help="compute in float32 throughout")
    add("--restart", action="store_true", help="forget the checkpoint or the file that there is")
    add("--car-profile", help="for --at auto: what `dapdee profile` wrote on the car")
    add("--edge-profile", help="for --at auto: the same of the edge server")
    add(
        "--sent-bytes",
        type=int,
        help="for --at auto: what a bottleneck is assumed to send (default: one per "
        f"{_PIXELS_PER_BYTE} pixels of the network's input)",
    )


def run(args: argparse.Namespace) -> int:
    """Propose, train, measure and write."""
    from dapdee_ros.cli.optional_packages import require_torch

    require_torch("training a bottleneck")
    import torch

    from dapdee_ros.bags.errors import BagError
    from dapdee_ros.codecs import CodecError
    from dapdee_ros.codecs.bottleneck.file import BottleneckError
    from dapdee_ros.datasets.split import DataError
    from dapdee_ros.engines.engine import EngineError
    from dapdee_ros.exits.card import ModelFolderError, find_model
    from dapdee_ros.graph.dag import GraphError
    from dapdee_ros.planning.errors import PlanningError
    from dapdee_ros.training.checkpoint import CheckpointError
    from dapdee_ros.training.training import DivergedError

    _check(args)
    if args.threads:
        torch.set_num_threads(args.threads)
    try:
        return _run(args, find_model(args.model))
    except DivergedError as error:
        raise CommandError(f"{error} (--learning-rate, --batch-size)") from error
    except (
        BagError, BottleneckError, CheckpointError, CodecError, DataError, EngineError, GraphError,
        ModelFolderError, PlanningError,
    ) as error:  # fmt: skip
        raise CommandError(str(error)) from error


def _check(args: argparse.Namespace) -> None:
    from dapdee_ros.codecs.bottleneck.file import MOST_POINTS
    from dapdee_ros.training.bottlenecks.points import COARSEST, LEAST_POINTS

    for name in (*_USUAL, "threads", "sent_bytes"):
        value = getattr(args, name)
        least = 0 if name == "steps" and args.start_from is not None else 1
        if value is not None and value < least:
            raise CommandError(f"--{name.replace('_', '-')} must be at least {least}, got {value}")
    if not LEAST_POINTS <= args.points <= MOST_POINTS:
        raise CommandError(
            f"--points must be from {LEAST_POINTS} to {MOST_POINTS}, got {args.points}"
        )
    if args.finest is not None and not 0.05 <= args.finest < COARSEST:
        raise CommandError(
            f"--finest must be from 0.05 to below {COARSEST:g}, the step of the point of the "
            f"fewest bytes, got {args.finest:g}"
        )
    for name in ("learning_rate", "rate_weight"):
        if not getattr(args, name) > 0:
            raise CommandError(
                f"--{name.replace('_', '-')} must be above 0, got {getattr(args, name):g}"
            )
    if args.data is None and not args.propose:
        raise CommandError("--data names the frames to train on, such as folder:DIR or bag:FILE")
    if args.topic and not args.data.startswith("bag:"):
        raise CommandError(f"--topic {args.topic} is for bag:FILE, --data is {args.data}")
    if args.propose and args.at != "auto":
        raise CommandError(f"--propose shows what --at auto finds; --at is {args.at}")


def _run(args: argparse.Namespace, folder: Path) -> int:
    from dapdee_ros.cli.bottleneck_data import open_frames
    from dapdee_ros.cli.bottleneck_training import Order, train_bottleneck
    from dapdee_ros.codecs.bottleneck.file import FOLDER, read_bottleneck
    from dapdee_ros.exits.card import read_card
    from dapdee_ros.files import require_folder
    from dapdee_ros.training.bottlenecks.frozen import exits_behind

    card = read_card(folder)
    started = None if args.start_from is None else read_bottleneck(args.start_from)
    if started is not None and args.at == "auto":
        boundaries = [(started.name, started.boundary)]
    elif args.at == "auto":
        boundaries = _proposals(args, card)
        if args.propose:
            return 0
    else:
        boundaries = [named_boundary(card.dag, text) for text in args.at.split(",")]
    for _, names in boundaries:
        exits_behind(card.dag, names)
    if args.name and len(boundaries) > 1:
        raise CommandError(
            f"--name {args.name} is one name, there are {len(boundaries)} boundaries"
        )
    if args.start_from and len(boundaries) > 1:
        raise CommandError("--start-from is for one boundary: train them one after the other")
    out = require_folder(args.out or folder / FOLDER)
    orders = [Order(args.name or _name(text), names, out) for text, names in boundaries]
    for order in orders:
        order.check(args.restart)
    data = open_frames(args.data, card, args.frames, args.held_out_frames, args.topic)
    for order in orders:
        if not train_bottleneck(args, folder, data, order, started):
            return 130
    return 0


def named_boundary(dag: ModelDag, text: str) -> tuple[str, tuple[str, ...]]:
    """A boundary as it was named, and its tensors in the DAG's order."""
    order = {node.name: place for place, node in enumerate(dag.nodes)}
    names = {_node(dag, part) for part in text.split("+")}
    # Unknown ones are named by whoever looks for them.
    return text, tuple(sorted(names, key=lambda name: order.get(name, -1)))


def _node(dag: ModelDag, text: str) -> str:
    """The node of that name, or the last one of the part of the network of that name."""
    if text in dag.by_name or not text:
        return text
    inside = [n.name for n in dag.nodes if f".{text}." in f".{n.name}."]
    return inside[-1] if inside else text


def _name(text: str) -> str:
    """A name for a bottleneck: small letters, digits, hyphens.

    >>> _name("network.stage2.2.add"), _name("stage2"), _name("4.conv")
    ('stage2-2-add', 'stage2', 'at-4-conv')
    """
    plain = text.lower()
    for prefix in ("network.", "backbone."):
        plain = plain.removeprefix(prefix)
    plain = "".join(c if c.isascii() and (c.isalnum() or c in "_-") else "-" for c in plain)
    return (plain if plain[:1].isalpha() else f"at-{plain}")[:28]


def _proposals(args: argparse.Namespace, card: ModelCard) -> list[tuple[str, tuple[str, ...]]]:
    """Show where bottlenecks would save most, and return the best of these boundaries."""
    from dapdee_ros.codecs import CODEC_NAMES
    from dapdee_ros.exits.codec_calibration import boundaries_to_measure
    from dapdee_ros.planning.bottleneck_places import (
        CAR_SLOWDOWNS,
        RATES_BPS,
        proposed,
        ranked_places,
    )
    from dapdee_ros.planning.from_card import choose_profiles, problem_of
    from dapdee_ros.training.bottlenecks.trainee import can_have_bottleneck

    car, edge = choose_profiles(card, args.car_profile, args.edge_profile)
    problem = problem_of(card, car, edge, CODEC_NAMES)
    candidates = {
        name: exits
        for name, exits in boundaries_to_measure(card.dag).items()
        if name != card.dag.input and can_have_bottleneck(card, (name,), args.channels)
    }
    if not candidates:
        raise CommandError(
            f"{card.name} has no boundary for a bottleneck: a feature map that is the whole "
            "boundary of a cut, with a head large enough for an encoder; name one by --at"
        )
    height, width = card.input_size
    sent_bytes = args.sent_bytes or max(16, height * width // _PIXELS_PER_BYTE)
    places = ranked_places(problem, candidates, sent_bytes)
    best = proposed(places, args.most)
    print(
        f"{card.name}: bottlenecks of {sent_bytes} bytes against the codecs there are "
        f"({', '.join(codec.name for codec in problem.codecs)}), at {RATES_BPS[0] / 1e6:g} to "
        f"{RATES_BPS[-1] / 1e6:g} Mbit/s and a car {CAR_SLOWDOWNS[0]:g} to {CAR_SLOWDOWNS[-1]:g} "
        f"times slower than {car.device}"
    )
    print(f"  {'head':>6} {'best in':>8} {'saves':>7}  boundary")
    for place in places:
        mark = "*" if place in best else " "
        print(
            f"{mark} {place.head_share:6.1%} {place.wins:8.0%} {place.gain:7.1%}  {place.boundary} "
            f"(exits {', '.join(map(str, place.exits))})"
        )
    if card.calibration is None:
        print(f"{card.name} is not calibrated, so that images can't be sent as JPEG: see calibrate")
    if not best:
        raise CommandError("a bottleneck would win nowhere: nothing to train; or name one by --at")
    print("* proposed", file=sys.stderr)
    return [(place.boundary, (place.boundary,)) for place in best]
