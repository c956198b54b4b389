"""Prices many splits at once, with every codec and gate."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from dapdee_ros.exits.exposure import NOT_ATTACKED, THE_IMAGE, UNMEASURED, Exposures
from dapdee_ros.graph.cuts import Contraction
from dapdee_ros.graph.dag import ModelDag
from dapdee_ros.planning.codec_cost import (
    CodecCost,
    GateOption,
    quality_after,
    unknown_codec,
)
from dapdee_ros.planning.device_profile import DeviceProfile
from dapdee_ros.planning.errors import TableError

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Ints = NDArray[np.intp]

# Rows of a cost matrix: profiled car seconds, bytes, profiled edge seconds, and how often a frame
# is sent. Times (car_slowdown, 8 / uplink_bps, edge_slowdown, rtt_s) that is the latency.
CAR, BYTES, EDGE, SENDS = range(4)


@dataclass(frozen=True)
class Candidates:
    """Splits with their costs, one per column.

    Attributes:
        exits: exit numbers, ``(n,)``.
        heads: what runs on the car, ``(n, nodes)``.
        boundaries: what is sent, ``(n, nodes)``.
        codecs: index of the codec, -1 if nothing is sent, ``(n,)``.
        gates: index of the gate option, -1 for none, ``(n,)``.
        worst: ``(4, n)``, a frame that no gate ends: s, bytes, s, 0 or 1.
        expected: ``(4, n)``, the mean over the frames with the gate's calibrated share.
        quality: ``(n,)``, 0 to 1.
        exposure: how well the image can be restored from what is sent (``Exposures.of``), ``(n,)``.
    """

    exits: Ints
    heads: Bools
    boundaries: Bools
    codecs: Ints
    gates: Ints
    worst: Floats
    expected: Floats
    quality: Floats
    exposure: Floats

    def __len__(self) -> int:
        return len(self.exits)

    def take(self, rows: Ints | Bools) -> Candidates:
        """The given candidates, in the given order."""
        return Candidates(
            **{
                f.name: getattr(self, f.name)[..., rows]
                if f.name in ("worst", "expected")
                else getattr(self, f.name)[rows]
                for f in fields(self)
            }
        )

    @staticmethod
    def join(parts: Sequence[Candidates]) -> Candidates:
        """All candidates of several lists."""
        return Candidates(
            **{
                f.name: np.concatenate(
                    [getattr(p, f.name) for p in parts],
                    axis=1 if f.name in ("worst", "expected") else 0,
                )
                for f in fields(Candidates)
            }
        )


@dataclass(frozen=True)
class CostBasis:
    """Everything that the price of a split is made of, as vectors over the DAG's nodes.

    Attributes:
        dag: the network.
        car_s: profiled seconds on the car, ``(nodes,)``.
        edge_s: profiled seconds on the edge server, ``(nodes,)``.
        codecs: the codecs that may code a boundary.
        exit_quality: quality of each exit, shallowest first.
        gates: calibrated gate settings.
        quality_name: the task's name for its quality, for messages.
        car_cut_s: profiled seconds on the car for cutting behind a node, ``(nodes,)``.
        edge_cut_s: the same on the edge server.
        exposures: what attacks restored of the image from boundaries.
    """

    dag: ModelDag
    car_s: Floats
    edge_s: Floats
    codecs: tuple[CodecCost, ...]
    exit_quality: tuple[float, ...]
    gates: tuple[GateOption, ...]
    quality_name: str
    car_cut_s: Floats
    edge_cut_s: Floats
    exposures: Exposures = NOT_ATTACKED

    @classmethod
    def of(
        cls,
        dag: ModelDag,
        car: DeviceProfile,
        edge: DeviceProfile,
        codecs: Sequence[CodecCost],
        exit_quality: Sequence[float],
        gates: Sequence[GateOption] = (),
        quality_name: str = "quality",
        exposures: Exposures = NOT_ATTACKED,
    ) -> CostBasis:
        """Check the parts for consistency and convert them to vectors.

        Raises:
            ProfileError: if a profile is of another model.
            TableError: if qualities or gates do not fit the model, or a codec's name is taken.
        """
        names = [node.name for node in dag.nodes]
        edge.check_fits(names, car.model_id)
        car.check_fits(names)
        exits = len(dag.exits)
        if len(exit_quality) != exits or not all(0 <= a <= 1 for a in exit_quality):
            raise TableError(
                f"exit qualities are {list(exit_quality)}; expected {exits} numbers of 0 to 1"
            )
        if len({codec.name for codec in codecs}) != len(codecs):
            raise TableError(f"two codecs share a name: {[codec.name for codec in codecs]}")
        for option in gates:
            if not 1 <= option.gate < option.exit_number <= exits:
                raise TableError(f"{option} does not stand before a later exit of {exits}")
            if not (0 <= option.share <= 1 and 0 <= option.quality <= 1):
                raise TableError(f"{option}: share and quality must be 0 to 1")
        return cls(
            dag,
            np.array([car.node_seconds[name] for name in names], np.float64),
            np.array([edge.node_seconds[name] for name in names], np.float64),
            tuple(codecs),
            tuple(exit_quality),
            tuple(gates),
            quality_name,
            np.array([car.boundary_s([node]) for node in dag.nodes]),
            np.array([edge.boundary_s([node]) for node in dag.nodes]),
            exposures,
        )

    def contracted(self, contraction: Contraction) -> CostBasis:
        """The same over the contracted DAG: a block's cost is the sum of its members'."""
        index = self._index()
        blocks = [
            [index[name] for name in contraction.members[node.name]]
            for node in contraction.dag.nodes
        ]
        called = [index[node.name] for node in contraction.dag.nodes]
        return CostBasis(
            contraction.dag,
            np.array([self.car_s[block].sum() for block in blocks]),
            np.array([self.edge_s[block].sum() for block in blocks]),
            self.codecs,
            self.exit_quality,
            self.gates,
            self.quality_name,
            # A block puts out what the node puts out that it is called after.
            self.car_cut_s[called],
            self.edge_cut_s[called],
            self.exposures,
        )

    def _index(self) -> Mapping[str, int]:
        return {node.name: i for i, node in enumerate(self.dag.nodes)}

    def codec(self, name: str) -> CodecCost:
        """The codec of that name.

        Raises:
            TableError: if there is none.
        """
        for codec in self.codecs:
            if codec.name == name:
                return codec
        raise TableError(unknown_codec(name, [codec.name for codec in self.codecs]))

    def part(self, exit_number: int) -> Bools:
        """G_n: which nodes the exit depends on, ``(nodes,)``."""
        needed = self.dag.exit_part(exit_number)
        return np.array([node.name in needed for node in self.dag.nodes])

    def price(self, exit_number: int, heads: Bools) -> Candidates:
        """All codecs and gates for the given cuts of one exit.

        Args:
            exit_number: the exit.
            heads: legal cuts, ``(cuts, nodes)``.
        """
        part = self.part(exit_number)
        boundaries = self._boundaries(exit_number, heads, part)
        car_s = heads.astype(np.float64) @ self.car_s
        edge_s = (part & ~heads).astype(np.float64) @ self.edge_s
        sends = boundaries.any(axis=1)
        quality = self.exit_quality[exit_number - 1]

        alone = np.flatnonzero(~sends)
        zero = np.zeros(len(alone))
        parts = self._with_gates(
            exit_number, heads[alone], boundaries[alone], -1, car_s[alone], zero, zero, zero,
            quality, zero,
        )  # fmt: skip
        names = [node.name for node in self.dag.nodes]
        for number, codec in enumerate(self.codecs):
            costs = [codec.tensor(node) for node in self.dag.nodes]
            codes = np.array([cost is not None for cost in costs])
            table = np.array([cost or (0.0, 0.0, 0.0) for cost in costs], np.float64)
            table[:, 1] += self.car_cut_s
            table[:, 2] += self.edge_cut_s
            rows = np.flatnonzero(sends & ~boundaries[:, ~codes].any(axis=1))
            losses = [
                codec.quality_loss(exit_number, tuple(names[i] for i in np.flatnonzero(b)))
                for b in boundaries[rows]
            ]
            known = np.array([loss is not None for loss in losses], bool)
            rows = rows[known]
            loss = np.array([value for value in losses if value is not None], np.float64)
            coded, encode_s, decode_s = (boundaries[rows].astype(np.float64) @ table).T
            parts += self._with_gates(
                exit_number, heads[rows], boundaries[rows], number, car_s[rows], encode_s,
                coded, edge_s[rows] + decode_s, quality, loss,
            )  # fmt: skip
        return Candidates.join(parts)

    def _boundaries(self, exit_number: int, heads: Bools, part: Bools) -> Bools:
        index = self._index()
        read_behind = np.zeros_like(heads)
        for node, needed in zip(self.dag.nodes, part, strict=True):
            if needed and node.inputs:
                behind = ~heads[:, index[node.name]]
                read_behind[:, [index[name] for name in node.inputs]] |= behind[:, None]
        # What the head computes of the answer is sent too, unless that is all of it.
        outputs = [index[name] for name in self.dag.exit_outputs(exit_number)]
        whole = np.asarray((heads | ~part).all(axis=1))
        read_behind[:, outputs] |= ~whole[:, None]
        return heads & read_behind

    def _with_gates(
        self,
        exit_number: int,
        heads: Bools,
        boundaries: Bools,
        codec: int,
        car_s: Floats,
        encode_s: Floats,
        coded_bytes: Floats,
        edge_s: Floats,
        quality: float,
        loss: Floats,
    ) -> list[Candidates]:
        """One codec's candidates without a gate, and with each gate whose trunk is in the head."""
        count = len(heads)
        sends = np.full(count, float(codec >= 0))
        exposure = exposures_of(
            self.exposures, self.dag, boundaries, self.codecs[codec].name if codec >= 0 else ""
        )
        worst = np.array([car_s + encode_s, coded_bytes, edge_s, sends])

        def candidates(gate: int, rows: Ints, worst: Floats, mean: Floats, acc: Floats) -> None:
            found.append(
                Candidates(
                    np.full(len(rows), exit_number),
                    heads[rows],
                    boundaries[rows],
                    np.full(len(rows), codec),
                    np.full(len(rows), gate),
                    worst,
                    mean,
                    acc,
                    exposure[rows],
                )
            )

        found: list[Candidates] = []
        candidates(-1, np.arange(count), worst, worst, quality_after(quality, loss))
        for number, option in enumerate(self.gates):
            if option.exit_number != exit_number:
                continue
            of_gate = self.part(option.gate)
            trunk = of_gate & self.part(exit_number)
            rows = np.flatnonzero(heads[:, trunk].all(axis=1))
            going_on = 1 - option.share
            gate_s = float(self.car_s[of_gate].sum())
            rest_s = car_s[rows] - float(self.car_s[trunk].sum()) + encode_s[rows]
            gated = worst[:, rows].copy()
            gated[CAR] = gate_s + rest_s
            mean = gated * going_on
            # The car works for every frame up to the gate, and beyond it for those that go on.
            mean[CAR] = gate_s + going_on * rest_s
            candidates(
                number,
                rows,
                gated,
                mean,
                quality_after(option.quality, loss[rows], going_on),
            )
        return found


def exposures_of(exposures: Exposures, dag: ModelDag, boundaries: Bools, codec: str) -> Floats:
    """``Exposures.of`` of boundaries in rows, ``(n,)``.

    Args:
        exposures: what attacks restored.
        dag: whose nodes the columns are.
        boundaries: what is sent, ``(n, nodes)``.
        codec: of all rows; ignored where nothing is sent.
    """
    if exposures.attacks:
        names = [node.name for node in dag.nodes]
        sent = [tuple(names[i] for i in np.flatnonzero(row)) for row in boundaries]
        known = {boundary: exposures.of(dag, boundary, codec) for boundary in set(sent)}
        return np.array([known[boundary] for boundary in sent], np.float64)
    forms = np.array([node.name in dag.image_forms for node in dag.nodes])
    exposed = np.where(boundaries @ forms, THE_IMAGE, UNMEASURED)
    return np.where(boundaries.any(axis=1), exposed, 0.0)
