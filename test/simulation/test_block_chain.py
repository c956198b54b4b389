"""Block times measured elsewhere as a planning problem."""

from pathlib import Path

import pytest

from dapdee_ros.planning.policy import Situation, make_policy
from dapdee_ros.planning.sites import Hop, car_and_edge
from dapdee_ros.simulation.block_chain import (
    CHAIN_POLICIES,
    BlockChainError,
    chain_problem,
    read_blocks,
)

HEADER = "device,model,first_layer,last_layer,seconds,output_bytes\n"
ROWS = (
    "pi,net,0,1,0.5,400000\npi,net,2,5,0.1,4000\npi,net,6,6,1.0,400\n"
    "pc,net,0,1,0.05,400000\npc,net,2,5,0.01,4000\npc,net,6,6,0.1,400\n"
    "nas,net,0,5,0.1,4000\nnas,net,6,6,0.1,400\n"
)
REAL = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "layer-times.csv"


@pytest.fixture
def times_file(tmp_path: Path) -> Path:
    path = tmp_path / "times.csv"
    path.write_text(HEADER + ROWS)
    return path


@pytest.mark.parametrize("policy", CHAIN_POLICIES)
def test_policies_on_a_chain_cost_what_the_columns_say(times_file: Path, policy: str) -> None:
    problem = chain_problem(read_blocks(times_file), "net", "pi", "pc")
    situation = Situation(car_and_edge(), (Hop(1e6),), 10.0, "latency")
    plan = make_policy(policy, problem).plan(situation)
    by_cut = {
        (): 1.6,
        ("image",): 8 * 224 * 224 * 3 / 1e6 + 0.16,
        ("layer5",): 0.6 + 0.032 + 0.1,
    }
    assert plan.latency_s == pytest.approx(by_cut[plan.boundary])
    if policy not in ("device-only", "edge-only"):
        assert plan.boundary == ("layer5",)


def test_u8_takes_a_quarter_but_for_the_picture(times_file: Path) -> None:
    times = read_blocks(times_file)
    plain, small = (chain_problem(times, "net", "pi", "pc", codec) for codec in ("f32", "u8"))
    for name, factor in (("layer1", 4), ("layer5", 4), ("image", 1)):
        sizes = [p.codecs[0].tensor(p.dag.by_name[name]).coded_bytes for p in (plain, small)]  # type: ignore[union-attr]
        assert sizes[0] == factor * sizes[1]
    raw = chain_problem(times, "net", "pi", "pc", "raw")
    assert raw.dag.nodes[0].output_bytes == 4 * 224 * 224 * 3
    assert raw.dag.nodes[1:] == plain.dag.nodes[1:]
    assert chain_problem(times, "net", "pi", "pc", side=100).dag.nodes[0].output_bytes == 30_000


def test_what_is_wrong_is_named(times_file: Path, tmp_path: Path) -> None:
    times = read_blocks(times_file)
    with pytest.raises(BlockChainError, match="no device 'fridge' in the file; there are pi, pc"):
        chain_problem(times, "net", "fridge", "pc")
    with pytest.raises(BlockChainError, match="no model 'vgg' of pi; there are net"):
        chain_problem(times, "vgg", "pi", "pc")
    with pytest.raises(BlockChainError, match="measured with different blocks"):
        chain_problem(times, "net", "pi", "nas")
    with pytest.raises(BlockChainError, match="raw, f32 or u8"):
        chain_problem(times, "net", "pi", "pc", "zip")
    for text, words in (
        ("device,model,seconds\n", "no column first_layer, last_layer, output_bytes; expected"),
        ("", "no column device"),
        (HEADER, "holds no blocks"),
        (HEADER + "pi,net,0,1,fast,4\n", "line 2: could not convert"),
        (HEADER + "pi,net,0,1,-1,4\n", "line 2: a block takes -1.0 s"),
        (HEADER + "pi,net,0,1,0.1\n", "line 2"),
    ):
        path = tmp_path / "bad.csv"
        path.write_text(text)
        with pytest.raises(BlockChainError, match=words):
            read_blocks(path)
    with pytest.raises(BlockChainError, match="cannot read block times"):
        read_blocks(tmp_path / "missing.csv")


@pytest.mark.skipif(not REAL.is_file(), reason=f"the measured block times are not there: {REAL}")
def test_whole_networks_of_the_measured_file() -> None:
    times = read_blocks(REAL)
    totals = {
        model: chain_problem(times, model, "raspberry_pi_4", "pc_6700k_cpu").car.total_s
        for model in ("vgg16", "resnet50", "mobilenetv2", "inception_v3")
    }
    expected = {"vgg16": 2.11, "resnet50": 0.96, "mobilenetv2": 0.44, "inception_v3": 1.29}
    assert totals == pytest.approx(expected, abs=0.006)
