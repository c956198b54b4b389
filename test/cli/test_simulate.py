"""`dapdee simulate` from the command line."""

import json
from pathlib import Path

import pytest

from dapdee_ros.cli.main import main
from dapdee_ros.exits.card import find_model, read_card
from dapdee_ros.planning.device_profile import DeviceProfile
from dapdee_ros.report.comparison import Run, compare
from dapdee_ros.report.run_log import RunLog

BLOCKS = (
    "device,model,first_layer,last_layer,seconds,output_bytes\n"
    "pi,net,0,1,0.5,400000\npi,net,2,5,0.1,4000\n"
    "pc,net,0,1,0.05,400000\npc,net,2,5,0.01,4000\n"
)


@pytest.fixture(scope="module")
def profiles(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Profiles of roadsigns that follow its FLOPs: a car of 0.12 s, an edge of 6 ms."""
    card = read_card(find_model("roadsigns"))
    total = sum(node.flops for node in card.dag.nodes)
    arguments = []
    for role, seconds in (("car", 0.12), ("edge", 0.006)):
        node_seconds = {n.name: seconds * n.flops / total for n in card.dag.nodes}
        path = tmp_path_factory.mktemp("profiles") / f"{role}.json"
        DeviceProfile(card.model_id, role, 1, node_seconds, "2026-11-20T00:00:00").save(path)
        arguments += [f"--{role}-profile", str(path)]
    return arguments


def test_several_policies_on_identical_input(
    profiles: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wanted = ["exact", "neurosurgeon", "oracle"]
    options = ["--link", "drive", "--seconds", "20", "--json", "--out", str(tmp_path)]
    policies = [word for name in wanted for word in ("--policy", name)]
    status = main(["simulate", "roadsigns", *options, *policies, *profiles])
    values = json.loads(capsys.readouterr().out)
    assert status == 0
    assert list(values["runs"]) == wanted
    assert values["regret"]["oracle"] == 1.0
    for name, found in values["runs"].items():
        assert found["summary"]["balanced"]
        log = RunLog.load(Path(found["file"]))
        assert (log.settings["policy"], log.settings["source"]) == (name, "simulator")
        assert log.settings["scenario"] == values["settings"]["scenario"]
        assert len(log.frames) == found["summary"]["results"] > 0
    exact = values["runs"]["exact"]
    assert 0.9 < exact["quality"] < 1


def test_a_policy_that_foresees_is_the_bound_whatever_its_name(
    profiles: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    seer = "dapdee_ros.planning.policies.oracle:Oracle"
    options = ["--link", "4g", "--seconds", "3", "--json", "--out", str(tmp_path)]
    policies = ["--policy", "device-only", "--policy", seer]
    assert main(["simulate", "roadsigns", *options, *policies, *profiles]) == 0
    values = json.loads(capsys.readouterr().out)
    assert values["regret"][seer] == 1.0
    assert values["regret"]["device-only"] >= 1.0
    runs = [Run(path, RunLog.load(path)) for path in sorted(tmp_path.glob("*.json"))]
    assert list(compare(runs)[0].regrets) == ["device-only"]


def test_heavy_load_as_text(profiles: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--load", "heavy", "--seconds", "5", "--codecs", "f32", "--warm-up-s", "1"]
    assert main(["simulate", "--model", "roadsigns", *arguments, *profiles]) == 0
    out = capsys.readouterr().out
    assert "as fast as they are taken" in out
    assert "codecs: f32\n" in out


def test_blocks_measured_elsewhere(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "blocks.csv"
    path.write_text(BLOCKS)
    command = ["simulate", "net", "--blocks", str(path), "--car-device", "pi", "--edge-device"]
    link = ["--link", "8mbit", "--rtt-s", "0", "--bare-wire"]
    frames = ["--rate-hz", "1", "--deadline-s", "5", "--seconds", "30", "--warm-up-s", "10"]
    status = main([*command, "pc", *link, *frames, "--json"])
    values = json.loads(capsys.readouterr().out)
    assert status == 0
    # The picture's 150,528 bytes, then all on the PC.
    assert values["runs"]["exact"]["median_latency_s"] == pytest.approx(0.150528 + 0.06)
    assert values["runs"]["exact"]["quality"] is None
    assert main([*command, "fridge"]) == 2
    assert "no device 'fridge'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["roadsigns", "--policy", "best"], "policy 'best' is unknown; there are device-only"),
        (["roadsigns", "--rate-hz", "-3"], "rate_hz is -3.0; expected"),
        (["roadsigns", "--link", "EMPTY"], "the trace ends at 0 ms"),
        (["roadsigns", "--link", "nowhere"], "'nowhere' is no link and no file"),
        (["roadsigns", "--car-slowdown", "0"], "slowdowns are [0.0]"),
        (["roadsigns", "--warm-up-s", "90", "--seconds", "9"], "--warm-up-s is 90.0; expected"),
        (["roadsigns", "--codecs", "zip"], "there is no codec 'zip'"),
        (["nobody"], "no model 'nobody'"),
        ([], "which model?"),
        (["net", "--blocks", "COLUMNS", "--car-device", "a", "--edge-device", "b"], "no column"),
        (["net", "--blocks", "COLUMNS"], "--blocks needs --car-device and --edge-device"),
    ],
)
def test_bad_input_is_explained(
    arguments: list[str],
    words: str,
    profiles: list[str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "EMPTY").write_text("")
    (tmp_path / "COLUMNS").write_text("device,model\n")
    files = [str(tmp_path / a) if a.isupper() else a for a in arguments]
    assert main(["simulate", *files, *profiles]) == 2
    error = capsys.readouterr().err
    assert words in error
    assert "Traceback" not in error


def test_a_log_is_written_as_soon_as_its_run_is_done(
    profiles: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "stopping.py").write_text(
        "class Stops:\n"
        "    name = 'stops'\n"
        "    def __init__(self, problem): pass\n"
        "    def plan(self, situation): raise KeyboardInterrupt\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    policies = ["--policy", "device-only", "--policy", "stopping:Stops"]
    out = ["--seconds", "2", "--out", str(tmp_path / "runs")]
    assert main(["simulate", "roadsigns", *policies, *out, *profiles]) == 130
    assert len(RunLog.load(tmp_path / "runs" / "device-only.json").frames) > 10
    assert "1 of 2: device-only" in capsys.readouterr().err
    assert [p.name for p in (tmp_path / "runs").iterdir()] == ["device-only.json"]


def test_frames_that_the_car_is_long_at_end_before_the_run_does(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    slow = tmp_path / "slow.csv"
    slow.write_text(
        "device,model,first_layer,last_layer,seconds,output_bytes\n"
        "pi,net,0,1,1.9,400000\npi,net,2,5,0.1,4000\n"
        "pc,net,0,1,0.05,400000\npc,net,2,5,0.01,4000\n"
    )
    net = ["--blocks", str(slow), "--model", "net", "--car-device", "pi", "--edge-device", "pc"]
    status = main(["simulate", *net, "--link", "3g", "--seconds", "20", "--json"])
    summary = json.loads(capsys.readouterr().out)["runs"]["exact"]["summary"]
    assert (status, summary["in_flight"]) == (0, 0)
