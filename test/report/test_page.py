"""The report as a file: complete, escaped, self-contained, bounded, whatever the logs hold."""

import copy
import math
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import pytest
from report.recorded import recorded_drive, runs_of

from dapdee_ros.report.comparison import Run
from dapdee_ros.report.page import write_report
from dapdee_ros.report.run_log import DropRecord, PlanRecord, RunLog

VOID = {"meta", "link", "wbr", "rect", "path", "use"}


class Page(HTMLParser):
    """Text, headings, ids and references of a page; fails where tags do not match."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.tags: list[str] = []
        self.ids: list[str] = []
        self.references: list[str] = []
        self.texts: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag not in VOID:
            self.open.append(tag)
        for name, value in attrs:
            if name == "id":
                self.ids.append(value or "")
            if name in ("href", "src", "action", "data", "srcset"):
                self.references.append(value or "")
            assert not name.startswith("on"), f"{tag} has a handler {name}"

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.texts).split())


def written(runs: list[Run], folder: Path) -> tuple[str, Page]:
    path = folder / "report.html"
    write_report(runs, path, folder / "figures")
    text = path.read_text(encoding="utf-8")
    return text, Page(text)


def test_several_runs_have_every_figure_and_table(tmp_path: Path) -> None:
    runs = runs_of(["exact", "oracle", "dads", "device-only"])
    numbers = write_report(runs, tmp_path / "report.html", tmp_path / "figures")
    text = (tmp_path / "report.html").read_text()
    page = Page(text)
    names = {
        "latency-cdf", "latency", "throughput", "bytes", "quality", "missed", "exits", "places",
        "regret", "timeline-1-exact", "timeline-2-oracle", "timeline-3-dads",
        "timeline-4-device-only",
    }  # fmt: skip
    assert {Path(figure).stem for figure in numbers["figures"]} == names
    for figure in numbers["figures"]:
        root = ElementTree.parse(figure).getroot()
        assert root.tag == "{http://www.w3.org/2000/svg}svg"
        assert root[0].tag.endswith("title")
        assert root[0].text
        assert root[1].tag.endswith("desc")
        assert root[1].text
    # Two drawings of each where a phone needs another than a desktop.
    assert page.tags.count("svg") == 8 + 2 * 5
    for words in (
        "Runs, latency in ms", "Parts of the latency", "Where frames were finished",
        "Regret against the oracle", "Dropped frames", "superseded by a newer frame",
        "Settings of all runs", "Settings that differ", "Lowest median: exact with",
    ):  # fmt: skip
        assert words in page.text, words
    shown = numbers["comparisons"][0]["runs"]
    assert [run["name"] for run in shown] == ["exact", "oracle", "dads", "device-only"]
    assert shown[0]["regret"]["latency_ratio"] == pytest.approx(1 / 1.1)
    assert shown[1]["regret"] is None


def test_one_run_alone(tmp_path: Path) -> None:
    _, page = written(runs_of(["exact"], None), tmp_path)
    assert page.tags.count("svg") == 2 * 2 + 2
    for words in ("roadsigns over drive", "Policy exact", "median latency", "backbone.stage1"):
        assert words in page.text, words


def test_the_page_needs_nothing_but_itself(tmp_path: Path) -> None:
    text, page = written(runs_of(["exact", "oracle"]), tmp_path)
    assert "script" not in page.tags
    assert "@import" not in text
    assert not re.search(r"url\((?!#)", text)
    for reference in page.references:
        assert reference.startswith("#") or reference == "data:,", reference
    assert len(set(page.ids)) == len(page.ids)
    used = {r[1:] for r in page.references if r.startswith("#")} | set(
        re.findall(r"url\(#([^)]+)\)", text)
    )
    assert used <= set(page.ids)


def nothing(log: RunLog) -> None:
    log.__dict__.update(RunLog().__dict__)


def no_frames(log: RunLog) -> None:
    log.frames = []
    log.ledger = {"accepted": 3, "results": 0, "drops": 3, "in_flight": 0}


def no_truth(log: RunLog) -> None:
    for frame in log.frames:
        frame.truth = None


def no_truth_but_a_prediction(log: RunLog) -> None:
    no_truth(log)
    for plan in log.plans:
        plan.predicted_quality = 0.93


def no_truth_but_an_expectation(log: RunLog) -> None:
    no_truth(log)
    log.settings["expected_quality"] = 0.91


def no_ledger(log: RunLog) -> None:
    log.ledger = {}


def one_frame(log: RunLog) -> None:
    del log.frames[1:]


def no_numbers(log: RunLog) -> None:
    for frame in log.frames:
        frame.latency_s = frame.head_s = frame.transfer_s = frame.tail_s = math.nan
        frame.at_s = math.nan
    for plan in log.plans:
        plan.at_s = math.nan


def some_numbers(log: RunLog) -> None:
    for frame in log.frames[::2]:
        frame.latency_s = math.nan


def no_plans_and_no_link(log: RunLog) -> None:
    log.plans, log.links, log.link_truth = [], [], []


def at_once(log: RunLog) -> None:
    for frame in log.frames:
        frame.at_s, frame.latency_s = 0.0, 0.0


def strange_place(log: RunLog) -> None:
    log.frames[0].place, log.frames[1].exit_number = "moon", 99


def torn_ledger(log: RunLog) -> None:
    log.ledger = {"accepted": 5, "results": "many", "drop_reasons": ["a", "b"], "drop_counts": [1]}


def drops_in_time(log: RunLog) -> None:
    log.drops = [DropRecord(1.0, "superseded by a newer frame", 3), DropRecord(math.nan, "x")]


def changing_deadline(log: RunLog) -> None:
    for frame in log.frames[50:]:
        frame.deadline_s = 0.1


SAID: dict[Callable[[RunLog], None], str] = {
    nothing: "no frame was answered",
    no_frames: "no frame was answered",
    no_truth: "quality — ",
    no_truth_but_a_prediction: "93.0 % predicted",
    no_truth_but_an_expectation: "91.0 % predicted",
    no_ledger: "Without a ledger, recorded frames are counted",
    one_frame: "recorded",
    no_numbers: "no frame",
    some_numbers: "median",
    no_plans_and_no_link: "no plan was recorded",
    at_once: "median",
    strange_place: "moon",
    torn_ledger: "The ledger does not balance",
    drops_in_time: "dropped (3)",
    changing_deadline: "deadline",
}


@pytest.mark.parametrize("spoil", SAID, ids=lambda spoil: spoil.__name__)
def test_a_run_that_lacks_something_is_shown_with_the_reason_in_words(
    spoil: Callable[[RunLog], None], tmp_path: Path
) -> None:
    log = recorded_drive()
    spoil(log)
    log.save(tmp_path / "spoiled.json")
    _, page = written(
        [Run(tmp_path / "spoiled.json", RunLog.load(tmp_path / "spoiled.json"))], tmp_path
    )
    assert not re.search(r"\bnan\b", page.text, re.IGNORECASE)
    assert SAID[spoil] in page.text


@pytest.mark.parametrize("spoil", [no_frames, no_truth, no_ledger, no_numbers])
def test_it_is_shown_beside_others_too(spoil: Callable[[RunLog], None], tmp_path: Path) -> None:
    runs = runs_of(["exact", "oracle", "dads"])
    spoil(runs[2].log)
    write_report(runs, tmp_path / "report.html", most_timelines=0)
    page = Page((tmp_path / "report.html").read_text(encoding="utf-8"))
    assert not re.search(r"\bnan\b", page.text, re.IGNORECASE)
    assert page.text.count("dads") > 5


def test_who_is_as_good_is_named_as_well(tmp_path: Path) -> None:
    runs = runs_of(["exact", "dads", "eddi"])
    runs[1].log.frames = copy.deepcopy(runs[0].log.frames)
    write_report(runs, tmp_path / "report.html", most_timelines=0)
    page = Page((tmp_path / "report.html").read_text(encoding="utf-8"))
    assert "Lowest median: exact, dads with" in page.text
    assert "Least: all the same, " in page.text


@pytest.mark.parametrize(("deadline_s", "far"), [(0.3, False), (10.0, True)])
def test_a_deadline_far_away_is_said_not_drawn(
    deadline_s: float, far: bool, tmp_path: Path
) -> None:
    run = runs_of(["exact"])[0]
    run.log.settings["deadline_s"] = deadline_s
    _, page = written([run], tmp_path)
    assert ("far above" in page.text) == far


def test_two_runs_without_a_single_answer(tmp_path: Path) -> None:
    runs = runs_of(["exact", "dads"])
    for run in runs:
        nothing(run.log)
    _, page = written(runs, tmp_path)
    assert page.text.count("no frame was answered in this run") == 2


EVIL = "<script>alert(1)</script>\"' & $x^2$ \x00\x1b[31m \ud800 ]]>"


def test_what_logs_say_is_text_and_nothing_else(tmp_path: Path) -> None:
    runs = runs_of(["exact", "oracle"])
    for run in runs:
        log = run.log
        log.labels = [EVIL]
        log.settings = {EVIL: EVIL, "policy": f"exact{EVIL}", "scenario": EVIL, "model": EVIL}
        log.settings["nested"] = {EVIL: [EVIL]}
        log.ledger["drop_reasons"] = [EVIL]
        log.ledger["drop_counts"] = [2]
        log.drops = [DropRecord(1.0, EVIL)]
        log.frames[0].place = EVIL
        for plan in log.plans:
            plan.boundary, plan.codec, plan.reason, plan.policy = [EVIL], EVIL, EVIL, EVIL
        run.path = Path(f"{EVIL.replace('/', '')}{len(log.frames)}.json".replace("\x00", ""))
    text, page = written(runs, tmp_path)
    assert "script" not in page.tags
    assert "<script" not in text
    assert "\x1b" not in text
    assert "\x00" not in text
    assert "alert(1)" in page.text
    assert "$x^2$" in page.text
    for figure in (tmp_path / "figures").iterdir():
        tags = {element.tag.split("}")[-1] for element in ElementTree.parse(figure).iter()}
        assert "script" not in tags


def test_long_runs_make_no_huge_file_and_keep_their_spikes(tmp_path: Path) -> None:
    log = recorded_drive()
    part, log.frames = log.frames, []
    for number in range(30_000):
        frame = copy.copy(part[number % len(part)])
        frame.number, frame.at_s = number, 0.1 * number
        log.frames.append(frame)
    log.frames[12_345].latency_s = 7.0
    plan = log.plans[0]
    log.plans = [
        PlanRecord(0.1 * n, n, 1, [f"tensor{n % 40}"], "u8", False, 0.1, plan.reason)
        for n in range(30_000)
    ]
    log.settings["policy"] = "exact"
    text, page = written([Run(Path("long.json"), log)], tmp_path)
    assert len(text) < 1_200_000
    assert "Of 30000 frames about 3000 are drawn" in page.text
    assert "33 other cuts" in page.text
    assert page.text.count("7000") >= 1  # the axis of latency reaches the spike


def test_thirteen_policies_stay_one_readable_file(tmp_path: Path) -> None:
    policies = ["exact", "oracle", *(f"policy{n}" for n in range(11))]
    write_report(runs_of(policies), tmp_path / "report.html", most_timelines=2)
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    page = Page(text)
    assert len(text) < 1_000_000
    assert page.tags.count("details") == 2
    for policy in policies:
        assert policy in page.text


def test_more_runs_than_are_drawn_over_time_are_still_in_the_tables(tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    write_report(runs_of([f"policy{n}" for n in range(3)]), path, most_timelines=1)
    page = Page(path.read_text(encoding="utf-8"))
    assert page.tags.count("details") == 1
    assert "2 more runs are not drawn over time" in page.text
    assert "policy2" in page.text
    assert [entry.name for entry in tmp_path.iterdir()] == ["report.html"]


def test_several_scenarios_have_a_section_each(tmp_path: Path) -> None:
    runs = [*runs_of(["exact", "oracle"], "3g"), *runs_of(["exact", "oracle"], "wifi")]
    for run in runs:
        del run.log.frames[20:]
    _, page = written(runs, tmp_path)
    assert {"#c1", "#c2"} <= set(page.references)
    assert (tmp_path / "figures" / "c2-regret.svg").exists()


def test_the_same_runs_make_the_same_report(tmp_path: Path) -> None:
    texts = [written(runs_of(["exact", "dads"]), tmp_path / name)[0] for name in "ab"]
    assert texts[0] == texts[1]


def test_no_run_is_no_report(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="at least one run"):
        write_report([], tmp_path / "report.html")
