"""A bag through the real network: answers, bytes and gates of these very frames."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from bags.made_bags import START_NS, make_drive
from rosbags.highlevel import AnyReader
from support.bottleneck_maker import model_with_bottlenecks

from dapdee_ros.bags.answers import NetworkAnswers
from dapdee_ros.bags.errors import BagError
from dapdee_ros.bags.frames import FrameStore, read_frames
from dapdee_ros.bags.reader import Bag
from dapdee_ros.bags.replayed_run import ReplayedRun, replay
from dapdee_ros.bags.result_bag import write_result_bag
from dapdee_ros.codecs import CODEC_NAMES, decode, encode
from dapdee_ros.core.planning_settings import PlanningSettings
from dapdee_ros.exits.card import find_model
from dapdee_ros.exits.model_folder import LoadedModel, load_model
from dapdee_ros.exits.runnable import load_runnable
from dapdee_ros.planning.device_profile import DeviceProfile
from dapdee_ros.planning.from_card import problem_of
from dapdee_ros.planning.policy import make_policy
from dapdee_ros.report.run_log import RunLog
from dapdee_ros.report.summary import summarise
from dapdee_ros.runtime.split_network import SplitNetwork
from dapdee_ros.simulation.link_text import parse_link
from dapdee_ros.simulation.scenario import Scenario
from dapdee_ros.tasks.task import task_of

FRAMES = 24


@pytest.fixture(scope="module")
def model() -> LoadedModel:
    torch.set_num_threads(1)
    return load_model(find_model("roadsigns"))


@pytest.fixture(scope="module")
def store(model: LoadedModel, tmp_path_factory: pytest.TempPathFactory) -> FrameStore:
    path, card = tmp_path_factory.mktemp("bags") / "drive", model.card
    make_drive(path, frames=FRAMES)
    with Bag(path) as bag:
        return read_frames(bag, bag.topics["/image_raw"], card.input_spec, task_of(card))


@pytest.fixture(scope="module")
def answers(model: LoadedModel, store: FrameStore) -> NetworkAnswers:
    return NetworkAnswers(SplitNetwork(model), store.images)


def scenario_of(model: LoadedModel, link: str = "4g", node_s: float = 1e-3) -> Scenario:
    """A car that takes so long for every node, and an edge a hundred times faster."""
    card = model.card
    car, edge = (
        DeviceProfile(card.model_id, name, 1, {n.name: s for n in card.dag.nodes}, "now")
        for name, s in (("a car", node_s), ("an edge", node_s / 100))
    )
    return Scenario(
        problem=problem_of(card, car, edge, CODEC_NAMES),
        link=parse_link(link),
        curves=card.calibration,
        seconds=FRAMES / 10,
        planning=PlanningSettings(deadline_s=0.5),
        labels=card.labels,
        notes={"source": "replay"},
    )


def run(scenario: Scenario, name: str, store: FrameStore, answers: NetworkAnswers) -> ReplayedRun:
    policy = make_policy(name, scenario.problem)
    return replay(scenario, name, policy, store.arrivals_s, store, answers)


def test_answers_are_those_of_the_network(
    model: LoadedModel, store: FrameStore, answers: NetworkAnswers
) -> None:
    last = len(model.card.dag.exits)
    done = run(scenario_of(model), "device-only", store, answers)
    assert [frame.index for frame in done.frames] == list(range(FRAMES))
    assert done.agreement == 1.0
    sink = model.card.dag.exit_sink(last)
    for frame in done.frames:
        given = torch.from_numpy(np.array(store.images[frame.index : frame.index + 1]))
        logits = model.runner.run({model.card.dag.input: given}, [sink])[sink]
        assert frame.answer.class_id == int(logits.argmax())
    right = sum(f.truth == f.answer for f in done.log.frames)
    assert right >= 0.8 * FRAMES


def test_what_is_sent_is_coded_for_real(
    model: LoadedModel, store: FrameStore, answers: NetworkAnswers
) -> None:
    done = run(scenario_of(model), "edge-only+jpeg", store, answers)
    remote = [frame for frame in done.frames if frame.outcome.result.place.name == "EDGE"]
    assert remote
    for frame in remote:
        picture = np.array(store.images[frame.index : frame.index + 1])
        _, data = encode({model.card.dag.input: picture}, "jpeg")
        assert frame.outcome.result.sent_bytes == len(data)
    # Real pictures do not all compress alike; the planner's table has one number for all.
    assert len({frame.outcome.result.sent_bytes for frame in remote}) > 1


def test_codecs_change_what_the_edge_sees(model: LoadedModel, answers: NetworkAnswers) -> None:
    last, image_ = len(model.card.dag.exits), (model.card.dag.input,)
    plain = [answers.over_link(i, last, image_, "f32").answer for i in range(4)]
    assert plain == [answers.on_car(i, last) for i in range(4)]
    coded = [answers.over_link(i, last, image_, "jpeg").answer for i in range(4)]
    assert all(a.top_scores != b.top_scores for a, b in zip(plain, coded, strict=True))


def test_under_heavy_load_a_frame_comes_as_soon_as_one_is_taken(
    model: LoadedModel, store: FrameStore, answers: NetworkAnswers
) -> None:
    done = run(replace(scenario_of(model), rate_hz=None), "device-only", store, answers)
    assert len(done.frames) == FRAMES
    assert done.log.settings["load"] == "heavy"
    assert done.log.ledger["drops"] == 0
    period_s = summarise(done.log)["throughput_hz"]
    assert period_s > 10


def test_gates_look_at_the_frames_themselves(
    model: LoadedModel, store: FrameStore, answers: NetworkAnswers
) -> None:
    done = run(scenario_of(model), "branchynet", store, answers)
    gated = [frame for frame in done.frames if frame.plan.gate is not None]
    assert gated
    for frame in gated:
        assert frame.plan.gate is not None
        score = answers.on_car(frame.index, frame.plan.gate).score
        ended = frame.outcome.result.exit_number == frame.plan.gate
        assert ended == (score >= frame.plan.gate_threshold)


def test_policies_get_identical_input_and_share_answers(
    model: LoadedModel, store: FrameStore
) -> None:
    answers = NetworkAnswers(SplitNetwork(model), store.images)
    scenario = scenario_of(model)
    first = run(scenario, "exact", store, answers)
    computed = answers.computed
    again = run(scenario, "exact", store, answers)
    assert answers.computed == computed
    assert again.log == first.log
    other = run(scenario, "neurosurgeon", store, answers)
    assert other.log.settings["scenario"] == first.log.settings["scenario"]
    assert other.log.settings["policy"] != first.log.settings["policy"]
    truths = [{f.number: f.truth for f in done.log.frames} for done in (first, other)]
    assert truths[0] == truths[1] and len(truths[0]) == FRAMES


def test_a_dead_link_is_survived_and_every_frame_accounted_for(
    model: LoadedModel, store: FrameStore, answers: NetworkAnswers
) -> None:
    scenario = scenario_of(model, "steps:20@0,0@1.5")
    done = run(scenario, "edge-only", store, answers)
    places = {frame.outcome.result.place.name for frame in done.frames}
    assert places >= {"EDGE", "CAR_FALLBACK"}
    ledger = done.log.ledger
    assert ledger["accepted"] == FRAMES == ledger["results"] + ledger["drops"]
    assert len(done.frames) == ledger["results"]
    assert sum(drop.count for drop in done.log.drops) == ledger["drops"]


def test_a_car_that_is_too_slow_drops_what_a_newer_frame_displaces(
    model: LoadedModel, store: FrameStore, answers: NetworkAnswers
) -> None:
    done = run(scenario_of(model, node_s=5e-3), "device-only", store, answers)
    summary = summarise(done.log)
    assert summary["drops"] > 0
    assert summary["balanced"]
    numbers = {frame.number for frame in done.log.frames} | {d.number for d in done.log.drops}
    assert numbers == set(range(1, FRAMES + 1))


def test_frames_that_cannot_be_read_are_dropped_frames(
    model: LoadedModel, store: FrameStore, answers: NetworkAnswers
) -> None:
    with_bad = replace(store, unreadable=["image of encoding '32FC1'"])
    done = run(scenario_of(model), "device-only", with_bad, answers)
    assert done.log.ledger["accepted"] == FRAMES + 1
    assert summarise(done.log)["drop_reasons"]["bad image"] == 1
    assert summarise(done.log)["balanced"]


def test_the_log_survives_being_written(
    model: LoadedModel, store: FrameStore, answers: NetworkAnswers, tmp_path: Path
) -> None:
    done = run(scenario_of(model), "exact", store, answers)
    done.log.save(tmp_path / "exact.json")
    loaded = RunLog.load(tmp_path / "exact.json")
    assert loaded.settings["source"] == "replay"
    assert [f.answer for f in loaded.frames] == [f.answer.class_id for f in done.frames]


@pytest.mark.parametrize("storage", ["mcap", "sqlite3"])
def test_the_result_bag_holds_the_run_on_the_frames_own_stamps(
    model: LoadedModel,
    store: FrameStore,
    answers: NetworkAnswers,
    tmp_path: Path,
    storage: str,
) -> None:
    done = run(scenario_of(model, "steps:6@0,1@0.5"), "exact", store, answers)
    path = tmp_path / "exact"
    write_result_bag(path, storage, done, model.card, store, store.arrivals_s)
    found: dict[str, list] = {}
    with AnyReader([path]) as reader:
        for connection, log_ns, data in reader.messages():
            message = reader.deserialize(data, connection.msgtype)
            found.setdefault(connection.topic, []).append((log_ns, message))
    assert set(found) == {
        "/inference", "/plan", "/link_quality", "/classification", "/vision_info", "/label_info"
    }  # fmt: skip
    best = [message.results[0].class_id for _, message in found["/classification"]]
    assert best == [str(message.class_id) for _, message in found["/inference"]]
    stamps = {frame.stamp_ns: frame for frame in store.frames}
    for (log_ns, result), replayed in zip(found["/inference"], done.frames, strict=True):
        stamp = result.header.stamp
        frame = stamps[stamp.sec * 10**9 + stamp.nanosec]
        assert frame is store.frames[replayed.index]
        assert log_ns == frame.log_ns + round(result.latency_s * 1e9)
        assert result.label == model.card.labels[replayed.answer.class_id]
        assert result.header.frame_id == "camera"
        assert result.place == replayed.outcome.result.place
    plans = [message for _, message in found["/plan"]]
    assert [plan.epoch for plan in plans] == [plan.epoch for plan in done.log.plans]
    assert {plan.model_id for plan in plans} == {model.card.model_id}
    for (log_ns, quality), record in zip(found["/link_quality"], done.log.links, strict=True):
        assert log_ns == pytest.approx(START_NS + record.at_s * 1e9, abs=2)
        assert quality.connected == record.connected


def test_no_result_bag_is_left_where_writing_failed(
    model: LoadedModel, store: FrameStore, answers: NetworkAnswers, tmp_path: Path
) -> None:
    done = run(scenario_of(model), "device-only", store, answers)
    (tmp_path / "file").write_text("")
    with pytest.raises(BagError, match="cannot write a bag"):
        write_result_bag(
            tmp_path / "file" / "bag", "mcap", done, model.card, store, store.arrivals_s
        )


def test_a_bottlenecks_points_are_replayed_with_the_bytes_that_they_really_take(
    tmp_path: Path, store: FrameStore
) -> None:
    boundary = "backbone.stage1.pool"
    folder = model_with_bottlenecks(tmp_path / "roadsigns", {"early": [boundary]}, count=6)
    model = load_runnable(folder)
    network = SplitNetwork(model)
    answers = NetworkAnswers(network, store.images)
    exits = len(model.card.dag.exits)
    sizes = []
    for codec in model.card.bottlenecks[0].file.codecs:
        tensors = model.engine.run({model.card.dag.input: np.array(store.images[:1])}, [boundary])
        specs, data = encode(tensors, codec, network.sets)
        expected = {boundary: (tensors[boundary].shape, "float32")}
        back = decode(specs, data, codec, expected, sets=network.sets)
        (sink,) = model.card.dag.exit_outputs(exits)
        sent = answers.over_link(0, exits, (boundary,), codec)
        assert sent.sent_bytes == len(data)
        assert sent.answer.class_id == model.engine.run(back, [sink])[sink].argmax()
        sizes.append(sent.sent_bytes)
    assert sizes == sorted(sizes)
    car, edge = (
        DeviceProfile(
            model.card.model_id, name, 1, {n.name: s for n in model.card.dag.nodes}, "now"
        )
        for name, s in (("a car", 1e-3), ("an edge", 1e-5))
    )
    problem = problem_of(model.card, car, edge, ["bottlenecks"])
    scenario = Scenario(
        problem=replace(problem, gates=()),
        link=parse_link("0.3mbit"),
        seconds=FRAMES / 10,
        planning=PlanningSettings(deadline_s=0.5),
        labels=model.card.labels,
        notes={"source": "replay"},
    )
    policy = make_policy("exact", scenario.problem)
    done = replay(scenario, "exact", policy, store.arrivals_s, store, answers)
    over = [frame for frame in done.log.frames if frame.sent_bytes]
    assert over
    for frame in over:
        assert frame.codec is not None and frame.codec.startswith("early@")
        wanted = answers.over_link(frame.number - 1, frame.exit_number, (boundary,), frame.codec)
        assert frame.sent_bytes == wanted.sent_bytes
