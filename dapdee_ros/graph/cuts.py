"""Legal cuts of an exit: which parts of the network the car may run.

A cut is a set of nodes that contains the input, is a subset of the part that the exit depends on,
and contains every predecessor of its members: a down-set of that part's partial order.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from dapdee_ros.graph.dag import GraphError, ModelDag, Node

# More cuts than any common network has, few enough to store and to scan.
MAX_CUTS = 20_000


class TooManyCuts(GraphError):
    """The legal cuts of an exit are too many to list; minimum-cut policies still work."""


@dataclass(frozen=True)
class Cut:
    """One way to split an exit's part between car and edge.

    Attributes:
        exit_number: the exit, 1 is the shallowest.
        nodes: the head: what runs on the car, the input included.
        boundary: tensors of the head that the tail reads or decodes, in topological order; empty
            if the car finishes alone.
    """

    exit_number: int
    nodes: frozenset[str]
    boundary: tuple[str, ...]


def cuts(dag: ModelDag, exit_number: int, *, limit: int = MAX_CUTS) -> list[Cut]:
    """All legal cuts of an exit, from edge-only (first) to device-only (last).

    Args:
        dag: the network.
        exit_number: the exit, 1 is the shallowest.
        limit: how many cuts to list at most.

    Raises:
        TooManyCuts: if there are more than ``limit``.
        GraphError: if there is no such exit.

    A network with one skip connection:

    >>> image = Node("image", "input", (), (1, 8, 8, 3), "uint8", 192, 0)
    >>> conv = Node("conv", "conv2d", ("image",), (1, 8, 8, 8), "float32", 2048, 1000)
    >>> relu = Node("relu", "relu", ("conv",), (1, 8, 8, 8), "float32", 2048, 512)
    >>> add = Node("add", "add", ("conv", "relu"), (1, 8, 8, 8), "float32", 2048, 512)
    >>> for cut in cuts(ModelDag((image, conv, relu, add), (("add",),)), 1):
    ...     print(len(cut.nodes), cut.boundary)
    1 ('image',)
    2 ('conv',)
    3 ('conv', 'relu')
    4 ()
    """
    names = [node.name for node in dag.nodes]
    found = []
    for mask in head_masks(dag, exit_number, limit=limit):
        head = frozenset(names[i] for i in _bits(mask))
        found.append(Cut(exit_number, head, dag.boundary(head, exit_number)))
    return found


def head_masks(dag: ModelDag, exit_number: int, *, limit: int = MAX_CUTS) -> list[int]:
    """All legal cuts of an exit as bit masks over ``dag.nodes`` (bit i: node i is in the head).

    Every down-set appears once: the nodes are decided in topological order, and leaving one out
    leaves out all that depends on it, so that the decisions form a binary tree whose leaves are
    exactly the down-sets. The work is proportional to their number, and the first one above
    ``limit`` stops it.

    Returns:
        The masks ordered by number of nodes, so that {input} comes first and the exit's whole part
        comes last.

    Raises:
        TooManyCuts: if there are more than ``limit``.
        GraphError: if there is no such exit.
    """
    index = {node.name: i for i, node in enumerate(dag.nodes)}
    needed = dag.exit_part(exit_number)
    dependents = [1 << i for i in range(len(dag.nodes))]
    for node in reversed(dag.nodes):
        if node.name in needed:
            for name in node.inputs:
                dependents[index[name]] |= dependents[index[node.name]]

    undecided_at_first = sum(1 << index[name] for name in needed) & ~1
    masks: list[int] = []
    stack = [(1, undecided_at_first)]
    while stack:
        head, undecided = stack.pop()
        if not undecided:
            masks.append(head)
            if len(masks) > limit:
                raise TooManyCuts(
                    f"exit {exit_number} has more than {limit} legal cuts: plan it with a "
                    "minimum-cut policy (dads, eddi, dapdee), or trace larger leaf modules"
                )
            continue
        lowest = undecided & -undecided
        stack.append((head, undecided & ~dependents[lowest.bit_length() - 1]))
        stack.append((head | lowest, undecided ^ lowest))
    masks.sort(key=int.bit_count)
    return masks


def head_of(dag: ModelDag, exit_number: int, boundary: Sequence[str]) -> frozenset[str]:
    """The head of a boundary: all that its tensors depend on, or the exit's whole part if empty.

    No other head has this boundary: every node of a head is on a path to one of the exit's outputs,
    and that path leaves the head at a boundary tensor, or ends at an output, which is one.

    Raises:
        GraphError: if the names are not exactly the boundary of a legal cut of this exit.
    """
    part = dag.exit_part(exit_number)
    if not boundary:
        return part
    head = dag.ancestors(boundary)
    if not head <= part:
        raise GraphError(
            f"{sorted(set(boundary) - part)} are not in the part that exit {exit_number} needs"
        )
    sent = dag.boundary(head, exit_number)
    if set(sent) != set(boundary):
        raise GraphError(
            f"{list(boundary)} is not a boundary of exit {exit_number}: a head that computes these "
            f"has to send {list(sent)}"
        )
    return head


@dataclass(frozen=True)
class Contraction:
    """A DAG with fewer nodes and the nodes that each of them represents.

    Attributes:
        dag: the contracted DAG; a block has the name, shape and bytes of its last node, so that
            boundary names remain names of real tensors.
        members: for each of its nodes the original nodes it stands for, in topological order.
    """

    dag: ModelDag
    members: Mapping[str, tuple[str, ...]]


def contract(dag: ModelDag, keep: Iterable[str] = ()) -> Contraction:
    """Merge each node that does not shrink its data into its only reader.

    Why no optimal cut is lost: let v be such a node, y its only reader, and S a cut with v in the
    head and y behind it. Then v is a boundary tensor, and S without v is also a legal cut (only y
    reads v, and y is not in S). It sends at most as much, since v is no longer sent and the tensors
    that v reads, sent instead, are together no larger than v. And it moves v's work to the edge
    server. So wherever the edge server runs v no slower than the car does at that moment, S is not
    better than S without v in latency, in bytes and in car seconds, and the cuts with v and y on
    the same side suffice. Repeating the argument from the end of the network to its start covers
    whole runs of such nodes.

    Where the condition does not hold, what is lost is bounded: the seconds of the merged nodes
    themselves. The same bound holds for the period, which a cut between v and y could balance
    better although it is worse in car seconds and bytes.

    Examples are activations, normalisation, dropout, reshaping, concatenation and the float
    conversion of a uint8 input. The input and the exits' outputs are never merged.

    Where forms of the input may not be sent (``ModelDag.image_forms``), S without v must not send
    one that S did not: a node that reads such a form without being one is not merged. A node that
    is one is never sent then, so merging it loses nothing.

    All this is about tensors that are sent as they are. Where a codec was measured on some tensors
    only, a smaller one may be none of them, so those have to be kept.

    Args:
        dag: the network.
        keep: nodes that are not to be merged into their reader.
    """
    forms = dag.image_forms
    first_allowed = {
        n.name for n in dag.nodes if n.name not in forms and not forms.isdisjoint(n.inputs)
    }
    protected = {dag.input, *dag.outputs, *first_allowed, *keep}
    block_of: dict[str, str] = {}
    # From the end, so that a chain of nodes ends up in one block.
    for node in reversed(dag.nodes):
        readers = dag.readers[node.name]
        reads_bytes = sum(dag.by_name[name].output_bytes for name in node.inputs)
        if node.name not in protected and len(readers) == 1 and node.output_bytes >= reads_bytes:
            block_of[node.name] = block_of[readers[0]]
        else:
            block_of[node.name] = node.name

    members: dict[str, list[str]] = {name: [] for name in block_of.values()}
    for node in dag.nodes:
        members[block_of[node.name]].append(node.name)
    blocks = []
    for node in dag.nodes:
        if block_of[node.name] != node.name:
            continue
        inside = [dag.by_name[name] for name in members[node.name]]
        reads = {name for n in inside for name in n.inputs if block_of[name] != node.name}
        blocks.append(
            Node(
                name=node.name,
                op=node.op,
                inputs=tuple(n.name for n in dag.nodes if n.name in reads),
                shape=node.shape,
                dtype=node.dtype,
                output_bytes=node.output_bytes,
                flops=sum(n.flops for n in inside),
            )
        )
    return Contraction(
        ModelDag(tuple(blocks), dag.exits),
        {name: tuple(of) for name, of in members.items() if of},
    )


def _bits(mask: int) -> Iterator[int]:
    while mask:
        lowest = mask & -mask
        yield lowest.bit_length() - 1
        mask ^= lowest
