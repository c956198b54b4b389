"""Where a frame's time goes: on each site and hop, by operation, by block of the network."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from dapdee_ros.graph.cuts import head_of
from dapdee_ros.graph.dag import ModelDag
from dapdee_ros.planning.device_profile import DeviceProfile
from dapdee_ros.planning.sites import CAR, EDGE, NO_HOP, Hop

MOST_BLOCKS = 12
_FEWEST_BLOCKS = 4


@dataclass(frozen=True)
class Piece:
    """A share of a frame's time.

    Attributes:
        name: what it is spent on.
        own_s: seconds that are not in ``pieces``.
        pieces: what it consists of.
    """

    name: str
    own_s: float = 0.0
    pieces: tuple[Piece, ...] = ()

    @property
    def seconds(self) -> float:
        """All of it."""
        return self.own_s + sum(piece.seconds for piece in self.pieces)


@dataclass(frozen=True)
class Way:
    """What is sent, and what that takes.

    Attributes:
        boundary: the tensors; empty if the car finishes alone.
        sent_bytes: their coded bytes.
        encode_s: coding them on the car, as the planner prices it.
        decode_s: decoding them on the edge server, likewise.
        hop: the link.
    """

    boundary: tuple[str, ...] = ()
    sent_bytes: float = 0.0
    encode_s: float = 0.0
    decode_s: float = 0.0
    hop: Hop = NO_HOP


def frame_pieces(
    dag: ModelDag,
    exit_number: int,
    way: Way,
    car: DeviceProfile,
    edge: DeviceProfile,
    car_beside: Mapping[str, float],
    edge_beside: Mapping[str, float],
) -> Piece:
    """A frame of a plan without a gate, in the order in which its time is spent.

    Args:
        dag: the network.
        exit_number: the exit that answers.
        way: what is sent.
        car: the car's profile.
        edge: the edge server's.
        car_beside: seconds on the car beside the network: ``image``, ``result``, and of a frame
            that is sent ``message``, ``answer``; what is not known is left out.
        edge_beside: on the edge server: ``message``, ``answer``.

    Raises:
        GraphError: if the boundary is not one of the exit's cuts.
    """
    part, head = dag.exit_part(exit_number), head_of(dag, exit_number, way.boundary)
    boundary = [dag.by_name[name] for name in way.boundary]

    def beside(known: Mapping[str, float], key: str, words: str) -> list[Piece]:
        return [Piece(words, known[key])] if key in known else []

    on_car = beside(car_beside, "image", "convert the image")
    on_car += [_network(dag, head, car)]
    if not way.boundary:
        on_car += beside(car_beside, "result", "publish the result")
        return Piece("frame", pieces=(Piece(CAR, pieces=tuple(on_car)),))
    on_car += [
        Piece("cut the network", car.boundary_s(boundary)),
        Piece("code the boundary", way.encode_s + car_beside.get("code", 0.0)),
        *beside(car_beside, "message", "pack the message"),
    ]
    on_link = [Piece("round trip", way.hop.rtt_s)]
    if way.hop.usable:
        on_link.append(Piece("bytes on the link", 8 * way.sent_bytes / way.hop.rate_bps))
    on_edge = [
        *beside(edge_beside, "message", "unpack the message"),
        Piece("decode the boundary", way.decode_s + edge_beside.get("code", 0.0)),
        Piece("cut the network", edge.boundary_s(boundary)),
        _network(dag, part - head, edge),
        *beside(edge_beside, "answer", "pack the answer"),
    ]
    after = [
        *beside(car_beside, "answer", "unpack the answer"),
        *beside(car_beside, "result", "publish the result"),
    ]
    return Piece(
        "frame",
        pieces=(
            Piece(CAR, pieces=(*on_car, *after)),
            Piece("link", pieces=tuple(on_link)),
            Piece(EDGE, pieces=tuple(on_edge)),
        ),
    )


def _network(dag: ModelDag, names: Iterable[str], profile: DeviceProfile) -> Piece:
    """The nodes that run on a site, by the blocks that their names tell."""
    wanted = frozenset(names)
    # Those that a kernel of another node computes take no time of their own.
    nodes = [n.name for n in dag.nodes if n.name in wanted and profile.node_seconds[n.name] > 0]
    blocks = _blocks(nodes, 1)
    for depth in (2, 3, 4):
        finer = _blocks(nodes, depth)
        # Too few tell nothing; of too many the small ones are put together below.
        if len(finer) > MOST_BLOCKS and len(blocks) >= _FEWEST_BLOCKS:
            break
        blocks = finer
    pieces = [
        Piece(block, pieces=tuple(Piece(name, profile.node_seconds[name]) for name in members))
        for block, members in blocks.items()
    ]
    if len(pieces) > MOST_BLOCKS:
        slowest = sorted(pieces, key=lambda piece: -piece.seconds)[: MOST_BLOCKS - 1]
        others = [piece for piece in pieces if piece not in slowest]
        pieces = [piece for piece in pieces if piece in slowest]
        rest = tuple(small for piece in others for small in piece.pieces)
        pieces.append(Piece(f"{len(others)} others", pieces=rest))
    return Piece("network", pieces=tuple(pieces))


def _blocks(nodes: Iterable[str], depth: int) -> dict[str, list[str]]:
    """Nodes by the first so many words of their names."""
    blocks: dict[str, list[str]] = {}
    for name in nodes:
        blocks.setdefault(".".join(name.split(".")[:depth]), []).append(name)
    return blocks


def rows_of(whole: Piece, depth: int = 3) -> list[tuple[int, str, float, float]]:
    """A table: indentation, name, seconds, and share of the whole, from 0 to 1.

    >>> frame = Piece("frame", pieces=(Piece("car", 0.003), Piece("link", 0.001)))
    >>> rows_of(frame)
    [(0, 'frame', 0.004, 1.0), (1, 'car', 0.003, 0.75), (1, 'link', 0.001, 0.25)]
    """
    total_s = whole.seconds or 1.0
    rows = []

    def add(piece: Piece, level: int) -> None:
        rows.append((level, piece.name, piece.seconds, piece.seconds / total_s))
        if level < depth:
            for inner in piece.pieces:
                add(inner, level + 1)

    add(whole, 0)
    return rows
