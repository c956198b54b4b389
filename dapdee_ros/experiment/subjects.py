"""The networks of the experiments, with their profiles on this machine and on an emulated car."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dapdee_ros.engines.slow_engine import slowed_down
from dapdee_ros.exits.bottlenecks import BOTTLENECKS
from dapdee_ros.exits.card import ModelFolderError, find_model, read_card
from dapdee_ros.exits.runnable import load_runnable
from dapdee_ros.files import write_whole
from dapdee_ros.planning.codec_cost import CodecCost, MeasuredCodec, TensorCost
from dapdee_ros.planning.device_profile import DeviceProfile
from dapdee_ros.planning.from_card import problem_of
from dapdee_ros.planning.gate_options import GateCurves
from dapdee_ros.planning.policy import Problem
from dapdee_ros.runtime.bottleneck_times import are_timed, with_bottlenecks

if TYPE_CHECKING:
    from dapdee_ros.engines.engine import Engine

TRAINED = ("vgg16-cifar10", "alexnet-cifar10", "roadsigns")
TIMING_ONLY = {"googlenet-224": "googlenet", "resnet18-224": "resnet18"}
MODELS = (*TRAINED, *TIMING_ONLY)

ENGINE = "onnxruntime"
"""What the networks are profiled with."""

CODECS = ("f32", "f16", "u8", "u8z", "u4z", "jpeg", BOTTLENECKS)
"""The manager's default codecs."""

# A tenth of a core is what the testbed takes for a Raspberry Pi 4 beside a desktop.
CAR_SLOWDOWN = 10.0

_EARLY_EXITS = 4
_SIDE = 224
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
# Their size is known without training; what they lose is not, so no trained network is judged here.
_TIMING_CODECS = ("f16", "u8")
_CODEC_REPEATS = 3


@dataclass(frozen=True)
class Subject:
    """A network to experiment with.

    Attributes:
        name: its name.
        problems: the planning problem by codecs: ``f32`` alone, or ``all``.
        curves: the calibrated gates, None without.
        quality_data: what the qualities were measured on; empty: not trained, timing only.
        labels: class names.
    """

    name: str
    problems: Mapping[str, Problem]
    curves: GateCurves | None
    quality_data: str
    labels: tuple[str, ...] = ()

    @property
    def car_alone_s(self) -> float:
        """Seconds of the full network on the car."""
        problem = self.problems["f32"]
        part = problem.dag.exit_part(len(problem.dag.exits))
        # Exact, whatever the order of the set: a deadline that differs in its last digit ends
        # another frame in time.
        return math.fsum(problem.car.node_seconds[name] for name in part)

    def describe(self) -> dict[str, Any]:
        """What a reader of results has to know, as JSON values."""
        problem = self.problems["all"]
        return {
            "name": self.name,
            "model_id": problem.car.model_id,
            "nodes": len(problem.dag.nodes),
            "exits": len(problem.dag.exits),
            "exit_quality": list(problem.exit_quality) if self.quality_data else None,
            "quality_data": self.quality_data or "untrained: timing only",
            "codecs": [codec.name for codec in problem.codecs],
            "gates": len(problem.gates),
            "input_bytes": problem.dag.nodes[0].output_bytes,
            "car": problem.car.device,
            "car_alone_s": round(self.car_alone_s, 5),
            "edge": problem.edge.device,
            "edge_alone_s": round(
                math.fsum(
                    problem.edge.node_seconds[name]
                    for name in problem.dag.exit_part(len(problem.dag.exits))
                ),
                6,
            ),
            "profiled": problem.edge.created,
        }


def make_subject(
    name: str,
    *,
    car_slowdown: float = CAR_SLOWDOWN,
    budget_s: float = 6.0,
    kept: Path | None = None,
) -> Subject:
    """Load or build a network and profile it on this machine, on one thread.

    The edge server is this machine, the car the same ``car_slowdown`` times slower: only so do
    both profiles belong together on every machine that this is run on.

    Args:
        name: one of ``MODELS``, or any model folder.
        car_slowdown: how many times slower the car is.
        budget_s: seconds to spend on the profile.
        kept: folder of measurements: what is there is used, what is not is measured and put there.
            So that two versions of a policy can be compared on the same numbers.

    Raises:
        ModelFolderError: if the model is not there.
        ProfileError: if a kept profile is of another model.
    """
    if name in TIMING_ONLY:
        return _timing_only(name, TIMING_ONLY[name], car_slowdown, budget_s, kept)
    card = read_card(find_model(name))
    model = load_runnable(card.path, ENGINE)
    path = kept and kept / f"{card.name}.json"
    edge = _profile(model.engine, card.model_id, budget_s, path)
    if not are_timed(edge, card):
        edge = with_bottlenecks(edge, model)
        if path is not None:
            edge.save(path)
    car = slowed_down(edge, car_slowdown)
    return Subject(
        card.name,
        {"f32": problem_of(card, car, edge, ["f32"]), "all": problem_of(card, car, edge, CODECS)},
        card.calibration,
        card.calibration.data if card.calibration else card.quality_data,
        card.labels,
    )


