"""Measure a model's exits, gates and codecs on held-out frames and write its calibration.json.

Per exit: its quality (accuracy, mAP, mean IoU) and what calibrates its confidence. Per gate
exit, later exit and threshold: the share of frames that stop at the gate, and the quality over all
frames when those end there and the others at the later exit. Per codec and boundary worth sending:
encoded bytes, time, and how many answers it changes.
"""

from __future__ import annotations

import argparse
from functools import partial
from typing import TYPE_CHECKING, Any

from dapdee_ros.engines.engine import ENGINES
from dapdee_ros.errors import CommandError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from dapdee_ros.datasets.scene_data import SceneData, SceneSeries
    from dapdee_ros.datasets.split import DataSource
    from dapdee_ros.engines.engine import Engine
    from dapdee_ros.exits.codec_calibration import Comparison
    from dapdee_ros.exits.codec_losses import CodecLosses
    from dapdee_ros.exits.gates import Calibration
    from dapdee_ros.exits.runnable import Runnable
    from dapdee_ros.graph.dag import ModelDag

SUMMARY = "measure a model's exits, gates and codecs on held-out frames"


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add = parser.add_argument
    add("--model", required=True, help="a model folder, or the name of a model")
    add(
        "--data",
        required=True,
        help="roadsigns, cifar10:DIR, folder:DIR, roadscenes, yolo:DIR or coco:DIR",
    )
    add(
        "--frames",
        type=int,
        help="of rendered data (default 10000 for roadsigns, 4000 for roadscenes)",
    )
    add(
        "--max-loss",
        type=float,
        default=0.005,
        help="loss of quality that the table allows (default 0.005)",
    )
    add(
        "--codec-frames",
        type=int,
        help="how many of the frames to measure codecs on, one thread; 0: none (default 1000, on "
        "road scenes 200)",
    )
    add(
        "--codecs",
        help="codecs to measure, comma-separated (default: all but the per-channel ones)",
    )
    add(
        "--engine",
        choices=ENGINES,
        default=ENGINES[0],
        help=f"what computes the network (default {ENGINES[0]})",
    )


