"""What cannot be written is said in one line, with exit status 2, before any long work."""

from collections.abc import Callable
from pathlib import Path

import pytest
from support.small_disk import fill, small_disk

from dapdee_ros.cli.main import main

Said = Callable[..., str]


@pytest.fixture
def complaint(capsys: pytest.CaptureFixture[str]) -> Said:
    """Runs a command that has to fail with status 2 and one line, and returns that."""

    def run(*arguments: str | Path) -> str:
        assert main([str(argument) for argument in arguments]) == 2
        err = capsys.readouterr().err
        lines = [line for line in err.splitlines() if line.startswith("dapdee")]
        assert len(lines) == 1 and "Traceback" not in err, err
        return lines[0]

    return run


@pytest.fixture
def log(tmp_path: Path) -> Path:
    assert main(["simulate", "roadsigns", "--seconds", "1", "--out", str(tmp_path / "logs")]) == 0
    return tmp_path / "logs" / "exact.json"


TRAIN = ("train", "--model", "roadsigns", "--data", "roadsigns", "--frames-per-epoch", "2")


@pytest.mark.parametrize(
    "command",
    [
        ("simulate", "roadsigns", "--seconds", "1"),
        ("plan", "roadsigns", "--draw"),
        ("plan", "roadsigns", "--sweep", "link"),
        ("profile", "roadsigns"),
        ("demo", "--seconds", "1"),
        TRAIN,
    ],
    ids=lambda words: " ".join(words[:3]),
)
@pytest.mark.parametrize("place", ["file", "file/below", "/proc/none/below"])
def test_an_out_that_cannot_be_written(
    command: tuple[str, ...], place: str, tmp_path: Path, complaint: Said
) -> None:
    (tmp_path / "file").write_text("mine")
    # Where --out names one file, or the beginning of names, a file beside it is no obstacle.
    if command[0] in ("plan", "profile") and place == "file":
        place = "file/below"
    said = complaint(*command, "--out", tmp_path / place)
    assert "cannot write" in said and ("is a file" in said or "/proc/none" in said)
    assert (tmp_path / "file").read_text() == "mine"


def test_a_report_that_cannot_be_written(log: Path, tmp_path: Path, complaint: Said) -> None:
    (tmp_path / "file").write_text("mine")
    assert "is a file" in complaint("report", log, "--out", tmp_path / "file" / "r.html")
    assert "is a folder" in complaint("report", log, "--out", tmp_path)


@pytest.mark.parametrize("side", ["car", "edge"])
def test_a_ros_home_that_cannot_be_written(
    side: str, tmp_path: Path, complaint: Said, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("rclpy", reason="no ROS 2 here")
    (tmp_path / "file").write_text("mine")
    monkeypatch.setenv("ROS_HOME", str(tmp_path / "file"))
    assert "is a file, not a folder" in complaint(side, "--seconds", "1")


def test_a_full_disk(log: Path, tmp_path: Path, complaint: Said) -> None:
    with small_disk(tmp_path / "disk", 64 * 1024) as disk:
        filler = fill(disk)
        no_space = "no space is left on the disk"
        simulation = ("simulate", "roadsigns", "--seconds", "60")
        assert no_space in complaint(*simulation, "--out", disk / "runs")
        assert no_space in complaint("report", log, "--out", disk / "r.html")
        assert no_space in complaint(*TRAIN, "--out", disk / "model")
        # Some room, but not enough: what does not fit is not there at all.
        with filler.open("r+b") as file:
            file.truncate(filler.stat().st_size - 12 * 1024)
        assert no_space in complaint(*simulation, "--out", disk / "runs")
        assert no_space in complaint("report", log, "--out", disk / "r.html")
        assert [p for p in disk.rglob("*") if p.is_file()] == [filler]


def test_pictures_that_nobody_asked_for(tmp_path: Path, complaint: Said) -> None:
    said = complaint("plan", "roadsigns", "--out", tmp_path / "p")
    assert "--sweep" in said and "--draw" in said


def test_a_loss_in_per_cent(complaint: Said) -> None:
    said = complaint("calibrate", "--model", "roadsigns", "--data", "roadsigns", "--max-loss", "5")
    assert "0 to 1, got 5" in said and "divide by 100" in said


def test_a_model_in_its_own_data(tmp_path: Path, complaint: Said) -> None:
    for place in ("data", "data/model"):
        said = complaint(*TRAIN[:3], "--data", f"folder:{tmp_path}/data", "--out", tmp_path / place)
        assert "would be among the images" in said
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize(
    ("model", "size", "cure"),
    [
        ("vit_b_16", "32x32", "--argument image_size=32"),
        ("alexnet", "32x32", "choose larger frames with --size"),
        ("roadsigns", "8x8", "at least 16x16 pixels"),
    ],
)
def test_frames_that_a_network_does_not_take(
    model: str, size: str, cure: str, tmp_path: Path, complaint: Said
) -> None:
    options = ("--model", model, "--size", size, "--data", "roadsigns")
    assert cure in complaint("train", *options, "--out", tmp_path / "model")


def test_a_plan_over_no_link(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import json

    nowhere = ["plan", "roadsigns", "--link", "none", "--policy", "edge-only"]
    assert main(nowhere) == 0
    out = capsys.readouterr().out
    assert "inf" not in out and "never" in out and "Give another link" in out
    assert main([*nowhere, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["plan"]["latency_s"] is None
    sweep = ["--sweep", "deadline", "--out", str(tmp_path / "p")]
    assert main([*nowhere, *sweep]) == 0
    assert (tmp_path / "p-deadline.png").exists()
