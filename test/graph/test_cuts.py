from __future__ import annotations

import itertools
import random
import time

import pytest

from dapdee_ros.graph.cuts import TooManyCuts, contract, cuts, head_of
from dapdee_ros.graph.dag import GraphError, ModelDag, Node


def network(reads: dict[str, str], exits: str, sizes: dict[str, int] | None = None) -> ModelDag:
    """A DAG from ``{"conv": "image", "add": "conv skip", ...}``."""
    nodes = (
        Node(name, "op", tuple(inputs.split()), (1,), "float32", (sizes or {}).get(name, 4), 1)
        for name, inputs in reads.items()
    )
    return ModelDag(tuple(nodes), tuple(tuple(outputs.split("+")) for outputs in exits.split()))


def random_network(rng: random.Random) -> ModelDag:
    count = rng.randint(2, 11)
    reads = {"n0": ""}
    for i in range(1, count):
        inputs = sorted(rng.sample(range(i), min(i, rng.choice((1, 1, 2, 3)))))
        reads[f"n{i}"] = " ".join(f"n{j}" for j in inputs)
    sizes = {name: rng.randint(1, 9) for name in reads}
    exits = sorted({rng.randrange(1, count), count - 1})
    # Half of the exits have a second output.
    more = random.Random(sum(sizes.values()))
    outputs = [(f"n{i}+n{more.randrange(1, i)}", f"n{i}") for i in exits if i > 1]
    chosen = [more.choice(of) for of in outputs] or ["n1"]
    return network(reads, " ".join(chosen), sizes)


def test_chain_has_one_cut_a_node_from_edge_only_to_device_only() -> None:
    dag = network({"image": "", "a": "image", "b": "a", "exit": "b"}, "exit")
    assert [cut.boundary for cut in cuts(dag, 1)] == [("image",), ("a",), ("b",), ()]


def test_a_tensor_with_several_readers_is_in_the_boundary_once() -> None:
    dag = network({"image": "", "a": "image", "b": "a", "c": "a", "exit": "b c"}, "exit")
    assert {cut.boundary for cut in cuts(dag, 1)} == {
        ("image",), ("a",), ("a", "b"), ("a", "c"), ("b", "c"), ()
    }  # fmt: skip


def test_only_the_part_that_the_exit_needs_is_cut() -> None:
    dag = network({"image": "", "a": "image", "early": "a", "b": "a", "late": "b"}, "early late")
    assert [sorted(cut.nodes) for cut in cuts(dag, 1)] == [
        ["image"],
        ["a", "image"],
        ["a", "early", "image"],
    ]
    assert all("early" not in cut.nodes for cut in cuts(dag, 2))


def test_outputs_that_the_head_computes_are_sent_unless_they_are_all() -> None:
    dag = network(
        {"image": "", "stem": "image", "boxes": "stem", "more": "stem", "scores": "more"},
        "boxes boxes+scores",
    )
    assert [(sorted(cut.nodes), cut.boundary) for cut in cuts(dag, 2)] == [
        (["image"], ("image",)),
        (["image", "stem"], ("stem",)),
        (["boxes", "image", "stem"], ("stem", "boxes")),
        (["image", "more", "stem"], ("stem", "more")),
        (["boxes", "image", "more", "stem"], ("boxes", "more")),
        (["image", "more", "scores", "stem"], ("stem", "scores")),
        (["boxes", "image", "more", "scores", "stem"], ()),
    ]
    with pytest.raises(GraphError, match="not a boundary"):
        head_of(dag, 2, ["boxes", "scores"])


def test_cuts_are_exactly_the_closed_sets() -> None:
    rng = random.Random(11)
    for _ in range(200):
        dag = random_network(rng)
        for number in range(1, len(dag.exits) + 1):
            part = dag.exit_part(number) - {dag.input}
            closed = {
                frozenset({dag.input, *chosen})
                for size in range(len(part) + 1)
                for chosen in itertools.combinations(sorted(part), size)
                if all(set(dag.by_name[n].inputs) <= {dag.input, *chosen} for n in chosen)
            }
            found = cuts(dag, number)
            assert {cut.nodes for cut in found} == closed
            assert len(found) == len(closed)
            for cut in found:
                assert cut.boundary == dag.boundary(cut.nodes, number)
                assert head_of(dag, number, cut.boundary) == cut.nodes


