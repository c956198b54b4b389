"""Where a frame's time goes adds up to what its plan is priced with."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from dapdee_ros.exits.card import find_model, read_card
from dapdee_ros.graph.cuts import cuts
from dapdee_ros.planning.breakdown import MOST_BLOCKS, Piece, Way, frame_pieces, rows_of
from dapdee_ros.planning.flame import draw_frame
from dapdee_ros.planning.from_card import problem_of, sample_profiles
from dapdee_ros.planning.overhead import Overhead
from dapdee_ros.planning.sites import Hop
from dapdee_ros.planning.situation import Situation

CARD = read_card(find_model("roadsigns"))
CAR, *_, EDGE = sample_profiles(CARD.model_id)
EXITS = len(CARD.dag.exits)
HOP = Hop(5e6, 0.02)
ON_CAR = {"image": 0.004, "result": 0.001, "message": 0.0025, "answer": 0.0003}
ON_EDGE = {"message": 0.0009, "answer": 0.0001}


@pytest.mark.parametrize("codec", ["f32", "u8"])
def test_the_pieces_of_a_frame_add_up_to_its_latency(codec: str) -> None:
    car = replace(CAR, overhead=Overhead(0.005, 0.0028), cut_s=0.001, cut_s_per_byte=1e-8)
    edge = replace(EDGE, overhead=Overhead(0.001))
    problem = problem_of(CARD, car, edge, [codec])
    situation = Situation(problem.sites(), (HOP,), 1.0)
    for cut in [c for c in cuts(CARD.dag, EXITS) if len(c.boundary) == 1][::7]:
        cost = problem.basis.codec(codec).tensor(CARD.dag.by_name[cut.boundary[0]])
        if cost is None:
            continue
        plan = situation.price(problem, EXITS, cut.boundary, codec, "")
        way = Way(cut.boundary, *cost, HOP)
        whole = frame_pieces(CARD.dag, EXITS, way, car, edge, ON_CAR, ON_EDGE)
        assert whole.seconds == pytest.approx(plan.latency_s)
        on_car, link, on_edge = whole.pieces
        assert on_car.seconds == pytest.approx(plan.head_s)
        assert link.seconds == pytest.approx(plan.transfer_s)
        assert on_edge.seconds == pytest.approx(plan.edge_s)


def test_a_frame_that_stays_on_the_car_has_no_other_site() -> None:
    whole = frame_pieces(CARD.dag, EXITS, Way(), CAR, EDGE, ON_CAR, ON_EDGE)
    assert [piece.name for piece in whole.pieces] == ["car"]
    rows = rows_of(whole)
    names = [name for _, name, _, _ in rows]
    assert names[:4] == ["frame", "car", "convert the image", "network"]
    assert "code the boundary" not in names
    (network,) = (p for p in whole.pieces[0].pieces if p.name == "network")
    assert 2 <= len(network.pieces) <= MOST_BLOCKS
    assert network.seconds == pytest.approx(
        sum(CAR.node_seconds[name] for name in CARD.dag.exit_part(EXITS))
    )
    shares = [share for level, _, _, share in rows if level == 1]
    assert sum(shares) == pytest.approx(1)


def test_it_is_drawn_with_its_sites_told_apart_without_colour(tmp_path: Path) -> None:
    boundary = (next(c for c in cuts(CARD.dag, EXITS) if len(c.boundary) == 1).boundary[0],)
    whole = frame_pieces(CARD.dag, EXITS, Way(boundary, 3e4, 0, 0, HOP), CAR, EDGE, {}, {})
    files = draw_frame(whole, "a frame", tmp_path / "frame")
    assert [path.suffix for path in files] == [".png", ".svg"]
    drawn = files[1].read_text()
    assert drawn.count("<pattern") >= 2  # link and edge are hatched, each in its way
    draw_frame(Piece("frame"), "nothing takes any time", tmp_path / "nothing")
