"""The journal of a run: written as it goes, readable whenever that ends."""

from pathlib import Path

import pytest
from support.small_disk import fill, small_disk

from dapdee_ros.cli.main import main
from dapdee_ros.files import FileError
from dapdee_ros.report.journal import Journal, journal_of, read_journal, read_log
from dapdee_ros.report.run_log import DropRecord, FrameRecord, PlanRecord, RunLog, RunLogError


def frame(number: int) -> FrameRecord:
    return FrameRecord(
        0.1 * number, number, 0, None, float("nan"), 2, "car", 1, 0.01, 0.0, 0.0, 0.02, 0
    )


def begin(path: Path) -> Journal:
    journal = Journal(path)
    journal.note(settings={"model": "é"}, labels=["stop"], exit_count=3)
    journal.note(first_result_s=None, ledger={})
    return journal


def test_the_log_is_made_of_it_and_it_is_gone(tmp_path: Path) -> None:
    path = tmp_path / "new" / "run.json"
    journal = begin(path)
    for number in range(5):
        assert journal.add("frames", frame(number))
        journal.note(ledger={"results": number})
    journal.add("plans", PlanRecord(0.0, 1, 2, ["a"], "f32", False, 0.05, "first"))
    journal.add("forecasts", PlanRecord(0.2, 1, 2, ["a"], "f32", False, 0.09, "as foreseen now"))
    journal.add("drops", DropRecord(0.3, "late"))
    assert not path.exists()
    running = read_journal(journal_of(path))
    journal.complete()
    log = RunLog.load(path)
    assert [f.number for f in log.frames] == [0, 1, 2, 3, 4]
    assert (log.settings, log.ledger) == ({"model": "é"}, {"results": 4})
    assert log.plans[0].boundary == ["a"] and log.drops[0].reason == "late"
    assert log.forecasts[0].predicted_latency_s == 0.09
    assert repr(running) == repr(log)
    assert [p.name for p in path.parent.iterdir()] == ["run.json"]


def test_a_kill_in_the_middle_of_a_line_loses_that_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "run.json"
    journal = begin(path)
    for number in range(5):
        journal.add("frames", frame(number))
    left = journal_of(path)
    left.write_bytes(left.read_bytes()[:-20])
    assert [f.number for f in read_log(left).frames] == [0, 1, 2, 3]
    for given in (left, tmp_path):
        assert main(["report", str(given), "--no-figures"]) == 0
        assert "4 results" in capsys.readouterr().out
    assert (tmp_path / "report.html").exists()


def test_a_full_disk_costs_what_comes_after_it_and_no_more(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", 32 * 1024) as disk:
        path = disk / "run.json"
        journal = begin(path)
        kept = 0
        while journal.add("frames", frame(kept)):
            kept += 1
        assert kept > 50 and journal.lost == 1
        for number in range(3):
            assert not journal.add("frames", frame(1000 + number))
        read = read_journal(journal_of(path))
        assert [f.number for f in read.frames] == list(range(kept))
        with pytest.raises(FileError, match=r"no space is left .*run.json.journal, which"):
            journal.complete()
        assert not path.exists()
        assert len(read_journal(journal_of(path)).frames) == kept


def test_room_that_comes_back_is_used(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", 128 * 1024) as disk:
        journal = begin(disk / "run.json")
        filler = fill(disk)
        number = 0
        while journal.add("frames", frame(number)):
            number += 1
        filler.unlink()
        assert journal.add("frames", frame(7000))
        numbers = [f.number for f in read_journal(journal_of(disk / "run.json")).frames]
        assert numbers == [*range(number), 7000]
        with pytest.raises(FileError, match="lacks 1 records that could not be written"):
            journal.complete()
        assert [f.number for f in RunLog.load(disk / "run.json").frames] == numbers


def test_what_is_no_journal_is_refused(tmp_path: Path) -> None:
    for number, text in enumerate(["", "{", "[1]", '{"note": {"format": 99}}', '{"frames": {}}']):
        path = tmp_path / f"{number}.json.journal"
        path.write_text(text + "\n" if text else "")
        with pytest.raises(RunLogError):
            read_log(path)
    with pytest.raises(FileError, match="is a file"):
        Journal(path / "run.json")