def test_too_many_cuts_are_refused_at_once() -> None:
    wide = {"image": ""} | {f"b{i}": "image" for i in range(300)}
    dag = network({**wide, "exit": " ".join(f"b{i}" for i in range(300))}, "exit")
    started = time.perf_counter()
    with pytest.raises(TooManyCuts, match="more than 1000 legal cuts"):
        cuts(dag, 1, limit=1000)
    assert time.perf_counter() - started < 2
    assert len(cuts(network({"image": "", "exit": "image"}, "exit"), 1, limit=2)) == 2


def test_head_of_refuses_what_is_no_boundary() -> None:
    dag = network({"image": "", "a": "image", "early": "a", "b": "a", "late": "b"}, "early late")
    with pytest.raises(GraphError, match="not a boundary"):
        head_of(dag, 2, ["image", "a"])
    with pytest.raises(GraphError, match="not in the part"):
        head_of(dag, 1, ["b"])
    with pytest.raises(GraphError, match="no node 'nowhere'"):
        head_of(dag, 1, ["nowhere"])


def test_contraction_merges_what_does_not_shrink_into_its_reader() -> None:
    dag = network(
        {"image": "", "float": "image", "conv": "float", "relu": "conv", "pool": "relu",
         "left": "pool", "right": "pool", "cat": "left right", "exit": "cat"},
        "exit",
        {"image": 10, "float": 40, "conv": 64, "relu": 64, "pool": 16, "left": 8, "right": 8,
         "cat": 16, "exit": 1},
    )  # fmt: skip
    contraction = contract(dag)
    assert dict(contraction.members) == {
        "image": ("image",),
        "pool": ("float", "conv", "relu", "pool"),
        "left": ("left",),
        "right": ("right",),
        "exit": ("cat", "exit"),
    }
    assert contraction.dag.by_name["exit"].inputs == ("left", "right")
    assert contraction.dag.by_name["pool"].inputs == ("image",)


def test_contraction_leaves_alone_what_is_to_be_kept() -> None:
    reads = {"image": "", "conv": "image", "relu": "conv", "next": "relu", "exit": "next"}
    sizes = {"image": 100, "conv": 50, "relu": 50, "next": 80}
    dag = network(reads, "exit", sizes)
    assert set(contract(dag).members) == {"image", "conv", "exit"}
    assert set(contract(dag, ["relu"]).members) == {"image", "conv", "relu", "exit"}


def test_contraction_loses_no_lowest_latency_while_the_edge_is_no_slower() -> None:
    rng = random.Random(5)
    merged = 0
    for _ in range(300):
        dag = random_network(rng)
        contraction = contract(dag)
        merged += len(dag.nodes) - len(contraction.dag.nodes)
        edge = {n.name: rng.uniform(0.1, 2) for n in dag.nodes}
        car = {
            # Only the merged nodes need the condition.
            n.name: rng.uniform(0.1, 4) if n.name in contraction.members else edge[n.name] + 0.1
            for n in dag.nodes
        }
        for number in range(1, len(dag.exits) + 1):
            part = dag.exit_part(number)

            def latency(
                head: frozenset[str],
                boundary: tuple[str, ...],
                dag: ModelDag = dag,
                car: dict[str, float] = car,
                edge: dict[str, float] = edge,
                part: frozenset[str] = part,
            ) -> float:
                sent = sum(dag.by_name[b].output_bytes for b in boundary)
                return sum(car[n] for n in head) + sent + sum(edge[n] for n in part - head)

            all_cuts = min(latency(cut.nodes, cut.boundary) for cut in cuts(dag, number))
            few = []
            for cut in cuts(contraction.dag, number):
                head = frozenset(m for block in cut.nodes for m in contraction.members[block])
                assert dag.boundary(head, number) == cut.boundary
                few.append(latency(head, cut.boundary))
            assert min(few) == pytest.approx(all_cuts)
    assert merged > 100
