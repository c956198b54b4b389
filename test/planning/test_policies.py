from __future__ import annotations

import random
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from planning.random_networks import chain_of_design, random_dag, random_profile

from dapdee_ros.graph.cuts import TooManyCuts
from dapdee_ros.graph.dag import ModelDag, Node
from dapdee_ros.planning.codec_cost import AsIs, GateOption, MeasuredCodec, TensorCost
from dapdee_ros.planning.device_profile import DeviceProfile
from dapdee_ros.planning.errors import DeadlineError, PlanningError, PolicyError
from dapdee_ros.planning.plan import Crossing, Plan, Stage
from dapdee_ros.planning.policy import (
    Problem,
    Situation,
    ask,
    check_switch,
    make_policy,
    policy_names,
)
from dapdee_ros.planning.sites import Hop, car_and_edge

ALL = [
    "device-only", "edge-only", "edge-only-jpeg", "neurosurgeon", "dads", "branchynet", "edgent",
    "eddi", "dapdee", "exact", "oracle",
]  # fmt: skip


def random_problem(rng: random.Random, *, most_nodes: int = 12) -> Problem:
    dag = random_dag(rng, most_nodes=most_nodes)
    small = {n.name: TensorCost(n.output_bytes / 5, 1e-3, 1e-3) for n in dag.nodes[:1]}
    exits = range(1, len(dag.exits) + 1)
    return Problem(
        dag,
        (random_profile(rng, dag, "car", 0.1), random_profile(rng, dag, "edge", 0.03)),
        [0.7 + 0.1 * i for i in range(len(dag.exits))],
        (AsIs(), MeasuredCodec("jpeg", small, default_loss=0.0)),
        [GateOption(k, n, 0.9, 0.5, 0.69 + 0.1 * (n - 1)) for n in exits for k in range(1, n)],
    )


def random_situation(rng: random.Random, **wishes: object) -> Situation:
    return Situation(
        car_and_edge(10 ** rng.uniform(-0.2, 1), 10 ** rng.uniform(-0.2, 1)),
        (Hop(10 ** rng.uniform(5, 8), rng.uniform(0, 0.05)),),
        10 ** rng.uniform(-2, 1),
        load_score=rng.random(),
        **wishes,  # type: ignore[arg-type]
    )


def options(name: str) -> dict[str, int]:
    return {"max_cuts": 60} if name in ("dads", "dapdee") else {}


def test_all_policies_are_known_by_name() -> None:
    assert set(ALL) <= set(policy_names())


@pytest.mark.parametrize("name", ALL)
def test_no_policy_is_more_accurate_in_time_or_faster_than_exact(name: str) -> None:
    rng = random.Random(ALL.index(name))
    for _ in range(8):
        problem = random_problem(rng)
        policy = make_policy(name, problem, **options(name))
        for mode in ("latency", "throughput"):
            situation = random_situation(rng, mode=mode)
            plan = ask(policy, situation, problem)
            best = problem.table.decide(
                Situation(situation.sites, situation.hops, situation.deadline_s, mode)
            )
            assert plan.late == (plan.latency_s > situation.deadline_s)
            assert plan.late or not best.late
            if best.late:
                assert plan.latency_s >= best.latency_s * (1 - 1e-9)
            elif not plan.late:
                assert plan.quality <= best.quality + 1e-9
                if plan.quality > best.quality - 1e-9:
                    assert plan.objective_s >= best.objective_s * (1 - 1e-9)


@pytest.mark.parametrize("name", ["dads", "dapdee", "eddi", "edgent", "exact", "neurosurgeon"])
def test_without_a_link_the_car_finishes_alone(name: str) -> None:
    problem = random_problem(random.Random(1))
    policy = make_policy(name, problem, **options(name))
    plan = policy.plan(Situation(car_and_edge(), (Hop(0.0),), 10.0, "throughput"))
    assert plan.device_only
    edge = make_policy("edge-only", problem).plan(Situation(car_and_edge(), (Hop(0.0),), 10.0))
    assert edge.late
    assert edge.latency_s == float("inf")


def test_neurosurgeon_finds_the_best_cut_of_a_chain() -> None:
    dag, car, edge, rate = chain_of_design()
    problem = Problem(dag, (car, edge), [0.9])
    situation = Situation(car_and_edge(), (Hop(rate),), 100.0, "latency")
    for name in ("neurosurgeon", "dads", "edgent", "eddi", "dapdee", "exact", "oracle"):
        plan = make_policy(name, problem).plan(situation)
        assert plan.latency_s == pytest.approx(10.4), name