def run(args: argparse.Namespace) -> int:
    """Calibrate, write, and print the table."""
    from dapdee_ros.cli.progress import shown_files
    from dapdee_ros.codecs import CodecError
    from dapdee_ros.datasets.labelled_scenes import is_scenes, open_scenes
    from dapdee_ros.datasets.scene_data import SCENES
    from dapdee_ros.datasets.sources import open_data
    from dapdee_ros.datasets.split import DataError
    from dapdee_ros.engines.engine import EngineError
    from dapdee_ros.exits.card import CALIBRATION_FILE, ModelFolderError, find_model
    from dapdee_ros.exits.gates import CalibrationError
    from dapdee_ros.exits.model_folder_writer import json_bytes
    from dapdee_ros.exits.runnable import load_runnable
    from dapdee_ros.files import require_folder, write_whole
    from dapdee_ros.runtime.network_input import frame_as_input
    from dapdee_ros.tasks.classification import Classifier
    from dapdee_ros.tasks.segmentation import Segmenter
    from dapdee_ros.tasks.task import task_of

    if args.frames is not None and args.frames < 1:
        raise CommandError(f"--frames must be at least 1, got {args.frames}")
    if not 0 <= args.max_loss <= 1:
        raise CommandError(
            f"--max-loss is a share of the frames, 0 to 1, got {args.max_loss:g}; for a percentage "
            f"divide by 100 (half a per cent is 0.005)"
        )
    if args.codec_frames is not None and args.codec_frames < 0:
        raise CommandError(f"--codec-frames must be at least 0, got {args.codec_frames}")
    try:
        folder = require_folder(find_model(args.model))
        # Replacing a calibration of other weights is the purpose of this command.
        model = load_runnable(folder, args.engine, with_calibration=False)
        card = model.card
        on_scenes = card.task["name"] != Classifier.name
        if on_scenes != is_scenes(args.data):
            raise CommandError(
                f"{folder} is for {card.task['name']}: {SCENES}, yolo:DIR and coco:DIR are for "
                "detection and segmentation, all other data for classification"
            )
        source: DataSource | SceneData
        if on_scenes:
            source = scenes = open_scenes(
                args.data,
                card.input_size,
                held_out_frames=args.frames or (4_000 if args.data == SCENES else None),
                place=partial(frame_as_input, spec=card.input_spec),
                show=shown_files,
            )
            segments = card.task["name"] == Segmenter.name
            labels = scenes.surfaces if segments else scenes.labels
            calibrated = partial(_calibrated_on_scenes, model, scenes)
        else:
            source = stored = open_data(
                args.data, size=card.input_size, held_out_frames=args.frames or 10_000
            )
            labels = stored.labels
            calibrated = partial(_calibrated_classifier, model, stored)
    except (DataError, EngineError, ModelFolderError) as error:
        raise CommandError(str(error)) from error
    if labels != card.labels or source.size != card.input_size:
        raise CommandError(
            f"{folder} distinguishes {len(card.labels)} classes {card.labels[:3]}... in "
            f"{card.input_size} frames, {args.data} has {len(labels)} {labels[:3]}... in "
            f"{source.size}"
        )
    names = args.codecs.split(",") if args.codecs else None
    try:
        calibration = calibrated(args.codec_frames, names)
    except CodecError as error:
        raise CommandError(f"{error}; or choose others with --codecs") from error
    except (CalibrationError, DataError) as error:
        raise CommandError(str(error)) from error
    path = folder / CALIBRATION_FILE
    write_whole(path, json_bytes(calibration.to_dict()))
    print(f"wrote {path} ({calibration.data})")
    print_table(calibration, args.max_loss, task_of(card).quality_name)
    print_codecs(card.dag, calibration.codecs)
    return 0


def _calibrated_classifier(
    model: Runnable,
    source: DataSource,
    codec_frames: int | None,
    codecs: list[str] | None,
) -> Calibration:
    from dataclasses import replace

    import numpy as np

    from dapdee_ros.cli.path_names import without_folders
    from dapdee_ros.exits.calibration import ClassesCompared, calibrate
    from dapdee_ros.training.held_out_answers import logits_by_exit

    frames = source.calibration()
    calibration = calibrate(
        logits_by_exit(model.engine, _with_bar(frames.images)),
        frames.labels,
        model_id=model.card.model_id,
        data=without_folders(frames.description),
    )
    count = min(1_000 if codec_frames is None else codec_frames, len(frames))
    if not count:
        return calibration
    # Spread evenly: stored ones may be sorted by class.
    some = np.linspace(0, len(frames) - 1, count).astype(int)
    labels = frames.labels[some]
    measured = _measure_codecs(
        model.engine, frames.images[some], lambda number: ClassesCompared(labels), codecs
    )
    return replace(calibration, codecs=measured)


def _calibrated_on_scenes(
    model: Runnable,
    source: SceneData,
    codec_frames: int | None,
    codecs: list[str] | None,
) -> Calibration:
    from dataclasses import replace

    import numpy as np

    from dapdee_ros.cli.path_names import without_folders
    from dapdee_ros.tasks.detection import Detector
    from dapdee_ros.tasks.task import task_of
    from dapdee_ros.training.answers_compared import AnswersCompared
    from dapdee_ros.training.gate_calibration import calibrate_detector, calibrate_segmenter
    from dapdee_ros.training.held_out_answers import answers_by_frame
    from dapdee_ros.training.scene_truth import true_detections, true_surfaces

    card = model.card
    task = task_of(card)
    detects = isinstance(task, Detector)
    truth_of = true_detections if detects else true_surfaces
    frames = source.calibration()
    answered = answers_by_frame(model.engine, task, _with_bar(frames), truth_of)
    about = {"model_id": card.model_id, "data": without_folders(frames.description)}
    if detects:
        answers, truths = zip(*answered, strict=True)
        calibration = calibrate_detector(
            list(zip(*answers, strict=True)),
            truths,
            evaluator=task.evaluator,
            size=card.input_size,
            **about,
        )
    else:
        calibration = calibrate_segmenter(answered, evaluator=task.evaluator, **about)
    count = min(200 if codec_frames is None else codec_frames, len(frames))
    if not count:
        return calibration
    some = [frames[place] for place in range(count)]
    shown = [truth_of(frame) for frame in some]
    measured = _measure_codecs(
        model.engine,
        np.stack([frame.image for frame in some]),
        lambda number: AnswersCompared(
            lambda outputs: task.decode(outputs, number), shown, task.evaluator
        ),
        codecs,
    )
    return replace(calibration, codecs=measured)


