"""Bottlenecks between a head and a tail in one process: real encoder, bytes, decoder, answers."""

from __future__ import annotations

import itertools
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from support.bottleneck_maker import model_with_bottlenecks, rendered
from support.split_pair import Pair

from dapdee_ros.codecs import decode, encode
from dapdee_ros.codecs.bottleneck.file import FOLDER
from dapdee_ros.core.frames import FramePlan, FrameResult, Place, Status
from dapdee_ros.engines.slow_engine import SlowEngine, slowed_down
from dapdee_ros.exits.runnable import Runnable, load_runnable
from dapdee_ros.graph.dag import GraphError
from dapdee_ros.planning.device_profile import DeviceProfile
from dapdee_ros.runtime.bottleneck_times import are_timed, with_bottlenecks
from dapdee_ros.runtime.head import HeadRuntime, HeadSettings
from dapdee_ros.runtime.own_profile import own_profile
from dapdee_ros.runtime.split_network import SplitNetwork
from dapdee_ros.runtime.tail import TailRuntime

WAIT_S = 20.0
EARLY = "backbone.stage1.pool"
PAIR = ("backbone.stage2.widen.2", "backbone.stage2.blocks.0.first.2")
_SESSIONS = itertools.count(1)


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("bottlenecks") / "roadsigns"
    return model_with_bottlenecks(place, {"early": [EARLY], "pair": PAIR}, count=6)


@pytest.fixture(scope="session")
def model(folder: Path) -> Runnable:
    return load_runnable(folder)


def wired(head_model: Runnable, tail_model: Runnable) -> Pair:
    made: list[Pair] = []
    tail = TailRuntime(SplitNetwork(tail_model), lambda answer: made[0].head.answer(answer))
    head = HeadRuntime(
        SplitNetwork(head_model),
        load=lambda image: image,
        send=lambda frame: made[0].send(frame),
        publish=lambda result: made[0].results.put(result),
        session=next(_SESSIONS),
        settings=HeadSettings(deadline_s=10.0),
    )
    pair = Pair(head, tail)
    pair.wire = tail.submit
    made.append(pair)
    head.start()
    tail.start()
    return pair


def ended(pair: Pair) -> None:
    pair.head.stop()
    pair.tail.stop()
    summary = pair.head.ledger()
    assert summary.in_flight == 0
    assert summary.accepted == summary.results + summary.drops


@pytest.fixture
def pair(model: Runnable) -> Iterator[Pair]:
    made = wired(model, model)
    yield made
    ended(made)


def under(pair: Pair, plan: FramePlan, image: np.ndarray) -> FrameResult:
    """The result of a frame under a plan, sent once the plan is in force."""
    pair.head.set_plan(plan)
    while pair.head.plan.epoch != plan.epoch:
        pair.head.accept(image)
        pair.results.get(timeout=WAIT_S)
    pair.head.accept(image)
    return pair.results.get(timeout=WAIT_S)


@pytest.mark.parametrize(("name", "boundary"), [("early", (EARLY,)), ("pair", PAIR)])
def test_every_point_answers_as_the_network_does_from_the_restored_boundary(
    pair: Pair, model: Runnable, name: str, boundary: tuple[str, ...]
) -> None:
    dag, engine, sets = model.card.dag, model.engine, SplitNetwork(model).sets
    exits = len(dag.exits)
    image = rendered(model.card, 1, seed=3).images
    sizes = []
    for point in range(1, 6):
        codec = f"{name}@{point}"
        result = under(pair, FramePlan(point, exits, boundary, codec), image)
        assert (result.place, result.exit_number) == (Place.EDGE, exits), result.detail
        frame = pair.sent[-1]
        assert frame.codec == codec
        assert [spec.name for spec in frame.specs] == list(boundary)
        assert result.sent_bytes == len(frame.data)
        tensors = engine.run({dag.input: image}, list(boundary))
        specs, data = encode(tensors, codec, sets)
        assert bytes(data) == bytes(frame.data)
        expected = {n: (tensors[n].shape, "float32") for n in boundary}
        restored = decode(specs, data, codec, expected, sets=sets)
        (sink,) = dag.exit_outputs(exits)
        wanted = engine.run(restored, [sink])[sink].argmax()
        assert result.answer.class_id == wanted
        sizes.append(result.sent_bytes)
    assert sizes == sorted(sizes)
    assert sizes[-1] < sum(tensors[n].nbytes for n in boundary) / 8


def test_points_of_one_bottleneck_can_change_from_frame_to_frame(
    pair: Pair, model: Runnable
) -> None:
    exits = len(model.card.dag.exits)
    images = rendered(model.card, 10, seed=4).images
    under(pair, FramePlan(1, exits, (EARLY,), "early@1"), images[:1])
    sizes: dict[int, list[int]] = {}
    for epoch, image in enumerate(images, start=2):
        point = 1 + epoch % 5
        # The encoder is there, so the next point is in force at once.
        pair.head.set_plan(FramePlan(epoch, exits, (EARLY,), f"early@{point}"))
        assert pair.head.plan.epoch == epoch
        pair.head.accept(image[None])
        result = pair.results.get(timeout=WAIT_S)
        assert result.place is Place.EDGE, result.detail
        assert result.plan.codec == f"early@{point}"
        sizes.setdefault(point, []).append(result.sent_bytes)
    means = [np.mean(sizes[point]) for point in sorted(sizes)]
    assert means == sorted(means)


