"""Seeded random multi-exit DAGs with profiles, for the planner's tests."""

from __future__ import annotations

import random

from dapdee_ros.graph.dag import ModelDag, Node
from dapdee_ros.planning.device_profile import DeviceProfile


def random_dag(rng: random.Random, *, most_nodes: int = 14) -> ModelDag:
    """A DAG with several readers a tensor and one to three exits; every node feeds an exit.

    A third of the exits have two or three outputs.
    """
    count = rng.randint(3, most_nodes)
    exits = rng.randint(1, min(3, count - 1))
    reads: list[list[int]] = [[]]
    for i in range(1, count):
        width = min(i, rng.choice((1, 1, 2, 3)))
        near = range(max(0, i - 5), i)
        reads.append(sorted(rng.sample(near, min(width, len(near)))))
    sinks = sorted({*rng.sample(range(1, count), exits), count - 1})[-exits:]
    values = [rng.randint(1, 50_000) for _ in range(count)]
    nodes = [
        Node(
            name=f"n{i}",
            op="input" if i == 0 else "conv2d",
            inputs=tuple(f"n{j}" for j in reads[i]),
            shape=(1, values[i]),
            dtype="float32",
            output_bytes=4 * values[i],
            flops=1,
        )
        for i in range(count)
    ]
    more = random.Random(sum(values))
    outputs = [
        (i, *more.sample(range(1, i), more.randint(1, 2)))
        if i > 2 and more.random() < 0.34
        else (i,)
        for i in sinks
    ]
    return ModelDag(tuple(nodes), tuple(tuple(f"n{i}" for i in of) for of in outputs))


def random_profile(rng: random.Random, dag: ModelDag, device: str, scale: float) -> DeviceProfile:
    """Random seconds a node; the input costs nothing."""
    return DeviceProfile(
        model_id="random",
        device=device,
        threads=1,
        node_seconds={
            node.name: 0.0 if i == 0 else scale * rng.uniform(0.01, 1)
            for i, node in enumerate(dag.nodes)
        },
        created="2026-11-20T00:00:00",
    )


def chain_of_design() -> tuple[ModelDag, DeviceProfile, DeviceProfile, float]:
    """The chain in -> x -> y -> z of the design, whose true one-way optimum takes 10.4 s.

    Returns:
        DAG, car profile, edge profile, and the rate in bit/s at which the tensors take
        1, 5, 0.2 and 0 s.
    """
    car, edge, transfer_s = (0, 10, 0.1, 10), (0, 0.1, 10, 0.1), (1, 5, 0.2, 0)
    names = ("in", "x", "y", "z")
    nodes = tuple(
        Node(
            name,
            "conv2d",
            names[i - 1 : i] if i else (),
            (int(s * 250),),
            "float32",
            int(s * 1000),
            1,
        )
        for i, (name, s) in enumerate(zip(names, transfer_s, strict=True))
    )

    def profile(device: str, seconds: tuple[float, ...]) -> DeviceProfile:
        return DeviceProfile(
            "chain", device, 1, dict(zip(names, seconds, strict=True)), "2026-11-20T00:00:00"
        )

    return ModelDag(nodes, (("z",),)), profile("car", car), profile("edge", edge), 8 * 1000.0