def test_neurosurgeon_saves_energy_where_watts_are_given() -> None:
    dag, car, edge, rate = chain_of_design()
    problem = Problem(dag, (car, edge), [0.9])
    situation = Situation(car_and_edge(), (Hop(rate),), 100.0, "latency")
    # Joules of the cuts after in, x, y and z: car 0, 10, 10.1, 20.1 s; link 1, 5, 0.2, 0 s.
    for compute_w, send_w, boundary in ((1.0, 1.0, ("in",)), (1.0, 30.0, ("y",)), (0.0, 9.0, ())):
        policy = make_policy("neurosurgeon", problem, compute_w=compute_w, send_w=send_w)
        assert policy.plan(situation).boundary == boundary
    with pytest.raises(PolicyError, match=r"send_w is None; .* give compute_w and send_w"):
        make_policy("neurosurgeon", problem, compute_w=1.0)


def test_eddi_cuts_through_a_block() -> None:
    # Two parallel branches: sending one's small output and the other's input is best.
    sizes = {"in": 90_000, "stem": 40_000, "left": 100, "right": 90_000, "sum": 90_000, "out": 40}
    reads = {
        "in": (), "stem": ("in",), "left": ("stem",), "right": ("stem",), "sum": ("left", "right"),
        "out": ("sum",),
    }  # fmt: skip
    dag = ModelDag(
        tuple(
            Node(name, "conv2d", reads[name], (1, size), "uint8", size, 1)
            for name, size in sizes.items()
        ),
        (("out",),),
    )
    cheap = {"in": 0.0, "stem": 0.1, "left": 0.0, "right": 9.0, "sum": 9.0, "out": 0.0}
    car = DeviceProfile("block", "car", 1, cheap, "now")
    # The left branch is what the edge server is slow at.
    edge = DeviceProfile("block", "edge", 1, cheap | {"left": 9.0, "right": 0.1, "sum": 0.1}, "now")
    problem = Problem(dag, (car, edge), [0.9])
    situation = Situation(car_and_edge(), (Hop(8e5),), 100.0, "latency")
    best = make_policy("exact", problem).plan(situation)
    assert best.boundary == ("stem", "left")
    eddi = make_policy("eddi", problem).plan(situation)
    assert (eddi.boundary, eddi.latency_s) == (best.boundary, pytest.approx(best.latency_s))


@pytest.mark.parametrize("name", ["edgent", "eddi", "dapdee", "exact"])
def test_a_looser_deadline_leads_to_a_deeper_exit(name: str) -> None:
    chain, _, _, _ = chain_of_design()
    dag = ModelDag(chain.nodes, (("x",), ("y",), ("z",)))
    car = DeviceProfile("steps", "car", 1, {"in": 0.0, "x": 1.0, "y": 1.0, "z": 1.0}, "now")
    problem = Problem(dag, (car, car), [0.7, 0.8, 0.9])
    policy = make_policy(name, problem, **options(name))
    link = Hop(80.0)  # so slow that the car is always faster
    plans = [
        policy.plan(Situation(car_and_edge(), (link,), d, "latency")) for d in (0.5, 1.5, 2.5, 3.5)
    ]
    assert [(p.exit_number, p.late) for p in plans] == [
        (1, True), (1, False), (2, False), (3, False)
    ]  # fmt: skip


def test_the_load_score_chooses_between_the_papers_algorithms() -> None:
    problem = random_problem(random.Random(3))
    quiet = Situation(car_and_edge(), (Hop(1e6),), 100.0, load_score=0.39)
    busy = replace(quiet, load_score=0.4)
    policy = make_policy("dapdee", problem, max_cuts=60)
    assert "algorithm 1" in policy.plan(quiet).reason
    assert "algorithm 2" in policy.plan(busy).reason
    assert "algorithm 1" in policy.plan(replace(busy, priority=True)).reason
    own = make_policy("dapdee", problem, max_cuts=60, score=lambda situation: 0.9)
    assert "algorithm 2 (load 0.90)" in own.plan(quiet).reason