def test_without_an_answer_the_car_goes_on_from_the_true_tensors(
    pair: Pair, model: Runnable
) -> None:
    dag = model.card.dag
    exits = len(dag.exits)
    image = rendered(model.card, 1, seed=5).images
    under(pair, FramePlan(1, exits, (EARLY,), "early@1"), image)
    pair.wire = None
    pair.head.set_plan(FramePlan(2, exits, (EARLY,), "early@1", deadline_s=1.0))
    pair.head.accept(image)
    result = pair.results.get(timeout=WAIT_S)
    assert result.place is Place.CAR_FALLBACK
    (sink,) = dag.exit_outputs(result.exit_number)
    assert result.answer.class_id == model.engine.run({dag.input: image}, [sink])[sink].argmax()


@pytest.mark.parametrize("edge_has", ["none", "another"])
def test_an_edge_without_that_bottleneck_refuses_and_the_car_finishes(
    tmp_path: Path, model: Runnable, folder: Path, edge_has: str
) -> None:
    other = tmp_path / "roadsigns"
    shutil.copytree(folder, other)
    path = other / FOLDER / "early.onnx"
    if edge_has == "none":
        path.unlink()
    else:
        # One more entry of the metadata: the same network, another file.
        path.write_bytes(path.read_bytes() + bytes([0x72, 2, 0x0A, 0]))
    pair = wired(model, load_runnable(other))
    exits = len(model.card.dag.exits)
    image = rendered(model.card, 1, seed=6).images
    result = under(pair, FramePlan(1, exits, (EARLY,), "early@2"), image)
    assert result.place is Place.CAR_FALLBACK
    assert pair.tail.refused[Status.BAD_TENSOR] >= 1
    assert "early" in result.detail
    assert "copy" in result.detail
    ended(pair)


def test_a_plan_that_names_an_unknown_point_or_another_boundary_is_refused(
    pair: Pair, model: Runnable
) -> None:
    exits = len(model.card.dag.exits)
    for codec, boundary, why in (
        ("early@6", (EARLY,), "unknown"),
        ("late@1", (EARLY,), "unknown"),
        ("early@1", ("backbone.stage2.pool",), "together"),
        ("pair@1", PAIR[:1], "."),
    ):
        with pytest.raises(GraphError, match=why):
            pair.head.set_plan(FramePlan(1, exits, boundary, codec))


def test_a_profile_holds_what_each_point_takes_and_an_emulated_slow_machine_more(
    model: Runnable,
) -> None:
    seconds = {node.name: 1e-4 for node in model.card.dag.nodes}
    bare = DeviceProfile(model.card.model_id, "here", 1, seconds, "now")
    assert not are_timed(bare, model.card)
    profile = with_bottlenecks(bare, model)
    assert are_timed(profile, model.card)
    file = model.card.bottlenecks[0].file
    times = profile.codecs[f"early@1#{file.id}"]
    assert 0 < times.encode_s < 0.1
    assert 0 < times.decode_s < 0.1
    slow = slowed_down(profile, 7.0)
    assert slow.codecs[f"early@1#{file.id}"].encode_s == pytest.approx(7 * times.encode_s)
    network = SplitNetwork(model, slow, SlowEngine(model.engine, 7.0))
    image = rendered(model.card, 1).images
    tensors = model.engine.run({model.card.dag.input: image}, [EARLY])
    quick = encode(tensors, "early@3", SplitNetwork(model).sets)
    assert encode(tensors, "early@3", network.sets) == quick


def test_an_announced_plan_has_the_decoder_compiled_beside_the_frames(model: Runnable) -> None:
    network = SplitNetwork(model)
    exits = len(model.card.dag.exits)
    tail = TailRuntime(network, lambda answer: None)
    head = HeadRuntime(
        SplitNetwork(model), load=lambda image: image, send=print, publish=print, session=1,
        announce=tail.expect,
    )  # fmt: skip
    decoder = network.sets["early@4"].network.decoder
    assert not decoder.is_ready
    head.set_plan(FramePlan(1, exits, (EARLY,), "early@4"))
    until_s = time.monotonic() + WAIT_S
    while not decoder.is_ready and time.monotonic() < until_s:
        time.sleep(0.01)
    assert decoder.is_ready
    # All points share it, and nothing was compiled that this side does not need.
    assert network.sets["early@1"].network.decoder is decoder
    assert not network.sets["early@1"].network.encoder.is_ready
    assert not network.sets["pair@1"].network.decoder.is_ready
    head.stop()
    tail.stop()


def test_beside_the_engine_torch_a_bottleneck_codes_as_well(model: Runnable, folder: Path) -> None:
    pytest.importorskip("torch", reason="PyTorch is not installed")
    torch_sets = SplitNetwork(load_runnable(folder, "torch")).sets
    image = rendered(model.card, 1, seed=8).images
    tensors = model.engine.run({model.card.dag.input: image}, list(PAIR))
    own = encode(tensors, "pair@3", SplitNetwork(model).sets)
    assert encode(tensors, "pair@3", torch_sets) == own


def test_a_cached_profile_is_completed_when_a_bottleneck_is_new(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ROS_HOME", str(tmp_path / "home"))
    place = tmp_path / "roadsigns"
    shutil.copytree(folder, place)
    late = tmp_path / "pair.onnx"
    (place / FOLDER / "pair.onnx").rename(late)
    first = own_profile(load_runnable(place), 1)
    assert {name.partition("@")[0] for name in first.codecs if "#" in name} == {"early"}
    late.rename(place / FOLDER / "pair.onnx")
    changed = place / FOLDER / "early.onnx"
    changed.write_bytes(changed.read_bytes() + bytes([0x72, 2, 0x0A, 0]))
    model = load_runnable(place)
    second = own_profile(model, 1)
    assert are_timed(second, model.card)
    assert second.node_seconds == first.node_seconds
    gone = {name for name in first.codecs if "#" in name}
    assert gone.isdisjoint(second.codecs)
    assert own_profile(model, 1) == second
