"""Where a network can be cut, in a few lines."""

from __future__ import annotations

from dapdee_ros.graph.cuts import MAX_CUTS, Cut, TooManyCuts, contract, cuts
from dapdee_ros.graph.dag import ModelDag


def cut_summary(dag: ModelDag) -> list[str]:
    """Per exit its outputs, the number of legal cuts, and the smallest boundary in bytes."""
    image_bytes = dag.nodes[0].output_bytes
    lines = []
    for number, outputs in enumerate(dag.exits, start=1):
        found, count = _cuts(dag, number)
        shown = ", ".join(f"{name} {dag.by_name[name].shape}" for name in outputs)
        lines.append(f"exit {number}     {shown}: {count}")
        inner = [cut for cut in found if cut.boundary and dag.input not in cut.boundary]
        if inner:
            smallest = min(inner, key=lambda cut: _bytes(dag, cut))
            size = _bytes(dag, smallest)
            lines.append(
                f"           smallest boundary {size:,} bytes as it is, "
                f"{size / image_bytes:.2g} of the image's {image_bytes:,} "
                f"({', '.join(smallest.boundary)})"
            )
    return lines


def _cuts(dag: ModelDag, exit_number: int) -> tuple[list[Cut], str]:
    try:
        found = cuts(dag, exit_number)
        return found, f"{len(found)} legal cuts"
    except TooManyCuts:
        found_too_many = f"more than {MAX_CUTS:,} legal cuts"
    try:
        found = cuts(contract(dag).dag, exit_number)
    except TooManyCuts:
        return [], f"{found_too_many}, too many to list: planned with minimum cuts"
    return found, f"{found_too_many}, {len(found)} of them to choose from"


def _bytes(dag: ModelDag, cut: Cut) -> int:
    return sum(dag.by_name[name].output_bytes for name in cut.boundary)