def test_branchynet_takes_the_gate_that_pays_within_the_loss() -> None:
    rng = random.Random(5)
    problem = random_problem(rng)
    while len(problem.dag.exits) < 2:
        problem = random_problem(rng)
    situation = Situation(car_and_edge(), (Hop(1e6),), 100.0, quality_tolerance=0.02)
    assert make_policy("branchynet", problem).plan(situation).gate is not None
    strict = replace(situation, quality_tolerance=0.0)
    assert make_policy("branchynet", problem).plan(strict).gate is None


def test_exact_falls_back_to_minimum_cuts_where_cuts_explode() -> None:
    branches = [f"b{i}" for i in range(18)]
    nodes = [Node("image", "input", (), (1,), "uint8", 8_000, 0)]
    nodes += [Node(b, "conv2d", ("image",), (1,), "float32", 400, 1) for b in branches]
    nodes += [Node("sum", "add", tuple(branches), (1,), "float32", 400, 1)]
    dag = ModelDag(tuple(nodes), (("sum",),))
    rng = random.Random(2)
    car, edge = random_profile(rng, dag, "car", 0.1), random_profile(rng, dag, "edge", 0.03)
    problem = Problem(dag, (car, edge), [0.9])
    situation = Situation(car_and_edge(), (Hop(2e5),), 10.0)
    with pytest.raises(TooManyCuts, match="more than 20000 legal cuts"):
        problem.table.decide(situation)
    plan = ask(make_policy("exact", problem), situation, problem)
    assert plan.latency_s == make_policy("dads", problem).plan(situation).latency_s
    assert len(plan.boundary) > 0


def test_the_oracle_knows_the_outage_ahead() -> None:
    dag, car, edge, rate = chain_of_design()
    problem = Problem(dag, (car, edge), [0.9])
    situation = Situation(car_and_edge(), (Hop(rate),), 100.0, "latency")

    def outage(until_s: float) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
        return lambda head_s, sent: np.maximum(until_s - head_s, 0.0) + 8 * sent / rate

    oracle = make_policy("oracle", problem)
    same = oracle.plan(replace(situation, true_transfer_s=outage(0.0)))
    assert same.latency_s == pytest.approx(10.4)
    # Sending y after 10.1 s has to wait until 19 s: 19.3 s, still less than 20.1 s alone.
    waits = oracle.plan(replace(situation, true_transfer_s=outage(19.0)))
    assert (waits.boundary, waits.latency_s) == (("y",), pytest.approx(19.3))
    assert oracle.plan(replace(situation, true_transfer_s=outage(25.0))).device_only


def test_the_oracle_is_exact_where_the_estimate_is_true() -> None:
    rng = random.Random(21)
    gated = 0
    for _ in range(150):
        problem = random_problem(rng)
        often = [option._replace(share=0.9) for option in problem.gates]
        problem = replace(problem, gates=often)
        link = Hop(10 ** rng.uniform(6, 8), 0.001)
        situation = Situation(car_and_edge(3.0), (link,), 100.0, "latency", quality_tolerance=0.02)

        def truth(head_s: np.ndarray, sent: np.ndarray, link: Hop = link) -> np.ndarray:
            return link.rtt_s + 8 * sent / link.rate_bps

        best = make_policy("exact", problem).plan(situation)
        found = make_policy("oracle", problem).plan(replace(situation, true_transfer_s=truth))
        assert found.late == best.late
        assert found.expected_latency_s == pytest.approx(best.expected_latency_s)
        gated += found.gate is not None and not found.device_only
    assert gated > 2


def test_a_codec_is_part_of_the_name() -> None:
    problem = random_problem(random.Random(6))
    situation = Situation(car_and_edge(), (Hop(1e6),), 100.0)
    assert make_policy("edge-only", problem).plan(situation).codec == "f32"
    assert make_policy("edge-only+jpeg", problem).plan(situation).codec == "jpeg"
    assert make_policy("edge-only+any", problem).plan(situation).codec == "jpeg"
    with pytest.raises(PolicyError, match="codec 'zip' is unknown"):
        make_policy("dads+zip", problem)


TWO = (Stage("car"), Stage("edge"))


