from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dapdee_ros.cli.main import main
from dapdee_ros.exits.card import model_id_of
from dapdee_ros.exits.image_input import InputSpec
from dapdee_ros.graph.dag import ModelDag, Node
from dapdee_ros.planning.device_profile import DeviceProfile
from dapdee_ros.planning.from_card import sample_profiles

ROOT = Path(__file__).resolve().parents[2]

# Name: (inputs, output bytes, seconds on the car).
NODES: dict[str, tuple[tuple[str, ...], int, float]] = {
    "image": ((), 12_288, 0.0),
    "stem": (("image",), 65_536, 0.03),
    "neck": (("stem",), 2_048, 0.01),
    "early": (("neck",), 12, 0.005),
    "left": (("neck",), 1_024, 0.04),
    "right": (("neck",), 1_024, 0.04),
    "late": (("left", "right"), 12, 0.02),
}
SHAPES = {"image": (1, 64, 64, 3), "early": (1, 3), "late": (1, 3)}


def small_model(folder: Path) -> str:
    """Write a model folder of 7 nodes and 2 exits; returns its id."""
    dag = ModelDag(
        tuple(
            Node(
                name,
                "input" if not inputs else "conv2d",
                inputs,
                SHAPES.get(name, (1, size // 4)),
                "float32" if inputs else "uint8",
                size,
                1000,
            )
            for name, (inputs, size, _) in NODES.items()
        ),
        (("early",), ("late",)),
    )
    labels, task = ("a", "b", "c"), {"name": "classification"}
    input_spec = InputSpec((64, 64), (0.5, 0.5, 0.5), (0.2, 0.2, 0.2))
    model_id = model_id_of(task, labels, input_spec, None, "0" * 64)
    folder.mkdir(parents=True)
    (folder / "graph.json").write_text(json.dumps(dag.to_dict()))
    (folder / "model.json").write_text(
        json.dumps(
            {
                "format": 2,
                "name": "small",
                "model_id": model_id,
                "task": task,
                "labels": labels,
                "input": input_spec.to_dict(),
                "quality": {"exits": [0.8, 0.95], "data": "none"},
                "network": {"sha256": "0" * 64},
                "provenance": {},
            }
        )
    )
    return model_id


class Broken:
    """A policy that fails when it is asked."""

    def __init__(self, problem: object) -> None:
        pass

    def plan(self, situation: object) -> None:
        raise RuntimeError("out of ideas")


class Unmakeable:
    """A policy that fails when it is made."""

    def __init__(self, problem: object) -> None:
        raise RuntimeError("no licence")


@pytest.fixture
def plan(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., Any]:
    """Run ``dapdee plan`` on the small model; the JSON it prints, or what it complains about."""
    model_id = small_model(tmp_path / "small")
    for device, scale in (("car", 1.0), ("edge", 0.1)):
        seconds = {name: scale * s for name, (_, _, s) in NODES.items()}
        DeviceProfile(model_id, device, 1, seconds, "2026-11-20").save(tmp_path / f"{device}.json")
    profiles = [f"--{d}-profile={tmp_path / d}.json" for d in ("car", "edge")]

    def run(*arguments: str, text: bool = False) -> Any:
        words = ["plan", str(tmp_path / "small"), *profiles, *arguments]
        status = main(words if text else [*words, "--json"])
        printed = capsys.readouterr()
        if status:
            return status, printed.err
        return printed.out if text else json.loads(printed.out)

    return run


def test_the_plan_and_the_next_best(plan: Callable[..., Any]) -> None:
    found = plan("--link", "3g", "--deadline-s", "0.2", "--codecs", "f32")
    # 40 ms of head, 2,048 bytes at 1.1 Mbit/s, a tenth of 100 ms of tail.
    assert found["plan"]["boundary"] == ["neck"]
    assert found["plan"]["latency_s"] == pytest.approx(0.04 + 8 * 2048 / 1.1e6 + 0.01)
    assert found["plan"]["exit_number"] == 2
    assert len(found["next_best"]) == 4
    latencies = [p["latency_s"] for p in (found["plan"], *found["next_best"])]
    assert latencies == sorted(latencies)
    assert plan("--link", "none")["plan"]["boundary"] == []
    assert plan("--link", "wifi", "--car-slowdown", "9")["plan"]["boundary"] == ["image"]


def test_the_text_names_the_cut_and_the_times(plan: Callable[..., Any], tmp_path: Path) -> None:
    out = str(tmp_path / "small")
    text = plan("--link", "3g", "--codecs", "f32", "--sweep", "deadline", "--out", out, text=True)
    assert "* " in text
    assert "exit 2, send neck as f32" in text
    assert "64.9ms" in text
    assert "The plan over the deadline" in text


def test_quality_that_nobody_measured_is_called_assumed(
    plan: Callable[..., Any], tmp_path: Path
) -> None:
    assert plan("--link", "3g")["quality_known"]
    assert "nobody has measured" not in plan("--link", "3g", text=True)
    path = tmp_path / "small" / "model.json"
    values = json.loads(path.read_text())
    path.write_text(json.dumps({**values, "quality": {"exits": None, "data": "not measured"}}))
    found = plan("--link", "3g", "--deadline-s", "0.2", "--codecs", "f32")
    assert (found["quality_known"], found["plan"]["exit_number"]) == (False, 2)
    assert "nobody has measured the quality of its exits" in plan("--link", "3g", text=True)


def test_sweeps_and_drawings(plan: Callable[..., Any], tmp_path: Path) -> None:
    stem = str(tmp_path / "pictures" / "small")
    deadline = plan("--link", "3g", "--sweep", "deadline", "--draw", "--out", stem)
    exits = [point["plan"]["exit_number"] for point in deadline["sweep"]]
    assert (exits[0], exits[-1]) == (1, 2)
    assert exits == sorted(exits), "a looser deadline leads to a deeper exit"
    link = plan("--sweep", "link", "--deadline-s", "1", "--out", stem)
    shares = [point["car_share"] for point in link["sweep"]]
    assert (shares[0], shares[-1]) == (1.0, 0.0)
    assert shares == sorted(shares, reverse=True), "a faster link moves the cut to the server"
    assert [Path(f).name for f in deadline["files"] + link["files"]] == [
        "small-deadline.png", "small-deadline.svg", "small-cut.png", "small-cut.svg",
        "small-link.png", "small-link.svg",
    ]  # fmt: skip
    for name in deadline["files"] + link["files"]:
        start = Path(name).read_bytes()[:300]
        assert start.startswith(b"\x89PNG") or b"<?xml" in start
    drawn = (tmp_path / "pictures" / "small-cut.svg").read_text()
    assert "2,048 bytes" in drawn


def test_frames_that_come_faster_bound_the_period(plan: Callable[..., Any]) -> None:
    where = ("--link", "3g", "--codecs", "f32", "--deadline-s", "1", "--car-slowdown", "2")
    calm = plan(*where)["plan"]
    assert (calm["boundary"], round(calm["period_s"], 3)) == (["image"], 0.089)
    quick = plan(*where, "--rate-hz", "12")["plan"]
    assert (quick["boundary"], round(quick["period_s"], 3)) == (["neck"], 0.08)
    assert quick["latency_s"] > calm["latency_s"]
    hopeless = plan("--link", "3g", "--codecs", "f32", "--rate-hz", "1000")["plan"]
    assert hopeless["late"]
    assert "keeps up" in hopeless["reason"]


def test_periods_that_count_as_equal_leave_the_choice_to_latency(plan: Callable[..., Any]) -> None:
    where = ("--link", "3g", "--codecs", "f32", "--deadline-s", "1", "--car-slowdown", "2")
    shortest = plan(*where, "--mode", "throughput")["plan"]
    quickest = plan(*where, "--mode", "throughput", "--period-tolerance", "0.2")["plan"]
    assert (shortest["boundary"], quickest["boundary"]) == (["neck"], ["image"])
    assert quickest["latency_s"] < shortest["latency_s"]
    assert shortest["period_s"] < quickest["period_s"] <= 1.2 * shortest["period_s"]


def test_policies_by_name(plan: Callable[..., Any]) -> None:
    assert plan("--policy", "device-only", "--link", "3g")["plan"]["boundary"] == []
    assert plan("--policy", "edge-only", "--link", "3g")["plan"]["boundary"] == ["image"]
    assert plan("--policy", "neurosurgeon", "--link", "3g")["plan"]["boundary"] == ["neck"]
    assert plan("--policy", "dapdee", "--load-score", "0.6")["mode"] == "throughput"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--link", "5g"], "'5g' is no link"),
        (["--link", "drive"], "a plan is made for one rate"),
        (["--link=-1mbit"], "'-1mbit' is no link"),
        (["--link", "nan"], "'nan' is no link"),
        (["--link-spread", "nan"], "relative_spread is nan"),
        (["--deadline-s", "0"], "deadline_s is 0.0 s; expected 0.001 to 60 s"),
        (["--deadline-s", "nan"], "deadline_s is nan"),
        (["--rtt-s", "-1"], "rtt_s is -1.0"),
        (["--policy", "best"], "policy 'best' is unknown; there are device-only"),
        (["--policy", "dads+zip"], "codec 'zip' is unknown"),
        (["--policy", f"{__name__}:Broken"], "policy Broken failed: RuntimeError: out of ideas"),
        (["--policy", f"{__name__}:Unmakeable"], "cannot be made: RuntimeError: no licence"),
        (["--codecs", "zip"], "no codec 'zip'"),
        (["--quality-floor", "0.99"], "the best reaches 0.95"),
        (
            ["--policy", "edge-only", "--keep-raw-on-car"],
            "the plan of policy EdgeOnly breaks a hard condition: keep_raw_on_car",
        ),
        (["--car-slowdown", "0"], "car_slowdown is 0.0"),
        (["--best", "0"], "--best is 0"),
        (["--rate-hz", "-1"], "--rate-hz is -1.0"),
        (["--period-tolerance", "2"], "period_tolerance is 2.0; expected 0 to 1"),
        (["--car-profile", "nowhere.json"], "cannot read a device profile from nowhere.json"),
    ],
)
def test_what_the_user_can_mend(
    plan: Callable[..., Any], arguments: list[str], message: str
) -> None:
    status, complaint = plan(*arguments)
    assert status == 2
    assert message in complaint


