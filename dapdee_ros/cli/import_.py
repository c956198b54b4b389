"""Import a network that others made, so that it can be split: a model folder from an ONNX file.

SOURCE is an ONNX file, torchvision:NAME, or package.module:factory (a torch module, or a function
without arguments that makes one; it runs now and never again). The last two need torch.

What the network wants of an image and what its outputs mean becomes part of the folder as options
with numbers. A decoder brings its usual ones (below, every one can be given):

  yolox       letterbox_corner, bgr, scale 1, pad 114     outputs relative to cells of --strides
  yolo        letterbox, rgb, scale 1/255, pad 114        YOLOv5 to YOLO11 without suppression
  fastestdet  stretch, bgr, scale 1/255
  ssd         stretch, rgb, scale 1/255                   priors: --option maps=... scales, ratios
  logits, probabilities, class_ids                        of every place (segmentation)

Examples:
  dapdee import yolox_nano.onnx --task detection --decoder yolox --labels coco --out models/yolox
  dapdee import classifier.onnx --labels names.txt --mean 0.485,0.456,0.406 --std 0.229,0.224,0.225
  dapdee import torchvision:mobilenet_v3_small --weights mobilenet.pth --out models/mobilenet
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dapdee_ros.errors import CommandError

if TYPE_CHECKING:
    from dapdee_ros.engines.onnx_model import OnnxModel
    from dapdee_ros.exits.card import ModelCard
    from dapdee_ros.exits.image_input import InputSpec
    from dapdee_ros.exits.torch_sources import TorchSource

SUMMARY = "make a model folder of an ONNX file or a torch network of your own"

_USUAL: dict[str, dict[str, Any]] = {
    "yolox": {"resize": "letterbox_corner", "colour": "bgr", "scale": 1.0, "pad": 114},
    "yolo": {"resize": "letterbox", "colour": "rgb", "scale": 1 / 255, "pad": 114},
    "fastestdet": {"resize": "stretch", "colour": "bgr", "scale": 1 / 255, "pad": 0},
}
_OTHERWISE = {"resize": "stretch", "colour": "rgb", "scale": 1 / 255, "pad": 0}


_DECODERS: dict[str, tuple[str, ...]] = {
    "classification": (),
    "detection": ("yolox", "yolo", "fastestdet", "ssd"),
    "segmentation": ("logits", "probabilities", "class_ids"),
}
"""Of each task; named here too, so that --help imports nothing."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    add = parser.add_argument
    add("source", metavar="SOURCE", help="FILE.onnx, torchvision:NAME or package.module:factory")
    add("--task", choices=tuple(_DECODERS), help="(default: by --decoder)")
    add("--out", type=Path, help="the model folder to create (default: models/NAME)")
    add("--name", help="the model's name (default: that of the folder)")
    add("--labels", help="names of the classes: a file with one per line, a,b,c, or coco")
    add(
        "--exit",
        action="append",
        default=[],
        metavar="NAME[,NAME...]",
        help="outputs of an exit; several times for several exits, the shallowest first (default: "
        "one exit with all outputs of the file). Any tensor or operator can be named",
    )
    image = parser.add_argument_group("what the network wants of an image")
    add = image.add_argument
    add("--input-size", metavar="HxW", help="height and width, if the file leaves them open")
    add("--resize", choices=("stretch", "letterbox", "letterbox_corner"), help="(default stretch)")
    add("--pad", type=int, help="byte around a letterboxed image (default 0)")
    add("--colour", choices=("rgb", "bgr"), help="order of the channels (default rgb)")
    add("--scale", help="what each byte is multiplied by: a number or a/b (default 1/255)")
    add("--mean", help="subtracted per channel then, in the order of --colour (default 0,0,0)")
    add("--std", help="what each channel is divided by then (default 1,1,1)")
    boxes = parser.add_argument_group("detection and segmentation")
    add = boxes.add_argument
    decoders = [name for of_task in _DECODERS.values() for name in of_task]
    add("--decoder", choices=decoders, help="layout of the outputs (segmentation: default logits)")
    add("--strides", help="pixels per cell of each grid: a,b,c (yolox; default 8,16,32)")
    add("--score", type=float, help="least score of a box (default 0.25)")
    add("--iou", type=float, help="overlap from which two boxes are one object (default 0.6)")
    add(
        "--option",
        action="append",
        default=[],
        metavar="NAME=JSON",
        help="another option of the decoder, such as box_scale=640 or maps=[[20,20],[10,10]]; of a "
        "segmenter cell_px=2: pixels per cell of the class map (default 1)",
    )
    torch = parser.add_argument_group("torch networks")
    torch.add_argument("--weights", type=Path, help="their weights: .pth with a state, safetensors")