class Faulty:
    """A policy that fails in the way it is told to."""

    def __init__(self, problem: Problem, failure: str = "raise") -> None:
        self.failure = failure

    def plan(self, situation: Situation) -> Plan:
        if self.failure == "raise":
            raise RuntimeError("out of ideas")
        if self.failure == "exit":
            sys.exit("enough")
        if self.failure == "none":
            return None  # type: ignore[return-value]
        if self.failure == "text":
            return Plan(1, (Stage("car", "soon"),))  # type: ignore[arg-type]
        if self.failure == "reason":
            return Plan(1, reason=None)  # type: ignore[arg-type]
        if self.failure == "huge":
            return Plan(1, TWO, (Crossing(("nowhere",), sent_bytes=1e30),))
        if self.failure == "nothing":
            return Plan(1, None)  # type: ignore[arg-type]
        if self.failure == "stages":
            return Plan(1, TWO)
        if self.failure == "hops":
            return Plan(1, (*TWO, Stage("cloud")), 2 * (Crossing(("nowhere",)),))
        return Plan(1, TWO, (Crossing(("nowhere",)),))


def test_unknown_and_faulty_policies() -> None:
    problem = random_problem(random.Random(7))
    situation = Situation(car_and_edge(), (Hop(1e6),), 1.0)
    with pytest.raises(PolicyError, match="'best' is unknown; there are device-only"):
        make_policy("best", problem)
    with pytest.raises(PolicyError, match="cannot be loaded: ModuleNotFoundError"):
        make_policy("no_such_package.module:Policy", problem)
    with pytest.raises(PolicyError, match="cannot be made: TypeError"):
        make_policy("exact", problem, colour="red")
    for failure, message in (
        ("raise", "failed: RuntimeError: out of ideas"),
        ("exit", "failed: SystemExit: enough"),
        ("none", "returned NoneType"),
        ("other", "cannot run: there is no node 'nowhere'"),
        ("text", "seconds of car are 'soon', expected a number or NaN"),
        ("reason", "reason is None, expected text"),
        ("huge", "sent_bytes is 1e\\+30, expected 0 to 4294967295"),
        ("stages", "2 stages and 0 crossings, expected one stage more"),
        ("hops", "it crosses 2 hops, expected one at most"),
        ("nothing", "stages is None, expected a tuple"),
    ):
        policy = make_policy(f"{__name__}:Faulty", problem, failure=failure)
        with pytest.raises(PolicyError, match=message):
            ask(policy, situation, problem)
    with pytest.raises(DeadlineError):
        Situation(car_and_edge(), (Hop(1e6),), 0.0)
    with pytest.raises(PlanningError, match="mode"):
        Situation(car_and_edge(), (Hop(1e6),), 1.0, "fast")


def test_a_factory_that_ends_the_process_is_a_faulty_policy() -> None:
    problem = random_problem(random.Random(7))
    with pytest.raises(PolicyError, match="cannot be made: SystemExit"):
        make_policy("sys:exit", problem)
    with pytest.raises(PolicyError, match="'sys:exit' is no policy"):
        check_switch("sys:exit", at_start="exact")
    with pytest.raises(PolicyError, match="'best' is unknown"):
        check_switch("best", at_start="exact")
    for name in ("dads", "edge-only+jpeg", "mine.module:Mine+any", "mine.module:Mine"):
        check_switch(name, at_start="mine.module:Mine")


def test_ctrl_c_still_ends_a_command_that_asks_a_policy() -> None:
    class Interrupted:
        def plan(self, situation: Situation) -> Plan:
            raise KeyboardInterrupt

    problem = random_problem(random.Random(7))
    with pytest.raises(KeyboardInterrupt):
        ask(Interrupted(), Situation(car_and_edge(), (Hop(1e6),), 1.0), problem)


def test_an_installed_package_brings_its_policy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cautious.py").write_text(
        "from dapdee_ros.planning.policies.device_only import DeviceOnly\n"
        "class Cautious(DeviceOnly):\n    pass\n"
    )
    info = tmp_path / "cautious-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: cautious\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[dapdee_ros.policies]\ncautious = cautious:Cautious\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert "cautious" in policy_names()
    policy = make_policy("cautious", random_problem(random.Random(8)))
    assert policy.plan(Situation(car_and_edge(), (Hop(1e6),), 1.0)).device_only


def test_the_default_policy_stays_small() -> None:
    """The manager's process holds the planner but not the libraries of experiments."""
    script = (
        "import sys\n"
        "from dapdee_ros.planning import policy\n"
        "from dapdee_ros.planning.policies import exact\n"
        "big = {'torch', 'networkx', 'scipy', 'matplotlib', 'cv2'} & set(sys.modules)\n"
        "sys.exit(f'imports {big}' if big else 0)\n"
    )
    root = Path(__file__).resolve().parents[2]
    subprocess.run([sys.executable, "-c", script], check=True, cwd=root)
