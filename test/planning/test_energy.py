"""The car's energy: from profiles and settings into plans, and what the battery's level does."""

from __future__ import annotations

import math

import pytest

from dapdee_ros.core.planning_settings import PlanningSettings
from dapdee_ros.core.settings import SettingError
from dapdee_ros.exits.card import find_model, read_card
from dapdee_ros.planning.cost import FREE, EnergyPrices
from dapdee_ros.planning.device_profile import DeviceProfile
from dapdee_ros.planning.errors import ProfileError
from dapdee_ros.planning.from_card import problem_of, sample_profiles
from dapdee_ros.planning.objective import LATENCY, Objective
from dapdee_ros.planning.policy import Problem
from dapdee_ros.planning.sites import Hop, car_and_edge


@pytest.fixture(scope="module")
def problem() -> Problem:
    card = read_card(find_model("roadsigns"))
    car, *_, edge = sample_profiles(card.model_id)
    return problem_of(card, car, edge, ["f32", "u8", "u4"])


def test_profiles_carry_watts_with_their_source(problem: Problem) -> None:
    energy = problem.car.energy
    assert (energy.compute_w, energy.wait_w, energy.send_j_per_byte) == (6.4, 2.7, 2.27e-6)
    assert "Raspberry Pi 4" in energy.source and "MobiSys" in energy.source
    assert DeviceProfile.from_dict(problem.car.to_dict()).energy == energy
    older = {k: v for k, v in problem.car.to_dict().items() if k != "energy"}
    assert DeviceProfile.from_dict(older).energy == FREE
    for wrong in ({"compute_w": -1.0}, {"volts": 5}, {"wait_w": math.nan}):
        with pytest.raises(ProfileError):
            DeviceProfile.from_dict({**older, "energy": wrong})


def test_settings_come_before_the_profile() -> None:
    profiled = EnergyPrices(5.0, 1e-6, 2.0, "measured")
    assert PlanningSettings().energy(profiled) is profiled
    changed = PlanningSettings(compute_w=8.0).energy(profiled)
    assert (changed.compute_w, changed.wait_w, changed.send_j_per_byte) == (8.0, 2.0, 1e-6)


def test_a_joule_counts_by_its_share_of_what_is_left() -> None:
    full = Objective(1.0, energy_s_per_j=0.1)
    assert full.on_battery(1.0, 1.0) == full
    assert full.on_battery(0.2, 1.0).energy_s_per_j == pytest.approx(0.5)
    assert full.on_battery(0.2, 2.0).energy_s_per_j == pytest.approx(2.5)
    assert full.on_battery(0.2, 0.0) is full
    assert full.on_battery(math.nan, 1.0) is full
    assert LATENCY.on_battery(0.1, 1.0) is LATENCY
    # An empty battery makes it large, not infinite; and one reading is like the next.
    assert full.on_battery(0.0, 1.0).energy_s_per_j == pytest.approx(2.0)
    assert full.on_battery(0.512, 1.0) == full.on_battery(0.538, 1.0)


def test_a_car_that_runs_out_of_battery_spends_less(problem: Problem) -> None:
    settings = PlanningSettings(
        mode="weights", period_weight=0.0, energy_weight=0.02, battery_exponent=1.0
    )
    spent = []
    for level in (1.0, 0.2, 0.05):
        objective = settings.wanted
        assert isinstance(objective, Objective)
        situation = settings.situation(
            car_and_edge(),
            (Hop(0.8e6, rtt_s=0.005),),
            objective.on_battery(level, settings.battery_exponent),
            energy=settings.energy(problem.car.energy),
        )
        plan = problem.table.decide(situation)
        head_s, sent_bytes = plan.head_s, plan.boundary_bytes
        if plan.gate is None:
            prices = problem.car.energy
            assert plan.energy_j == pytest.approx(
                prices.car_j(head_s, sent_bytes, plan.latency_s), rel=1e-9
            )
        spent.append(plan.energy_j)
    assert spent[0] >= spent[1] >= spent[2] > 0


def test_weights_may_be_energy_alone() -> None:
    only = PlanningSettings(
        mode="weights", latency_weight=0.0, period_weight=0.0, energy_weight=1.0
    )
    assert only.wanted == Objective(energy_s_per_j=1.0)
    with pytest.raises(SettingError, match="energy_weight"):
        PlanningSettings(mode="weights", latency_weight=0.0, period_weight=0.0)