def run(args: argparse.Namespace) -> int:
    """Import, write the folder, and say what can be cut."""
    from dapdee_ros.engines.onnx_model import OnnxError
    from dapdee_ros.exits.card import ModelFolderError
    from dapdee_ros.exits.model_folder_writer import write_model_folder
    from dapdee_ros.files import require_folder

    task = _task(args)
    name = args.name or (args.out.name if args.out else _stem(args.source))
    out = args.out or Path("models") / name
    require_folder(out.parent if out.parent.exists() or args.out else Path())
    try:
        network, spec, known = _network(args)
        labels = _labels(args, known, network, task)
        options = _task_options(args, task, network, labels, spec)
        print("writing the model folder ...", file=sys.stderr)
        card = write_model_folder(
            out,
            network=network,
            dag=network.dag,
            name=name,
            task=options,
            labels=labels,
            input_spec=spec,
            exit_quality=None,
            provenance={
                "command": shlex.join(["dapdee", *sys.argv[1:]]),
                "created": datetime.now(UTC).isoformat(timespec="seconds"),
                "source": args.source,
            },
        )
    except (OnnxError, ModelFolderError, ValueError) as error:
        raise CommandError(str(error)) from error
    _show(card, spec, known)
    return 0


def _task(args: argparse.Namespace) -> str:
    """The task, and that the decoder is one of its own."""
    of_decoder = next((t for t, own in _DECODERS.items() if args.decoder in own), "classification")
    task: str = args.task or of_decoder
    if task == "detection" and not args.decoder:
        raise CommandError("a detector needs --decoder: the layout of its outputs; see --help")
    if args.decoder and of_decoder != task:
        raise CommandError(f"--decoder {args.decoder} is for --task {of_decoder}")
    if task == "segmentation":
        args.decoder = args.decoder or "logits"
    return task


def _stem(source: str) -> str:
    if source.endswith(".onnx"):
        return Path(source).stem
    return source.rpartition(":")[2].replace(".", "_") or "model"


# Reading -----------------------------------------------------------------------------------------


def _network(args: argparse.Namespace) -> tuple[OnnxModel, InputSpec, TorchSource | None]:
    """The network with the image's bytes as input, how images get there, and torch's knowledge."""
    if args.source.endswith(".onnx") or Path(args.source).is_file():
        if args.weights:
            raise CommandError("--weights is for torch networks; an ONNX file holds its own")
        model, spec = _read(args, Path(args.source), _size(args.input_size), None)
        return model, spec, None
    if ":" not in args.source:
        raise CommandError(
            f"{args.source} is no file; expected FILE.onnx, torchvision:NAME or "
            "package.module:factory"
        )
    from dapdee_ros.cli.optional_packages import require_torch

    require_torch("importing a torch network")
    from dapdee_ros.exits.torch_sources import build, write_onnx

    print("building the network ...", file=sys.stderr)
    known = build(args.source, args.weights)
    size = _size(args.input_size) or known.size
    if size is None:
        raise CommandError(f"{args.source} does not say its size: give --input-size HxW")
    with tempfile.TemporaryDirectory(prefix="dapdee-import-") as folder:
        path = Path(folder) / "exported.onnx"
        print("writing it as ONNX ...", file=sys.stderr)
        write_onnx(known.module, size, path)
        model, spec = _read(args, path, size, known)
    return model, spec, known


def _read(
    args: argparse.Namespace, path: Path, size: tuple[int, int] | None, known: TorchSource | None
) -> tuple[OnnxModel, InputSpec]:
    from dapdee_ros.engines.onnx_import import Pixels, import_onnx
    from dapdee_ros.exits.image_input import InputSpec

    usual = _USUAL.get(args.decoder, _OTHERWISE)
    mean, std = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)
    if known is not None and known.normalised:
        from dapdee_ros.exits.torch_sources import IMAGENET_MEAN, IMAGENET_STD

        mean, std = IMAGENET_MEAN, IMAGENET_STD
    spec = InputSpec(
        size or (1, 1),
        _three("--mean", args.mean) or mean,
        _three("--std", args.std) or std,
        args.resize or usual["resize"],
        args.colour or usual["colour"],
        _ratio(args.scale) if args.scale else usual["scale"],
        usual["pad"] if args.pad is None else args.pad,
    )
    print("reading the network and computing what is constant in it ...", file=sys.stderr)
    pixels = Pixels(spec.colour, spec.scale, spec.mean, spec.std)
    exits = [[word.strip() for word in text.split(",")] for text in args.exit]
    model = import_onnx(path, pixels, input_size=size, exits=exits)
    _, height, width, _ = model.dag.nodes[0].shape
    return model, InputSpec.of((height, width), spec.mean, spec.std, **_others(spec))


def _others(spec: InputSpec) -> dict[str, Any]:
    values = spec.to_dict()
    return {key: values[key] for key in ("resize", "colour", "scale", "pad_value")}


