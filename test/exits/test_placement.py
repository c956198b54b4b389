import pytest

from dapdee_ros.exits.placement import bottlenecks, place_taps
from dapdee_ros.graph.dag import GraphError, ModelDag, Node


def _dag(*nodes: tuple[str, tuple[str, ...], int, int]) -> ModelDag:
    """Nodes as (name, inputs, bytes, flops); the last is the exit."""
    return ModelDag(
        tuple(
            Node(name, "op", inputs, (1, size // 4, 1, 1), "float32", size, flops)
            for name, inputs, size, flops in nodes
        ),
        ((nodes[-1][0],),),
    )


def _residual() -> ModelDag:
    return _dag(
        ("in", (), 16, 0),
        ("stem", ("in",), 64, 100),
        ("left", ("stem",), 64, 100),
        ("sum", ("stem", "left"), 64, 1),
        ("wide", ("sum",), 128, 100),
        ("pool", ("wide",), 32, 1),
        ("last", ("pool",), 64, 100),
        ("out", ("last",), 8, 1),
    )


def test_a_way_around_hides_the_nodes_beside_it() -> None:
    assert bottlenecks(_residual()) == ("stem", "sum", "wide", "pool", "last")


def test_taps_stand_behind_the_pooling_and_spread_by_flops() -> None:
    # Half of the 403 operations are done after sum (201); wide would be 301, pool 302.
    assert place_taps(_residual(), 1) == ("sum",)
    assert place_taps(_residual(), 3) == ("stem", "sum", "pool")


def test_taps_rise_and_have_work_between_them() -> None:
    dag = _residual()
    order = [node.name for node in dag.nodes]
    taps = place_taps(dag, 4)
    assert [order.index(t) for t in taps] == sorted({order.index(t) for t in taps})
    assert not {"wide", "pool"} <= set(taps)


def test_too_many_exits_are_refused() -> None:
    with pytest.raises(GraphError, match="only 4 fit"):
        place_taps(_residual(), 5)
    with pytest.raises(GraphError, match="at least one"):
        place_taps(_residual(), 0)