def _measure_codecs(
    engine: Engine,
    images: NDArray[np.uint8],
    compare: Callable[[int], Comparison],
    names: list[str] | None,
) -> CodecLosses:
    """What codecs cost on some frames, uint8 ``(N, H, W, 3)``."""
    import sys

    from tqdm import tqdm

    from dapdee_ros.exits.codec_calibration import CODECS, measure_codecs

    with tqdm(total=len(images), desc="codecs", unit="frame", file=sys.stderr) as bar:
        return measure_codecs(
            engine,
            images,
            compare,
            codecs=names or CODECS,
            progress=lambda done: bar.update(done) and None,
        )


def _with_bar(frames: Sequence[Any] | NDArray[Any] | SceneSeries) -> Iterator[Any]:
    """The frames, while a bar shows how many of them the exits have answered."""
    import sys

    from tqdm import tqdm

    for place in tqdm(range(len(frames)), desc="exits", unit="frame", file=sys.stderr):
        yield frames[place]


def print_table(calibration: Calibration, max_loss: float, quality_name: str) -> None:
    """Exits, and for each gate the threshold that stops most frames within ``max_loss``."""
    deepest = len(calibration.exit_quality)
    print(f"exit  {quality_name:>8}  temperature")
    rows = zip(calibration.exit_quality, calibration.temperatures, strict=True)
    for number, (accuracy, temperature) in enumerate(rows, start=1):
        print(f"{number:4d}  {100 * accuracy:6.2f} %  {temperature:11.3f}")
    print(f"gate  threshold  stops     with exit {deepest}")
    for gate in sorted(calibration.gates):
        allowed = calibration.exit_quality[-1] - max_loss
        fitting = [
            t
            for t in calibration.thresholds(gate)
            if calibration.quality(gate, deepest, t) >= allowed
        ]
        if fitting:
            best = fitting[0]
            print(
                f"{gate:4d}  {best:9.4f}  {100 * calibration.share(gate, best):6.2f} %  "
                f"{100 * calibration.quality(gate, deepest, best):6.2f} %"
            )


def print_codecs(dag: ModelDag, codecs: CodecLosses) -> None:
    """For each boundary and codec the bytes and what the deepest exit that can follow loses."""
    if not codecs.tensors:
        return
    print(f"codecs: mean bytes and quality lost at the exit named, of {codecs.frames} frames")
    names = list(codecs.tensors)
    print(f"{'boundary':24} exit  f32 bytes" + "".join(f"{name:>15}" for name in names))
    for node in dag.nodes:
        coded = {name: codecs.tensors[name].get(node.name) for name in names}
        deepest = max((max(c.changes) for c in coded.values() if c is not None), default=0)
        if not deepest:
            continue
        line = f"{node.name:24} {deepest:4d}  {node.output_bytes:9d}"
        for of_codec in coded.values():
            cell = ""
            if of_codec is not None:
                share = 100 * of_codec.changes[deepest].lost
                cell = f"{of_codec.coded_bytes:.0f} {share:+.2f} %"
            line += f"{cell:>15}"
        print(line)
