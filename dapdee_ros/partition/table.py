"""The candidate table: every plan that can be the best one, and the exact choice among them."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from dapdee_ros.graph.cuts import MAX_CUTS, TooManyCuts, contract, head_masks
from dapdee_ros.graph.dag import GraphError, ModelDag
from dapdee_ros.partition.candidates import (
    BYTES,
    CAR,
    EDGE,
    SENDS,
    Bools,
    Candidates,
    CostBasis,
    Floats,
    Ints,
    undominated,
)
from dapdee_ros.partition.codec_cost import AsIs, CodecCost, GateOption
from dapdee_ros.partition.cost import (
    LinkState,
    LoadState,
    check_deadline,
    resolve_mode,
    split_cost,
)
from dapdee_ros.partition.device_profile import DeviceProfile
from dapdee_ros.partition.errors import NoPlanError, TableError
from dapdee_ros.partition.plan import NO_CODEC, Plan

# From this many cuts of one exit on, the DAG is contracted first.
CONTRACT_ABOVE = 2_000
# Accuracies closer than this are the same number, computed in two ways.
_ROUNDING = 1e-9
# Periods within this factor are the same period, summed in another order.
_SAME = 1 + 1e-12


@dataclass(frozen=True)
class _View:
    """The candidates that some hard conditions leave, from the most accurate down."""

    rows: Ints
    worst: Floats
    expected: Floats | None  # None where no gate makes it differ from worst
    starts: Ints  # where each level of equal accuracy begins
    bounds: tuple[int, ...]  # the same, and the end
    falling: tuple[float, ...]  # minus each level's accuracy, so that it rises


class CandidateTable:
    """All plans that can be best for one model, car and edge server.

    Attributes:
        basis: what the prices are made of, over the model's own DAG.
        model_id: the model.
        candidates: the candidates, from the most accurate down.
        dag: the DAG that the candidates' cuts are cuts of (contracted if there were too many).
        exact_up_to: how many times slower than profiled, against the car, the edge server may be
            before a cut that contraction left out could be the best: the smallest ratio of car to
            edge seconds over the merged nodes. Infinity where nothing was contracted.
    """

    def __init__(
        self,
        basis: CostBasis,
        model_id: str,
        candidates: Candidates,
        dag: ModelDag,
        exact_up_to: float,
    ) -> None:
        """Use ``build`` or ``load``."""
        self.basis = basis
        self.model_id = model_id
        order = np.argsort(-candidates.accuracy, kind="stable")
        self.candidates = candidates.take(order)
        self.dag = dag
        self.exact_up_to = exact_up_to
        self._names = [node.name for node in dag.nodes]
        self._views: dict[tuple[bool, bool, bool, float], _View] = {}
        self._boundary_names: dict[int, tuple[str, ...]] = {}

    def __len__(self) -> int:
        return len(self.candidates)

    @classmethod
    def build(
        cls,
        dag: ModelDag,
        car: DeviceProfile,
        edge: DeviceProfile,
        *,
        exit_accuracy: Sequence[float],
        codecs: Sequence[CodecCost] = (AsIs(),),
        gates: Sequence[GateOption] = (),
        contract_above: int = CONTRACT_ABOVE,
        limit: int = MAX_CUTS,
        prune: bool = True,
    ) -> CandidateTable:
        """Price every legal cut of every exit and keep what can be the best.

        Args:
            dag: the network.
            car: profile of the car.
            edge: profile of the edge server.
            exit_accuracy: accuracy of each exit, shallowest first, 0 to 1.
            codecs: how a boundary may be coded.
            gates: calibrated gate settings.
            contract_above: contract the DAG if an exit has more cuts than this.
            limit: cuts of one exit of the contracted DAG that are too many.
            prune: False keeps dominated candidates (to compare).

        Raises:
            ProfileError: if a profile is not of this model.
            TableError: if accuracies, gates or codecs do not fit.
            TooManyCuts: if even the contracted DAG has more than ``limit`` for one exit.
        """
        basis = CostBasis.of(dag, car, edge, codecs, exit_accuracy, gates)
        numbers = range(1, len(dag.exits) + 1)
        exact_up_to = np.inf
        priced_on = basis
        try:
            masks = [head_masks(dag, n, limit=min(limit, contract_above)) for n in numbers]
        except TooManyCuts:
            contraction = contract(dag)
            priced_on = basis.contracted(contraction)
            masks = [head_masks(contraction.dag, n, limit=limit) for n in numbers]
            merged = np.array([node.name not in contraction.members for node in dag.nodes])
            with np.errstate(divide="ignore", invalid="ignore"):
                ratios = basis.car_s[merged] / basis.edge_s[merged]
            exact_up_to = float(np.nanmin(ratios, initial=np.inf))
        parts = []
        for number, of_exit in zip(numbers, masks, strict=True):
            part = priced_on.price(number, _unpack(of_exit, len(priced_on.dag.nodes)))
            parts.append(part.take(undominated(part)) if prune else part)
        candidates = Candidates.join(parts)
        if prune:
            candidates = candidates.take(undominated(candidates))
        return cls(basis, car.model_id, candidates, priced_on.dag, exact_up_to)

    def decide(
        self,
        link: LinkState,
        load: LoadState,
        deadline_s: float,
        mode: str = "auto",
        *,
        priority: bool = False,
        accuracy_floor: float = 0.0,
        accuracy_tolerance: float = 0.0,
        keep_raw_on_car: bool = False,
        gates: bool = True,
        risk: float = 0.5,
    ) -> Plan:
        """The best plan: the most accurate that meets the deadline, at the lowest objective.

        Among the candidates that meet the deadline the highest accuracy counts, accuracies within
        the tolerance of it as equal; among those the lowest expected latency (mode ``latency``) or
        period (``throughput``, equal periods by latency). If none meets the deadline, the fastest,
        marked as late. Over an unusable link only plans that send nothing are considered.

        Args:
            link: the link as estimated.
            load: slowdowns of both sides and the load score.
            deadline_s: seconds from image to result.
            mode: ``latency``, ``throughput`` or ``auto`` (by load score and priority).
            priority: a priority task is planned for latency whatever the load.
            accuracy_floor: plans below this accuracy are not considered, 0 to 1.
            accuracy_tolerance: accuracy that may be given up for a lower objective, 0 to 1.
            keep_raw_on_car: never send the input itself.
            gates: whether plans with a gate are considered.
            risk: judge the deadline at the rate that the link falls below with this probability;
                0.5 is the estimate itself.

        Raises:
            PlanningError: for a deadline, mode, risk or accuracy that makes no sense, and as
                NoPlanError if the hard conditions leave no candidate.
        """
        check_deadline(deadline_s)
        mode = resolve_mode(mode, load, priority)
        view = self._view(gates, keep_raw_on_car, not link.usable, accuracy_floor)
        weights = _weights(link, load)
        judged = view.worst
        if link.usable and risk != 0.5:
            careful = weights.copy()
            careful[BYTES] = 8 / link.pessimistic_bps(risk)
            latency_s = careful @ judged
        else:
            latency_s = weights @ judged

        in_time = np.minimum.reduceat(latency_s, view.starts) <= deadline_s
        level = int(in_time.argmax())
        if not in_time[level]:
            at = int(latency_s.argmin())
            row = int(view.rows[at])
            reason = f"nothing meets {deadline_s:.3g} s: the fastest of {len(view.rows)} candidates"
            return self._plan(row, link, load, mode, True, reason)

        # Levels above this one hold nothing in time, so the slice starts here.
        first = view.bounds[level]
        bound = view.falling[level] + _check_ratio("accuracy_tolerance", accuracy_tolerance)
        last = view.bounds[bisect_right(view.falling, bound + _ROUNDING)]
        latency_s = latency_s[first:last]
        means = (view.worst if view.expected is None else view.expected)[:, first:last]
        if mode == "latency":
            if view.expected is None and risk == 0.5:
                at = int(latency_s.argmin())
            else:
                at = int(np.where(latency_s <= deadline_s, weights @ means, np.inf).argmin())
        else:
            period_s = (means[:SENDS] * weights[:SENDS, None]).max(axis=0)
            period_s[latency_s > deadline_s] = np.inf
            best = np.flatnonzero(period_s <= period_s.min() * _SAME)
            at = int(best[0])
            if len(best) > 1:
                at = int(best[(weights @ means[:, best]).argmin()])
        what = "latency" if mode == "latency" else "period"
        reason = f"lowest {what} at the best accuracy that fits {deadline_s:.3g} s"
        if not link.usable:
            reason = f"no link, the car finishes alone: {reason}"
        return self._plan(int(view.rows[first + at]), link, load, mode, False, reason)

    def price(
        self,
        exit_number: int,
        boundary: Sequence[str],
        codec: str,
        link: LinkState,
        load: LoadState,
        deadline_s: float,
        mode: str = "auto",
        *,
        gate: int | None = None,
        gate_threshold: float | None = None,
        reason: str = "pinned",
    ) -> Plan:
        """What an arbitrary plan would cost, whether or not it is a candidate.

        Args:
            exit_number: the exit.
            boundary: names of the tensors that are sent; empty if the car finishes alone.
            codec: name of one of the table's codecs; ignored where nothing is sent.
            link: the link.
            load: slowdowns of both sides.
            deadline_s: seconds from image to result.
            mode: as in ``decide``.
            gate: an exit that may end the frame on the car.
            gate_threshold: one of its calibrated thresholds.
            reason: goes into the plan.

        Raises:
            GraphError: if there is no such exit or the boundary is not one of its cuts.
            PlanningError: if codec or gate are unknown, or a value makes no sense.
        """
        check_deadline(deadline_s)
        mode = resolve_mode(mode, load)
        dag = self.basis.dag
        head = check_boundary(dag, exit_number, boundary)
        mask = np.array([[node.name in head for node in dag.nodes]])
        priced = self.basis.price(exit_number, mask)
        names = [c.name for c in self.basis.codecs]
        if boundary and codec not in names:
            raise TableError(f"codec {codec!r} is unknown; there are {', '.join(names)}")
        wanted_codec = names.index(codec) if boundary else -1
        for at in range(len(priced)):
            option = self.basis.gates[priced.gates[at]] if priced.gates[at] >= 0 else None
            if priced.codecs[at] == wanted_codec and (
                option is None
                if gate is None
                else option is not None
                and option.gate == gate
                and gate_threshold in (None, option.threshold)
            ):
                plan = self._plan_of(priced, at, tuple(boundary), link, load, mode, False, reason)
                return replace(plan, late=not plan.latency_s <= deadline_s)
        raise TableError(
            f"no price for exit {exit_number}, codec {codec!r}, gate {gate} at {gate_threshold}: "
            "the codec was not measured at this boundary, or the gate is not calibrated or not "
            "inside this head"
        )

    def save(self, path: str | Path) -> None:
        """Write the table as JSON, with the model id and all that its prices are made of."""
        from dapdee_ros.partition.table_file import save_table

        save_table(self, path)

    @classmethod
    def load(cls, path: str | Path, model_id: str | None = None) -> CandidateTable:
        """Read a table that ``save`` wrote.

        Raises:
            TableError: if it cannot be read, is torn, or belongs to another model than asked for.
        """
        from dapdee_ros.partition.table_file import load_table

        return load_table(path, model_id)

    def _view(self, gates: bool, keep_raw: bool, alone: bool, floor: float) -> _View:
        key = (gates, keep_raw, alone, floor)
        view = self._views.get(key)
        if view is None:
            view = self._make_view(*key)
            if len(self._views) >= 32:
                self._views.clear()
            self._views[key] = view
        return view

    def _make_view(self, gates: bool, keep_raw: bool, alone: bool, floor: float) -> _View:
        c = self.candidates
        keep = c.accuracy >= _check_ratio("accuracy_floor", floor) - _ROUNDING
        if not gates:
            keep &= c.gates < 0
        if keep_raw:
            keep &= ~c.boundaries[:, 0]
        if alone:
            keep &= c.worst[SENDS] == 0
        rows = np.flatnonzero(keep)
        if not len(rows):
            best = c.accuracy[c.worst[SENDS] == 0] if alone else c.accuracy
            raise NoPlanError(
                f"no plan has an accuracy of {floor:.3g} or more: the best here reaches "
                f"{best.max():.3g}; lower accuracy_floor"
            )
        accuracy = c.accuracy[rows]
        new_level = np.flatnonzero(np.diff(accuracy, prepend=np.inf) < 0)
        gated = bool((c.gates[rows] >= 0).any())
        return _View(
            rows=rows,
            worst=np.ascontiguousarray(c.worst[:, rows]),
            expected=np.ascontiguousarray(c.expected[:, rows]) if gated else None,
            starts=new_level,
            bounds=(*new_level.tolist(), len(rows)),
            falling=tuple((-accuracy[new_level]).tolist()),
        )

    def _plan(
        self, row: int, link: LinkState, load: LoadState, mode: str, late: bool, reason: str
    ) -> Plan:
        boundary = self._boundary_names.get(row)
        if boundary is None:
            sent = np.flatnonzero(self.candidates.boundaries[row])
            boundary = self._boundary_names[row] = tuple(self._names[i] for i in sent)
        return self._plan_of(self.candidates, row, boundary, link, load, mode, late, reason)

    def _plan_of(
        self,
        c: Candidates,
        row: int,
        boundary: tuple[str, ...],
        link: LinkState,
        load: LoadState,
        mode: str,
        late: bool,
        reason: str,
    ) -> Plan:
        codec, gate = c.codecs.item(row), c.gates.item(row)
        sent_bytes = c.worst.item(BYTES, row)
        cost = split_cost(
            c.worst.item(CAR, row), sent_bytes, c.worst.item(EDGE, row), codec >= 0, link, load
        )
        option = self.basis.gates[gate] if gate >= 0 else None
        expected_s, period_s = cost.latency_s, cost.period_s
        if option is not None:
            mean = c.expected[:, row]
            times = split_cost(mean[CAR], mean[BYTES], mean[EDGE], codec >= 0, link, load)
            # Frames that the gate ends do not wait for the round trip either.
            unsent_rtt_s = link.rtt_s * option.share if codec >= 0 else 0.0
            expected_s, period_s = float(times.latency_s - unsent_rtt_s), float(times.period_s)
        return Plan(
            c.exits.item(row),
            boundary,
            self.basis.codecs[codec].name if codec >= 0 else NO_CODEC,
            option.gate if option else None,
            option.threshold if option else None,
            option.share if option else 0.0,
            mode,
            cost.head_s,
            cost.transfer_s,
            cost.edge_s,
            cost.latency_s,
            expected_s,
            period_s,
            sent_bytes,
            c.accuracy.item(row),
            late,
            reason,
        )


def check_boundary(dag: ModelDag, exit_number: int, boundary: Sequence[str]) -> frozenset[str]:
    """The head that belongs to a boundary: all its tensors depend on, or the exit's whole part.

    Raises:
        GraphError: if the names are not exactly the boundary of a legal cut of this exit.
    """
    part = dag.ancestors([dag.exit_sink(exit_number)])
    if not boundary:
        return part
    head = dag.ancestors(boundary)
    if not head <= part:
        raise GraphError(
            f"{sorted(set(boundary) - part)} are not in the part that exit {exit_number} needs"
        )
    expected = dag.boundary(head, exit_number)
    if set(expected) != set(boundary):
        raise GraphError(
            f"{list(boundary)} is not a boundary of exit {exit_number}: a head that computes these "
            f"has to send {list(expected)}"
        )
    return head


def _weights(link: LinkState, load: LoadState) -> Floats:
    if not link.usable:
        return np.array([load.car_slowdown, 0.0, 0.0, 0.0])
    return np.array([load.car_slowdown, 8 / link.uplink_bps, load.edge_slowdown, link.rtt_s])


def _check_ratio(name: str, value: float) -> float:
    if not 0 <= value <= 1:
        raise TableError(f"{name} is {value}; expected 0 to 1")
    return value


def _unpack(masks: Sequence[int], nodes: int) -> Bools:
    width = (nodes + 7) // 8
    packed = np.frombuffer(b"".join(m.to_bytes(width, "little") for m in masks), np.uint8)
    bits = np.unpackbits(packed.reshape(len(masks), width), axis=1, bitorder="little")
    return bits[:, :nodes].astype(bool)
