"""Where exits can go: nodes that every path passes, spread by FLOPs. No torch in here."""

from __future__ import annotations

from dapdee_ros.graph.dag import GraphError, ModelDag


def bottlenecks(dag: ModelDag) -> tuple[str, ...]:
    """Nodes that every path from the input to the deepest exit passes, in topological order.

    A node is one if, with everything up to it on one side, it alone is read by the other side.
    The input and the exit itself are left out.
    """
    part = dag.exit_part(len(dag.exits))
    nodes = [node.name for node in dag.nodes if node.name in part]
    last_reader = {
        name: max((i for i, n in enumerate(nodes) if n in dag.readers[name]), default=-1)
        for name in nodes
    }
    passed = []
    reach = 0
    for place, name in enumerate(nodes):
        # Every earlier tensor has been read for the last time when this node has run.
        if reach <= place:
            passed.append(name)
        reach = max(reach, last_reader[name])
    return tuple(name for name in passed if name not in (dag.input, *dag.exits[-1]))


def place_taps(dag: ModelDag, count: int) -> tuple[str, ...]:
    """Choose ``count`` nodes for exits before the deepest one, spread by FLOPs.

    Exit ``k`` of ``count`` wants ``k / (count + 1)`` of the backbone's FLOPs before it. Among the
    nodes with about as many (within a fiftieth of the whole), the one with the smallest tensor is
    taken, the latest of equals: that is behind the activation and the pooling.

    Args:
        dag: the backbone, one exit.
        count: exits wanted before the deepest, at least 1.

    Raises:
        GraphError: if the network has too few nodes that every path passes.
    """
    if count < 1:
        raise GraphError(f"at least one exit before the deepest must be asked for, got {count}")
    candidates = [n for n in bottlenecks(dag) if len(dag.by_name[n].shape) == 4]
    order = {node.name: place for place, node in enumerate(dag.nodes)}
    before: dict[str, int] = {}
    spent = 0
    for node in dag.nodes:
        spent += node.flops
        before[node.name] = spent
    total = max(max(before[name] for name in dag.exits[-1]), 1)
    taps: list[str] = []
    for k in range(1, count + 1):
        target = total * k / (count + 1)
        behind = order[taps[-1]] if taps else 0
        # A convolution between two exits: otherwise the later one would know nothing more.
        rest = [
            n
            for n in candidates
            if order[n] > behind
            and 0 < before[n] < total
            and (not taps or _more(before, taps, n, total))
        ]
        if not rest:
            raise GraphError(
                f"{count} exits before the deepest asked for, but only {len(taps)} fit: every path "
                f"passes {len(candidates)} maps; ask for fewer or name the taps"
            )
        nearest = min(abs(before[n] - target) for n in rest)
        near = [n for n in rest if abs(before[n] - target) <= nearest + total / 50]
        taps.append(min(near, key=lambda n: (dag.by_name[n].output_bytes, -order[n])))
    return tuple(taps)


def _more(before: dict[str, int], taps: list[str], name: str, total: int) -> bool:
    return before[name] - before[taps[-1]] > total / 50
