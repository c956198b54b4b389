"""What a testbed takes beside the network is found again from its runs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from dapdee_ros.exits.card import find_model, read_card
from dapdee_ros.planning.device_profile import DeviceProfile
from dapdee_ros.report.run_log import RunLog
from dapdee_ros.simulation.run import simulate
from dapdee_ros.testbed.settings import TestbedSettings
from dapdee_ros.testbed.twin import (
    Overheads,
    overheads_alone,
    scenario_of,
    twin_figures,
    with_sending,
)

CARD = read_card(find_model("roadsigns"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Profiles that follow the FLOPs: a car of 0.12 s, an edge of 6 ms."""
    total = sum(node.flops for node in CARD.dag.nodes)
    for side, seconds in (("car", 0.12), ("edge", 0.006)):
        node_seconds = {n.name: seconds * n.flops / total for n in CARD.dag.nodes}
        (tmp_path / side).mkdir()
        profile = DeviceProfile(CARD.model_id, side, 1, node_seconds, "2026-11-20T00:00:00")
        profile.save(tmp_path / side / "profile.json")
    return tmp_path


def _settings(load: str, rate_hz: float) -> TestbedSettings:
    return TestbedSettings(
        link="wifi", load=load, codecs="f32", rate_hz=rate_hz, seconds=15.0, gates=False
    )


def _run(settings: TestbedSettings, folder: Path, true: Overheads) -> RunLog:
    log = simulate(scenario_of(CARD, settings, folder, true), settings.asked_policy).log
    log.settings["load"] = settings.load
    # As on the testbed: what came before the window is not in the log.
    log.frames = [f for f in log.frames if f.at_s - f.latency_s > 3.0]
    return log


@pytest.mark.parametrize(("load", "rates_hz"), [("light", (3.0, 3.0)), ("heavy", (12.0, 80.0))])
def test_overheads_are_found_again(folder: Path, load: str, rates_hz: tuple[float, float]) -> None:
    true = Overheads(slowdown=1.4, car_s=0.008, send_s=0.02, rtt_s=0.004)
    alone = replace(_settings(load, rates_hz[0]), policy="device-only")
    sending = replace(_settings(load, rates_hz[1]), policy="edge-only")
    found = overheads_alone(_run(alone, folder, true), CARD, folder)
    # Whether it was computing or something beside it, all of the car's time is in there.
    assert found.slowdown * 0.12 + found.car_s == pytest.approx(1.4 * 0.12 + 0.008, rel=0.02)
    assert found.send_s == 0
    found = replace(found, car_s=true.car_s, slowdown=true.slowdown)
    found = with_sending(found, _run(sending, folder, true), CARD, sending, folder)
    assert found.send_s == pytest.approx(true.send_s, rel=0.1)
    # And so the twin of another run comes out as that run.
    other = replace(_settings(load, rates_hz[0]), policy="edgent", link="4g")
    wanted = twin_figures(scenario_of(CARD, other, folder, true), other)
    got = twin_figures(scenario_of(CARD, other, folder, found), other)
    assert got.median_latency_s == pytest.approx(wanted.median_latency_s, rel=0.05)
    assert got.throughput_hz == pytest.approx(wanted.throughput_hz, rel=0.05)


def test_where_the_edge_server_is_busier_the_run_tells_of_that(folder: Path) -> None:
    true = Overheads(car_s=0.0005, send_s=0.0005, edge_s=0.001, rtt_s=0.004)
    sending = replace(_settings("heavy", 400.0), policy="edge-only")
    known = replace(true, edge_s=0.0)
    found = with_sending(known, _run(sending, folder, true), CARD, sending, folder)
    # The simulator counts what the edge does beside the tail to the tail, the real one does not.
    assert found.edge_slowdown * 0.006 + found.edge_s == pytest.approx(0.007, rel=0.03)
    assert found.send_s == true.car_s
