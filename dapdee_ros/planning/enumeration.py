"""All plans of a model that can be the best for some situation."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import suppress

import numpy as np

from dapdee_ros.graph.cuts import MAX_CUTS, TooManyCuts, contract, head_masks
from dapdee_ros.graph.dag import ModelDag
from dapdee_ros.planning.candidates import BYTES, EDGE, Bools, Candidates, CostBasis, Ints

# From this many plans to compare on (cuts, times codecs, times gates) the DAG is contracted first:
# a scan of as many takes milliseconds, and pruning them seconds. None of the usual networks has as
# many with one codec.
CONTRACT_ABOVE = 50_000


def enumerate_candidates(
    basis: CostBasis,
    *,
    contract_above: int = CONTRACT_ABOVE,
    limit: int = MAX_CUTS,
    prune: bool = True,
) -> tuple[Candidates, ModelDag, float]:
    """Price every legal cut of every exit and keep what can be the best.

    Args:
        basis: what the prices are made of.
        contract_above: contract the DAG if there are more plans to compare than this.
        limit: cuts of one exit that are too many; contracted first, then refused.
        prune: False keeps dominated candidates.

    Returns:
        The candidates, the DAG that their cuts are cuts of, and ``CandidateTable.exact_up_to``.

    Raises:
        TooManyCuts: if even the contracted DAG has more than ``limit`` for one exit.
    """
    dag = basis.dag
    numbers = range(1, len(dag.exits) + 1)
    gated = [1 + sum(o.exit_number == n for o in basis.gates) for n in numbers]
    coded = [{n.name for n in dag.nodes if c.tensor(n) is not None} for c in basis.codecs]
    # Codecs that were measured on single tensors have about as many plans as tensors.
    some = [names for names in coded if len(names) < len(dag.nodes)]
    priced_on, exact_up_to = basis, math.inf
    masks = []
    with suppress(TooManyCuts):
        masks = [head_masks(dag, n, limit=limit) for n in numbers]
    plans = sum(
        (len(of_exit) * (len(coded) - len(some)) + sum(map(len, some))) * ways
        for of_exit, ways in zip(masks, gated, strict=False)
    )
    if not masks or plans > contract_above:
        contraction = contract(dag, basis.exposures.tensors.union(*some))
        priced_on = basis.contracted(contraction)
        masks = [head_masks(contraction.dag, n, limit=limit) for n in numbers]
        merged = np.array([node.name not in contraction.members for node in dag.nodes])
        merged &= basis.edge_s > 0
        ratios = basis.car_s[merged] / basis.edge_s[merged]
        exact_up_to = float(ratios.min(initial=math.inf))
    parts = []
    for number, of_exit in zip(numbers, masks, strict=True):
        part = priced_on.price(number, _unpack(of_exit, len(priced_on.dag.nodes)))
        # Once for each exit first: the comparison below then has fewer rows to look at.
        parts.append(part.take(undominated(part)) if prune else part)
    candidates = Candidates.join(parts)
    if prune:
        candidates = candidates.take(undominated(candidates))
    return candidates, priced_on.dag, exact_up_to


def every_cut(basis: CostBasis, exit_number: int, *, limit: int = MAX_CUTS) -> Candidates:
    """All legal cuts of one exit, priced with every codec and gate, in the order of the cuts.

    Raises:
        TooManyCuts: if there are more than ``limit``.
    """
    masks = head_masks(basis.dag, exit_number, limit=limit)
    return basis.price(exit_number, _unpack(masks, len(basis.dag.nodes)))


def undominated(candidates: Candidates) -> Ints:
    """Indices of the candidates that no other one dominates, in their order.

    Latency and period rise with each of car seconds, bytes, edge seconds and the share that is
    sent, whatever the slowdowns, the rate and the round trip. So a candidate that is no better than
    another in any of them (neither for a frame that goes on nor in the mean) and no more accurate
    can never be the only best one. The other one must also be allowed wherever this one is: it
    sends nothing, gives away no more of the image and does without a gate if this one does.
    """
    worst, expected = candidates.worst, candidates.expected
    columns = np.array(
        [
            *worst,
            *expected,
            -candidates.quality,
            candidates.exposure,
            (candidates.gates >= 0).astype(np.float64),
        ]
    )
    # In lexicographic order whatever dominates a candidate comes before it.
    order = np.lexsort(columns[::-1])
    kept = np.empty(len(order), np.intp)
    kept_columns = np.empty_like(columns)
    count = 0
    for row in order:
        column = columns[:, row]
        # On most pairs car and edge seconds disagree: looking at these first settles them.
        rivals = np.flatnonzero(kept_columns[EDGE, :count] <= column[EDGE])
        rivals = rivals[kept_columns[BYTES, rivals] <= column[BYTES]]
        if len(rivals) and (kept_columns[:, rivals] <= column[:, None]).all(axis=0).any():
            continue
        kept[count] = row
        kept_columns[:, count] = column
        count += 1
    return np.sort(kept[:count])


def _unpack(masks: Sequence[int], nodes: int) -> Bools:
    width = (nodes + 7) // 8
    packed = np.frombuffer(b"".join(m.to_bytes(width, "little") for m in masks), np.uint8)
    bits = np.unpackbits(packed.reshape(len(masks), width), axis=1, bitorder="little")
    return bits[:, :nodes].astype(bool)