def _size(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    sides = text.lower().split("x")
    if len(sides) != 2 or not all(side.isdecimal() and int(side) > 0 for side in sides):
        raise CommandError(f"--input-size is {text!r}; expected HEIGHTxWIDTH, such as 416x416")
    return int(sides[0]), int(sides[1])


def _three(option: str, text: str | None) -> tuple[float, float, float] | None:
    if text is None:
        return None
    values = [_ratio(word, option) for word in text.split(",")]
    if len(values) == 1:
        values *= 3
    if len(values) != 3:
        raise CommandError(f"{option} is {text!r}; expected one number, or three with commas")
    return values[0], values[1], values[2]


def _ratio(text: str, option: str = "--scale") -> float:
    above, _, below = text.partition("/")
    try:
        return float(above) / float(below or 1)
    except (ValueError, ZeroDivisionError) as error:
        raise CommandError(f"{option} has {text!r}; expected a number or a/b") from error


# What the outputs mean ---------------------------------------------------------------------------


def _labels(
    args: argparse.Namespace, known: TorchSource | None, network: OnnxModel, task: str
) -> tuple[str, ...]:
    from dapdee_ros.exits.label_names import labels_of

    if args.labels:
        return labels_of(args.labels)
    if known is not None and known.labels:
        return known.labels
    if task != "classification":
        kind = {"detection": "detector", "segmentation": "segmenter"}[task]
        raise CommandError(f"a {kind} needs the names of its classes: --labels")
    shape = network.dag.by_name[network.dag.outputs[-1]].shape
    print("no --labels: the classes are called by their numbers", file=sys.stderr)
    return tuple(str(number) for number in range(shape[-1]))


def _task_options(
    args: argparse.Namespace,
    task: str,
    network: OnnxModel,
    labels: tuple[str, ...],
    spec: InputSpec,
) -> dict[str, Any]:
    """The task with its options, if they fit the network's outputs."""
    dag = network.dag
    shapes = [[dag.by_name[name].shape for name in of] for of in dag.exits]
    if task == "classification":
        _check_classifier(network, shapes, labels)
        return {"name": task}
    from dapdee_ros.tasks.detection import Detector
    from dapdee_ros.tasks.segmentation import Segmenter

    options: dict[str, Any] = {"name": task, "decoder": args.decoder}
    if args.strides:
        options["strides"] = [int(_ratio(word, "--strides")) for word in args.strides.split(",")]
    options |= {
        key: getattr(args, key) for key in ("score", "iou") if getattr(args, key) is not None
    }
    for text in args.option:
        key, _, value = text.partition("=")
        try:
            options[key] = json.loads(value)
        except json.JSONDecodeError as error:
            raise CommandError(f"--option is {text!r}; expected NAME=JSON") from error
    kind = Detector if task == Detector.name else Segmenter
    kind(labels, options, shapes, spec.size)
    return options


def _check_classifier(
    network: OnnxModel, shapes: list[list[tuple[int, ...]]], labels: tuple[str, ...]
) -> None:
    for outputs, of in zip(network.dag.exits, shapes, strict=True):
        if of != [(1, len(labels))]:
            shown = ", ".join(f"{n} {s}" for n, s in zip(outputs, of, strict=True))
            raise CommandError(
                f"a classifier of {len(labels)} classes has exits of one output of shape "
                f"{(1, len(labels))}; this one puts out {shown}: give the --labels, name the "
                "output with --exit, or is it a detector (--task detection)?"
            )
        node = network.dag.by_name[outputs[0]]
        if node.op.endswith("softmax"):
            raise CommandError(
                f"the output {outputs[0]!r} is a softmax; scores are computed from what it reads: "
                f"add --exit {node.inputs[0]}"
            )


# Summary -----------------------------------------------------------------------------------------


def _show(card: ModelCard, spec: InputSpec, known: TorchSource | None) -> None:
    from dapdee_ros.cli.cut_summary import cut_summary

    dag = card.dag
    work = sum(node.flops for node in dag.nodes)
    print(f"model {card.name} ({card.model_id[:12]}) is in {card.path}")
    print(
        f"  image      {spec.size[0]}x{spec.size[1]}, {spec.resize}, {spec.colour}, (pixel * "
        f"{spec.scale:.6g} - {list(spec.mean)}) / {list(spec.std)}"
    )
    print(f"  task       {json.dumps(dict(card.task))}, {len(card.labels)} classes")
    print(f"  network    {len(dag.nodes)} nodes, {work / 1e9:.3g} billion operations")
    for line in cut_summary(dag):
        print(f"  {line}")
    if known is not None and known.random:
        print("  weights    RANDOM (seeded): speeds and cuts are right, answers are not; --weights")
    print(
        f"next: dapdee profile {card.path} --out car.json   (on each machine), then\n"
        f"      dapdee plan {card.path} --car-profile car.json --edge-profile edge.json --link wifi"
    )
