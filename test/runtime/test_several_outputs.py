"""A detector of two exits with two outputs each, split between two threads."""

import queue
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from support.split_pair import Pair
from support.two_outputs import SIZE, Boxes, Found, detector, image
from torch import nn

from dapdee_ros.core.frames import FramePlan, Place
from dapdee_ros.exits.card import ModelCard
from dapdee_ros.exits.image_input import InputSpec
from dapdee_ros.exits.model_folder import LoadedModel
from dapdee_ros.graph.cuts import cuts
from dapdee_ros.graph.runner import GraphRunner
from dapdee_ros.graph.trace import trace
from dapdee_ros.runtime.head import HeadRuntime, HeadSettings
from dapdee_ros.runtime.profiling import measure_profile
from dapdee_ros.runtime.split_network import SplitNetwork
from dapdee_ros.runtime.tail import TailRuntime

WAIT_S = 10.0


@pytest.fixture(scope="module")
def model() -> LoadedModel:
    return loaded(detector())


def loaded(module: nn.Module) -> LoadedModel:
    torch.set_num_threads(1)
    runner = GraphRunner(trace(module, torch.from_numpy(image())))
    # No folder holds it: the cards of folders are classifiers'.
    card = ModelCard(
        name="detector",
        path=Path(),
        model_id="detector",
        dag=runner.dag,
        labels=("thing",),
        task={"name": "classification"},
        input_spec=InputSpec((SIZE, SIZE), (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)),
        exit_quality=(0.2, 0.4),
        quality_data="nothing",
        calibration=None,
    )
    return LoadedModel(card, runner)


@pytest.fixture
def pair(model: LoadedModel) -> Iterator[Pair]:
    example = torch.from_numpy(image())
    profile = measure_profile(model.runner, example, model_id="detector", repeats=3, budget_s=0.2)
    made: list[Pair] = []
    tail = TailRuntime(
        SplitNetwork(model, profile, task=Boxes()), lambda answer: made[0].head.answer(answer)
    )
    head = HeadRuntime(
        SplitNetwork(model, profile, task=Boxes()),
        load=lambda image: image,
        send=lambda frame: made[0].send(frame),
        publish=lambda result: made[0].results.put(result),
        session=1,
        settings=HeadSettings(deadline_s=2.0),
    )
    pair = Pair(head, tail, queue.Queue(), tail.submit)
    made.append(pair)
    head.start()
    tail.start()
    yield pair
    head.stop()
    tail.stop()


def unsplit(model: LoadedModel, seed: int, exit_number: int) -> Found:
    outputs = model.card.dag.exit_outputs(exit_number)
    given = {model.card.dag.input: torch.from_numpy(image(seed))}
    tensors = model.runner.run(given, outputs)
    return Boxes().decode([tensors[name].numpy() for name in outputs], exit_number)


def test_every_boundary_gives_the_unsplit_outputs(pair: Pair, model: LoadedModel) -> None:
    for exit_number in (1, 2):
        outputs = model.card.dag.exit_outputs(exit_number)
        with_output = 0
        for epoch, cut in enumerate(cuts(model.card.dag, exit_number), start=1):
            pair.head.set_plan(FramePlan(epoch, exit_number, cut.boundary, "f32"))
            pair.head.accept(image(epoch))
            result = pair.results.get(timeout=WAIT_S)
            assert result.place is (Place.EDGE if cut.boundary else Place.CAR), result.detail
            assert result.answer == unsplit(model, epoch, exit_number), cut.boundary
            with_output += not {*cut.boundary}.isdisjoint(outputs)
        assert with_output > 1


def test_a_gate_reads_all_outputs_of_its_exit(pair: Pair, model: LoadedModel) -> None:
    dag = model.card.dag
    boundary = dag.boundary(dag.exit_part(1) & dag.exit_part(2), 2)
    for threshold, exit_number, place in ((0.0, 1, Place.CAR), (1.0, 2, Place.EDGE)):
        pair.head.set_plan(FramePlan(exit_number, 2, boundary, "f32", 1, threshold))
        pair.head.accept(image(5))
        result = pair.results.get(timeout=WAIT_S)
        assert (result.place, result.exit_number) == (place, exit_number), result.detail
        assert result.answer == unsplit(model, 5, exit_number)


def test_a_fallback_finishes_every_exit_from_what_was_kept(pair: Pair, model: LoadedModel) -> None:
    pair.wire = None
    for epoch, cut in enumerate(cuts(model.card.dag, 2), start=1):
        if not cut.boundary:
            continue
        pair.head.set_plan(FramePlan(epoch, 2, cut.boundary, "f32", deadline_s=0.1))
        pair.head.accept(image(epoch))
        result = pair.results.get(timeout=WAIT_S)
        assert result.place is Place.CAR_FALLBACK, result.detail
        assert result.answer == unsplit(model, epoch, result.exit_number), cut.boundary


def test_kept_tensors_suffice_for_every_exit(model: LoadedModel) -> None:
    network = SplitNetwork(model, task=Boxes())
    given = {network.dag.input: image(7)}
    for cut in cuts(network.dag, 2):
        program = network.head_program(FramePlan(1, 2, cut.boundary, "f32"))
        kept = network.engine.run(given, program.kept)
        for exit_number in program.finish_profiled_s:
            answer = network.decode(network.finish(kept, program, exit_number), exit_number)
            assert answer == unsplit(model, 7, exit_number)


class Cascade(nn.Module):
    """Its first exit's outputs are computed on the way to the second, which reads one of them."""

    def __init__(self) -> None:
        super().__init__()
        self.early = nn.Conv2d(3, 4, 3, 4)
        self.late = nn.Sequential(nn.ReLU(), nn.Conv2d(4, 2, 3), nn.ReLU(), nn.Conv2d(2, 1, 3))

    def forward(self, image: torch.Tensor) -> tuple[object, torch.Tensor]:
        early = self.early(image.permute(0, 3, 1, 2).float())
        mean = early.mean((2, 3))
        return (early, mean), self.late(early) + mean[:, :1, None, None]


def test_an_exit_that_lies_within_the_head_is_kept_itself() -> None:
    network = SplitNetwork(loaded(Cascade().eval()), task=Boxes())
    given = {network.dag.input: image(7)}
    whole = network.engine.run(given, network.dag.outputs)
    inside = 0
    for cut in cuts(network.dag, 2):
        program = network.head_program(FramePlan(1, 2, cut.boundary, "f32"))
        kept = network.engine.run(given, program.kept)
        for exit_number in program.finish_profiled_s:
            for name, tensor in network.finish(kept, program, exit_number).items():
                np.testing.assert_array_equal(tensor, whole[name])
        inside += bool(cut.boundary) and network.dag.exit_part(1) <= cut.nodes
    assert inside > 2