def available(names: tuple[str, ...] = MODELS) -> tuple[list[str], dict[str, str]]:
    """Those of the networks that can be run here, and for the others why not."""
    there, missing = [], {}
    for name in names:
        try:
            if name not in TIMING_ONLY:
                read_card(find_model(name))
            there.append(name)
        except ModelFolderError as error:
            # The folders that were searched are of no interest to a reader of results.
            missing[name] = str(error).splitlines()[0].partition(": neither")[0]
    return there, missing


def _timing_only(
    name: str, network: str, car_slowdown: float, budget_s: float, kept: Path | None
) -> Subject:
    """A network of torchvision with four exits before its own, untrained."""
    import torch

    from dapdee_ros.engines.onnx_export import export
    from dapdee_ros.engines.onnxruntime_engine import OnnxRuntimeEngine
    from dapdee_ros.exits.multi_exit import MultiExit
    from dapdee_ros.graph.torchvision_import import torchvision
    from dapdee_ros.graph.trace import trace

    torch.manual_seed(0)
    arguments: dict[str, Any] = {"weights": None}
    if network == "googlenet":
        arguments |= {"init_weights": False, "aux_logits": False}
    backbone = torchvision.models.get_model(network, **arguments).eval()
    model = MultiExit(backbone, _EARLY_EXITS, input_size=(_SIDE, _SIDE), mean=_MEAN, std=_STD)
    image = torch.zeros(1, _SIDE, _SIDE, 3, dtype=torch.uint8)
    engine = OnnxRuntimeEngine(export(trace(model.eval(), image)))
    dag = engine.dag
    edge = _profile(engine, name, budget_s, kept and kept / f"{name}.json")
    car = slowed_down(edge, car_slowdown)
    plain: list[CodecCost] = [
        MeasuredCodec(
            "f32",
            {n.name: TensorCost(float(n.output_bytes)) for n in dag.nodes},
            default_loss=0.0,
        )
    ]
    coded = [*plain, *_timed_codecs(engine, car_slowdown, kept and kept / f"{name}-codecs.json")]
    exits = len(dag.exits)
    # Their order is all that counts: a deeper exit is worth more. They are never shown.
    ranks = [number / exits for number in range(1, exits + 1)]
    return Subject(
        name,
        {
            "f32": Problem(dag, (car, edge), ranks, plain),
            "all": Problem(dag, (car, edge), ranks, coded),
        },
        None,
        "",
    )


def _timed_codecs(engine: Engine, car_slowdown: float, path: Path | None) -> list[CodecCost]:
    """Codecs of fixed size on every tensor that a cut can send, with their times on this machine.

    What they lose is not known for an untrained network and counts as nothing.
    """
    if path is not None and path.is_file():
        took = json.loads(path.read_text(encoding="utf-8"))
    else:
        took = _time_codecs(engine)
        if path is not None:
            write_whole(path, json.dumps(took) + "\n")
    return [
        MeasuredCodec(
            codec,
            {
                name: TensorCost(coded_bytes, car_slowdown * encode_s, decode_s)
                for name, (coded_bytes, encode_s, decode_s) in tensors.items()
            },
            default_loss=0.0,
        )
        for codec, tensors in took.items()
    ]


def _time_codecs(engine: Engine) -> dict[str, dict[str, list[float]]]:
    """By codec and tensor: coded bytes, seconds to encode and to decode."""
    import numpy as np

    from dapdee_ros.codecs import codec_named
    from dapdee_ros.codecs.measure import measure
    from dapdee_ros.graph.cuts import cuts

    dag = engine.dag
    numbers = range(1, len(dag.exits) + 1)
    names = list(dict.fromkeys(n for e in numbers for cut in cuts(dag, e) for n in cut.boundary))
    shape = dag.nodes[0].shape
    pixels = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    values = engine.run({dag.input: pixels}, names)
    found: dict[str, dict[str, list[float]]] = {}
    for codec in _TIMING_CODECS:
        found[codec] = {}
        for name in names:
            node = dag.by_name[name]
            if not codec_named(codec).accepts(node.shape, node.dtype):
                continue
            took = measure(codec, [values[name]], time.perf_counter, _CODEC_REPEATS)
            found[codec][name] = [took.mean_bytes, took.encode_s, took.decode_s]
    return found


def _profile(engine: Engine, model_id: str, budget_s: float, path: Path | None) -> DeviceProfile:
    from dapdee_ros.runtime.profiling import measure_engine

    if path is not None and path.is_file():
        profile = DeviceProfile.load(path)
        profile.check_fits((node.name for node in engine.dag.nodes), model_id)
        return profile
    profile = measure_engine(engine, model_id=model_id, threads=1, budget_s=budget_s)
    if path is not None:
        profile.save(path)
    return profile


SubjectMaker = Callable[[str], Subject]
