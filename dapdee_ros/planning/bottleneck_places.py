"""Boundaries where a bottleneck would win, from what plans cost. No torch in here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from dapdee_ros.planning.codec_cost import MeasuredCodec, TensorCost
from dapdee_ros.planning.objective import LATENCY
from dapdee_ros.planning.policy import Problem, Situation, make_policy
from dapdee_ros.planning.sites import Hop

RATES_BPS = (0.3e6, 1e6, 3e6, 6e6, 12e6, 25e6, 50e6)
CAR_SLOWDOWNS = (1.0, 2.0, 5.0, 10.0, 20.0)

ENCODER_SHARE = 0.1
"""Of the head's seconds: what an encoder may take."""

_DECODER_SHARE = 0.2
"""Of the whole network's seconds on the edge server, about what decoders take."""

_CODEC = "bottleneck"

_DEADLINE_S = 30.0
"""So far off that quality decides first: the full network's answer, as soon as can be."""

_QUALITY_TOLERANCE = 0.005


@dataclass(frozen=True)
class Place:
    """A boundary that a bottleneck may be trained for.

    Attributes:
        boundary: the tensor.
        exits: the exits that follow from it.
        head_share: profiled car seconds of its head over those of the whole network.
        wins: share of the situations, 0 to 1, in which the best plan would use it.
        gain: mean over all situations of the share of the latency that it would save.
        gained: the share saved in each situation, in the order of ``situations``.
    """

    boundary: str
    exits: tuple[int, ...]
    head_share: float
    wins: float
    gain: float
    gained: tuple[float, ...]


def situations(problem: Problem, rtt_s: float) -> list[Situation]:
    """Light load over a range of rates and of slowdowns of the car."""
    return [
        Situation(
            problem.sites(slowdown),
            (Hop(rate, rtt_s),),
            _DEADLINE_S,
            LATENCY,
            quality_tolerance=_QUALITY_TOLERANCE,
        )
        for slowdown in CAR_SLOWDOWNS
        for rate in RATES_BPS
    ]


def ranked_places(
    problem: Problem,
    candidates: Mapping[str, Sequence[int]],
    sent_bytes: float,
    rtt_s: float = 0.02,
) -> list[Place]:
    """Boundaries, the one whose bottleneck saves most of the latency first.

    Each is given a codec as a bottleneck would be one: so many bytes, an encoder of a tenth of the
    head's time, a decoder, nothing lost. The best plan with it is compared with the best plan with
    the codecs that there are.

    Args:
        problem: model, devices, and the codecs that there are.
        candidates: boundaries of one tensor, with the exits that follow from each.
        sent_bytes: what a bottleneck would send.
        rtt_s: round trip of the link.
    """
    asked = situations(problem, rtt_s)
    policy = make_policy("exact", problem)
    before = [policy.plan(situation).expected_latency_s for situation in asked]
    places = []
    for name, exits in candidates.items():
        head = problem.dag.ancestors((name,))
        head_s = sum(problem.car.node_seconds[node] for node in head)
        cost = TensorCost(sent_bytes, ENCODER_SHARE * head_s, _DECODER_SHARE * problem.edge.total_s)
        codec = MeasuredCodec(_CODEC, {name: cost}, {(number, (name,)): 0.0 for number in exits})
        with_it = replace(problem, codecs=(*problem.codecs, codec))
        exact = make_policy("exact", with_it)
        plans = [exact.plan(situation) for situation in asked]
        used = [plan.codec == _CODEC for plan in plans]
        gained = tuple(
            1 - plan.expected_latency_s / was if uses and was > 0 else 0.0
            for plan, uses, was in zip(plans, used, before, strict=True)
        )
        places.append(
            Place(
                name,
                tuple(exits),
                head_s / problem.car.total_s,
                sum(used) / len(used),
                sum(gained) / len(gained),
                gained,
            )
        )
    return sorted(places, key=lambda place: -place.gain)


def proposed(places: Sequence[Place], most: int) -> list[Place]:
    """Those that together save most: each one where the others before it save less.

    Args:
        places: as ``ranked_places`` gives them.
        most: how many at most.
    """
    chosen: list[Place] = []
    saved = [0.0] * (len(places[0].gained) if places else 0)
    while len(chosen) < most:
        gains = {
            place.boundary: sum(
                max(0.0, new - old) for new, old in zip(place.gained, saved, strict=True)
            )
            for place in places
            if place not in chosen
        }
        best = max(gains, key=lambda name: gains[name], default=None)
        # A second one that saves hardly more than the first is not worth its training.
        if best is None or gains[best] <= 0.005 * len(saved):
            break
        place = next(p for p in places if p.boundary == best)
        chosen.append(place)
        saved = [max(pair) for pair in zip(saved, place.gained, strict=True)]
    return chosen