def test_the_profile_of_another_model(plan: Callable[..., Any], tmp_path: Path) -> None:
    other = DeviceProfile("other", "car", 1, dict.fromkeys(NODES, 0.0), "2026-11-20")
    other.save(tmp_path / "other.json")
    status, complaint = plan("--car-profile", str(tmp_path / "other.json"))
    assert status == 2
    assert "was measured with model other" in complaint


def test_without_profiles_it_says_how_to_get_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    small_model(tmp_path / "small")
    assert main(["plan", str(tmp_path / "small")]) == 2
    assert "dapdee profile" in capsys.readouterr().err


SHIPPED = sorted(p.parent.name for p in (ROOT / "models").glob("*/model.json"))


@pytest.mark.parametrize("model", SHIPPED)
def test_every_shipped_model_can_be_planned_for_out_of_the_box(
    model: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["plan", model, "--link", "3g", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert not found["plan"]["late"]
    samples = sample_profiles(found["model_id"])
    pi_like, pc = samples[0], samples[-1]
    assert "CPU quota" in pi_like.note, "what emulates a slow car has to be labelled as such"
    assert "CPU quota" not in pc.note
    assert pi_like.total_s > 4 * pc.total_s


def test_planning_needs_no_torch(plan: Callable[..., Any], tmp_path: Path) -> None:
    words = [
        "plan", str(tmp_path / "small"), "--car-profile", str(tmp_path / "car.json"),
        "--edge-profile", str(tmp_path / "edge.json"),
    ]  # fmt: skip
    script = (
        "import sys\n"
        "from dapdee_ros.cli.main import main\n"
        f"sys.exit(main({words!r}) or 'torch' in sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True, cwd=ROOT, capture_output=True)
