"""Plans that pass the camera's own JPEG on: priced, chosen by every policy that chooses codecs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from dapdee_ros.codecs.camera_file import CAMERA
from dapdee_ros.core.camera_stream import CameraFiles
from dapdee_ros.exits.card import ModelCard, read_card
from dapdee_ros.planning.codec_cost import TensorCost
from dapdee_ros.planning.conditions import HardConditions
from dapdee_ros.planning.device_profile import DeviceProfile
from dapdee_ros.planning.errors import PlanningError
from dapdee_ros.planning.from_card import measures_of, problem_of
from dapdee_ros.planning.overhead import Overhead
from dapdee_ros.planning.pinned import parse_pinned
from dapdee_ros.planning.policy import Problem, Situation, ask, make_policy
from dapdee_ros.planning.sites import Hop, Site

CHOOSING = ("edge-only", "neurosurgeon", "dads", "edgent", "eddi", "dapdee", "exact")
DECODING_S, BESIDE_S = 0.006, 0.001


@pytest.fixture(scope="module")
def card() -> ModelCard:
    return read_card(Path(__file__).resolve().parents[2] / "models" / "roadsigns")


def profiles(card: ModelCard) -> tuple[DeviceProfile, DeviceProfile]:
    """A slow car and an edge server twenty times as fast."""
    car, edge = (
        DeviceProfile(
            card.model_id,
            side,
            1,
            {n.name: s if n.inputs else 0.0 for n in card.dag.nodes},
            "2026-01-01T00:00:00",
            {},
        )
        for side, s in (("car", 0.01), ("edge", 0.0005))
    )
    return car, edge


def problem(card: ModelCard, file_bytes: float | None, load_s: float = DECODING_S) -> Problem:
    car, edge = profiles(card)
    files = None if file_bytes is None else CameraFiles(file_bytes, load_s)
    camera = files.cost(car, edge) if files else None
    return problem_of(card, car, edge, ["f32", "u8", "jpeg", CAMERA], camera)


def situation(rate_bps: float, load_s: float = DECODING_S, **changes: object) -> Situation:
    """As it is once results have been seen: every frame costs the car its decoding."""
    sites = (Site("car", 1.0, Overhead(BESIDE_S + load_s, 0.0005)), Site("edge", 1.0))
    asked = Situation(sites, (Hop(rate_bps, 0.005),), 2.0, "latency")
    return replace(asked, **changes)  # type: ignore[arg-type]


# With the second one the car would need longer for decoding than the edge server for everything.
@pytest.mark.parametrize(("mode", "load_s"), [("latency", DECODING_S), ("throughput", 0.3)])
@pytest.mark.parametrize("policy", CHOOSING)
def test_every_policy_that_chooses_codecs_takes_small_files(
    card: ModelCard, policy: str, mode: str, load_s: float
) -> None:
    small = problem(card, 3000.0, load_s)
    asked = situation(2e7, load_s, mode=mode)
    # Published policies know of decoding only with +overheads.
    plan = ask(make_policy(f"{policy}+any+overheads", small), asked, small)
    assert (plan.boundary, plan.codec) == (("image",), CAMERA)
    (crossing,) = plan.crossings
    assert crossing.sent_bytes == 3000
    car, edge = plan.stages
    assert car.seconds == pytest.approx(BESIDE_S + 0.0005)
    assert edge.seconds > load_s * 0.0005 / 0.01


@pytest.mark.parametrize("policy", CHOOSING)
def test_large_files_are_left_alone(card: ModelCard, policy: str) -> None:
    large = problem(card, 2e6)
    plan = ask(make_policy(f"{policy}+any+overheads", large), situation(2e7), large)
    assert plan.codec != CAMERA


def test_where_cuts_are_too_many_to_list_minimum_cuts_find_it(card: ModelCard) -> None:
    small = replace(problem(card, 3000.0), most_cuts=3)
    assert not small.is_listed
    for policy in ("dads", "exact", "neurosurgeon"):
        plan = ask(make_policy(f"{policy}+any+overheads", small), situation(2e7), small)
        assert plan.codec == CAMERA, policy


def test_the_raw_image_stays_on_the_car_if_it_has_to(card: ModelCard) -> None:
    small = problem(card, 3000.0)
    asked = situation(2e7, keep_raw_on_car=True)
    assert ask(make_policy("exact", small), asked, small).codec != CAMERA
    with pytest.raises(ValueError, match="from which the image could be computed"):
        asked.conditions.check(small, (5, ("image",), CAMERA, None, None), "a plan")


def test_nothing_is_lost_by_it_and_it_is_no_candidate_where_no_files_come(card: ModelCard) -> None:
    assert CAMERA not in [codec.name for codec in problem(card, None).codecs]
    pinned = parse_pinned(f"exit=5 boundary=image codec={CAMERA}")
    assert pinned is not None
    HardConditions(quality_floor=0.5).check(measures_of(card), pinned.key, "the pinned plan")
    small = problem(card, 3000.0)
    plan = situation(2e7).price(small, 5, ["image"], CAMERA, "pinned")
    assert plan.quality == small.exit_quality[4]


def test_what_it_spares_never_makes_a_stage_shorter_than_nothing(card: ModelCard) -> None:
    """Before results have said what a frame costs beside the network."""
    small = problem(card, 3000.0)
    sites = (Site("car"), Site("edge"))
    plan = ask(make_policy("exact", small), replace(situation(2e7), sites=sites), small)
    assert plan.codec == CAMERA
    assert plan.stages[0].seconds == 0


def test_the_edge_decodes_by_as_much_faster_as_it_computes(card: ModelCard) -> None:
    assert CameraFiles(9e4, 0.02).cost(*profiles(card)) == TensorCost(9e4, -0.02, 0.02 / 20)


def test_without_files_it_is_said_what_is_missing(card: ModelCard) -> None:
    none = problem(card, None)
    with pytest.raises(PlanningError, match=r"no JPEGs come.*image_raw/compressed"):
        situation(2e7).price(none, 5, ["image"], CAMERA, "pinned")
    with pytest.raises(PlanningError, match=r"no JPEGs come.*image_raw/compressed"):
        make_policy("edge-only+camera", none)
