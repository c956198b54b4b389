"""The candidate table: every plan that can be the best one, and the exact choice among them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from dapdee_ros.exits.exposure import NOT_ATTACKED, Exposures
from dapdee_ros.graph.cuts import MAX_CUTS
from dapdee_ros.graph.dag import ModelDag
from dapdee_ros.planning.candidates import Candidates, CostBasis
from dapdee_ros.planning.codec_cost import AsIs, CodecCost, GateOption
from dapdee_ros.planning.device_profile import DeviceProfile
from dapdee_ros.planning.enumeration import CONTRACT_ABOVE, enumerate_candidates
from dapdee_ros.planning.errors import PlanningError
from dapdee_ros.planning.plan import NO_CODEC, Plan, PlanKey
from dapdee_ros.planning.pricing import plan_of, price_plan
from dapdee_ros.planning.sites import NO_HOP, car_and_edge
from dapdee_ros.planning.situation import Situation
from dapdee_ros.planning.view import View, Weights, judging_weights

# Combinations of hard conditions that are kept laid out.
_MAX_VIEWS = 32
# Where only what a plan does counts, and not what it takes.
_ANY = Situation(car_and_edge(), (NO_HOP,), deadline_s=1.0)


class CandidateTable:
    """All plans that can be best for one model, car and edge server.

    Attributes:
        basis: what the prices are made of, over the model's own DAG.
        model_id: the model.
        candidates: the candidates, from the most accurate down.
        dag: the DAG that the candidates' cuts are cuts of (contracted if there were too many).
        exact_up_to: how many times more than the car the edge server may be slowed down before a
            cut that contraction left out could have the lowest latency: the smallest ratio of car
            to edge seconds over the merged nodes. Infinity where nothing was contracted.
    """

    def __init__(
        self,
        basis: CostBasis,
        model_id: str,
        candidates: Candidates,
        dag: ModelDag,
        exact_up_to: float = math.inf,
    ) -> None:
        """Use ``build`` or ``load``."""
        self.basis = basis
        self.model_id = model_id
        self.candidates = candidates.take(np.argsort(-candidates.quality, kind="stable"))
        self.dag = dag
        self.exact_up_to = exact_up_to
        self._views: dict[tuple[bool, float, bool, float], View] = {}
        self._boundaries: dict[int, tuple[str, ...]] = {}
        self._row_by_key: dict[PlanKey, int] = {}

    def __len__(self) -> int:
        return len(self.candidates)

    @classmethod
    def build(
        cls,
        dag: ModelDag,
        car: DeviceProfile,
        edge: DeviceProfile,
        *,
        exit_quality: Sequence[float],
        codecs: Sequence[CodecCost] = (AsIs(),),
        gates: Sequence[GateOption] = (),
        contract_above: int = CONTRACT_ABOVE,
        limit: int = MAX_CUTS,
        prune: bool = True,
        quality_name: str = "quality",
        exposures: Exposures = NOT_ATTACKED,
    ) -> CandidateTable:
        """Price every legal cut of every exit and keep what can be the best.

        Args:
            dag: the network.
            car: profile of the car.
            edge: profile of the edge server.
            exit_quality: quality of each exit, shallowest first, 0 to 1.
            codecs: how a boundary may be coded.
            gates: calibrated gate settings.
            contract_above: contract the DAG if there are more plans to compare than this.
            limit: cuts of one exit that are too many; contracted first, then refused.
            prune: False keeps dominated candidates (to compare).
            quality_name: what the task calls its quality, for reasons in words.
            exposures: what attacks restored of the image from boundaries.

        Raises:
            ProfileError: if a profile is not of this model.
            TableError: if qualities, gates or codecs do not fit.
            TooManyCuts: if even the contracted DAG has more than ``limit`` for one exit.
        """
        basis = CostBasis.of(dag, car, edge, codecs, exit_quality, gates, quality_name, exposures)
        candidates, cut_dag, exact_up_to = enumerate_candidates(
            basis, contract_above=contract_above, limit=limit, prune=prune
        )
        return cls(basis, car.model_id, candidates, cut_dag, exact_up_to)

    @classmethod
    def alone(cls, basis: CostBasis, model_id: str) -> CandidateTable:
        """The plans with which the car finishes alone, of every exit, with and without a gate."""
        parts = [basis.price(n, basis.part(n)[None]) for n in range(1, len(basis.dag.exits) + 1)]
        return cls(basis, model_id, Candidates.join(parts), basis.dag)

    def decide(self, situation: Situation) -> Plan:
        """The best plan: the most accurate that meets the deadline, at the lowest objective.

        Among the candidates that meet the deadline the highest quality counts, qualities within
        the tolerance of it as equal, and so does any that only a gate can reach: a gate is there to
        save time, so the quality to keep is that of the best candidate without one
        (``View.choose``). Among those the lowest objective, and unless that is the latency itself,
        of those within the tolerance of the lowest the one with the lowest expected latency; of
        periods that the car limits the one with the least work for the car. If none meets the
        deadline, the fastest, marked as late. Over an unusable link only plans that send nothing
        are considered.

        Raises:
            PlanningError: for a risk or quality that makes no sense, and as NoPlanError if the
                hard conditions leave no candidate.

        The bundled model, over a fast link and over none:

        >>> from dapdee_ros.exits.card import find_model, read_card
        >>> from dapdee_ros.planning.from_card import problem_of, sample_profiles
        >>> from dapdee_ros.planning.sites import Hop
        >>> card = read_card(find_model("roadsigns"))
        >>> car, *_, edge = sample_profiles(card.model_id)
        >>> table = problem_of(card, car, edge, ["f32", "u8"]).table
        >>> for uplink_bps in (18.88e6, 0.0):
        ...     hops = (Hop(uplink_bps, rtt_s=0.02),)
        ...     plan = table.decide(Situation(car_and_edge(), hops, deadline_s=0.1))
        ...     print(plan.exit_number, plan.boundary, plan.codec, plan.late)
        5 ('backbone.stage2.neck.2',) u8 False
        5 () none False
        """
        return self.ranked(1, situation)[0]

    def ranked(self, count: int, situation: Situation) -> list[Plan]:
        """The best plans in order: what ``decide`` chooses, what it would choose without that, ...

        Args:
            count: how many at most.
            situation: what they are asked for.

        Raises:
            PlanningError: as ``decide``.
        """
        s = situation
        if len(s.hops) != 1:
            raise PlanningError(f"the table's plans go over one hop, there are {len(s.hops)}")
        link, objective = s.link, s.objective
        energy = s.energy if objective.energy_s_per_j and s.energy.any else None
        view: View | None = self._view(s.gates, s.most_exposure, not link.usable, s.quality_floor)
        weights = Weights.of(s.sites, link)
        judging = judging_weights(weights, link, s.risk)
        worth = s.waiting_worth
        plans: list[Plan] = []
        while view is not None:
            at, late = view.choose(
                weights, judging, s.deadline_s, objective, s.quality_tolerance, s.most_period_s,
                s.window, s.period_tolerance,
                None if energy is None else view.energy_j(weights, energy),
                view.shared(weights, s.tolls, worth),
            )  # fmt: skip
            plans.append(self._plan(view, at, late, s))
            if len(plans) == count:
                break
            view = view.without(at)
        return plans

    def price(
        self,
        exit_number: int,
        boundary: Sequence[str],
        codec: str,
        situation: Situation,
        *,
        gate: int | None = None,
        gate_threshold: float | None = None,
        reason: str = "pinned",
    ) -> Plan:
        """What any plan would cost, candidate or not; see ``pricing.price_plan``."""
        row = self._row_of(exit_number, tuple(boundary), codec, gate, gate_threshold)
        if row is not None:
            # The plan in force is usually a candidate, and it is priced again all the time.
            plan = self.plan_at(row, situation, False, reason)
            return replace(plan, late=True) if plan.is_late(situation.deadline_s) else plan
        return price_plan(
            self.basis, exit_number, boundary, codec, situation,
            gate=gate, gate_threshold=gate_threshold, reason=reason,
        )  # fmt: skip

    def _row_of(
        self,
        exit_number: int,
        boundary: tuple[str, ...],
        codec: str,
        gate: int | None,
        gate_threshold: float | None,
    ) -> int | None:
        """The candidate that is exactly this plan."""
        if not self._row_by_key:
            for row in range(len(self.candidates)):
                self._row_by_key[self.plan_at(row, _ANY).key] = row
        sent_as = codec if boundary else NO_CODEC
        return self._row_by_key.get((exit_number, boundary, sent_as, gate, gate_threshold))

    def plan_at(self, row: int, situation: Situation, late: bool = False, reason: str = "") -> Plan:
        """The candidate in this row as a plan, with the times it takes in a situation."""
        boundary = self._boundaries.get(row)
        if boundary is None:
            sent = np.flatnonzero(self.candidates.boundaries[row])
            boundary = tuple(self.dag.nodes[i].name for i in sent)
            self._boundaries[row] = boundary
        return plan_of(self.basis, self.candidates, row, boundary, situation, late, reason)

    def _view(self, gates: bool, most_exposure: float, alone: bool, floor: float) -> View:
        key = (gates, most_exposure, alone, floor)
        view = self._views.get(key)
        if view is None:
            view = View.of(self.candidates, *key)
            if len(self._views) >= _MAX_VIEWS:
                self._views.clear()
            self._views[key] = view
        return view

    def _plan(self, view: View, at: int, late: bool, asked: Situation) -> Plan:
        deadline_s, most_period_s = asked.deadline_s, asked.most_period_s
        if late:
            keeps_up = (
                "" if most_period_s == np.inf else f" and keeps up, {most_period_s:.3g} s a frame"
            )
            reason = (
                f"nothing meets {deadline_s:.3g} s{keeps_up}: the fastest of "
                f"{len(view.rows)} candidates"
            )
        else:
            words = asked.objective.words
            reason = f"lowest {words} at the best quality that fits {deadline_s:.3g} s"
        if asked.tolls.any:
            reason += ", beside other cars"
        if not asked.link.usable:
            reason = "no link, the car finishes alone: " + reason
        return self.plan_at(view.rows.item(at), asked, late, reason)
