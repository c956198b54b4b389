"""dapdee report, as a user runs it, and its page as a browser shows it."""

import html
import json
import re
import shutil
import subprocess
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from report.recorded import DRIVE, runs_of

from dapdee_ros.cli.main import main

_BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)
needs_browser = pytest.mark.skipif(
    _BROWSER is None, reason="no browser to look with: apt-get install chromium"
)


def dapdee(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """The command in this process, which has imported already what a new one takes a second for."""
    command = ["report", *map(str, arguments)]
    with redirect_stdout(StringIO()) as out, redirect_stderr(StringIO()) as err:
        try:
            status = main(command)
        except SystemExit as end:
            status = int(end.code or 0)
    return subprocess.CompletedProcess(command, status, out.getvalue(), err.getvalue())


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of logs with a file that is none."""
    folder = tmp_path_factory.mktemp("results")
    for run in runs_of(["exact", "oracle", "neurosurgeon+u8"]):
        run.log.save(folder / run.path)
    (folder / "machine.json").write_text('{"cores": 2}')
    return folder


@pytest.fixture(scope="module")
def report(results: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("report") / "page.html"
    done = dapdee(results, "--out", out, "--json")
    assert done.returncode == 0, done.stderr
    assert "skipped" in done.stderr
    assert "machine.json" in done.stderr
    numbers = json.loads(done.stdout)
    assert [run["name"] for run in numbers["comparisons"][0]["runs"]] == [
        "exact",
        "oracle",
        "neurosurgeon+u8",
    ]
    assert numbers["comparisons"][0]["runs"][2]["regret"]["frames"] == 209
    assert all(Path(figure).exists() for figure in numbers["figures"])
    return out


def test_one_run_has_its_report_beside_the_log(tmp_path: Path) -> None:
    shutil.copy(DRIVE, tmp_path / "run.json")
    done = dapdee(tmp_path)
    assert done.returncode == 0, done.stderr
    assert f"report   {tmp_path / 'report.html'}" in done.stdout
    assert "210 accepted" in done.stdout
    assert (tmp_path / "report.html").stat().st_size > 50_000
    assert list((tmp_path / "report-figures").glob("timeline-*.svg"))
    again = dapdee(tmp_path / "run.json", tmp_path, "--no-figures", "--out", tmp_path / "b.html")
    assert again.returncode == 0, again.stderr
    assert "210 accepted" in again.stdout  # the same log given twice is one run
    assert not (tmp_path / "b-figures").exists()


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("torn.json", '{"version": 1, "frames": [', "torn.json is not the log of a run"),
        ("new.json", '{"version": 7}', "written by another version"),
        ("none", None, "not the log of a run"),
        ("bag.db3", "SQLite", "bag.db3 is not the log of a run"),
    ],
)
def test_what_is_no_log_is_one_clear_line(
    name: str, content: str | None, words: str, tmp_path: Path
) -> None:
    if content is not None:
        (tmp_path / name).write_text(content)
    done = dapdee(tmp_path / name)
    assert done.returncode == 2
    assert words in done.stderr
    assert "Traceback" not in done.stderr


def test_a_folder_without_logs_says_what_is_there(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("nothing")
    done = dapdee(tmp_path)
    assert done.returncode == 2
    assert "holds no log of a run, only notes.txt" in done.stderr


def test_a_report_cannot_be_a_folder(results: Path, tmp_path: Path) -> None:
    done = dapdee(results, "--out", tmp_path)
    assert done.returncode == 2
    assert "is a folder" in done.stderr


def browse(page: Path, width_px: int, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Show a page in a browser of its own, as nobody sees it."""
    assert _BROWSER is not None
    profile = page.with_name(f"profile-{width_px}")
    try:
        return subprocess.run(
            [
                _BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run",
                "--disable-background-networking", "--hide-scrollbars", "--enable-logging=stderr",
                f"--user-data-dir={profile}", *arguments, page.as_uri(),
            ],
            capture_output=True, text=True, timeout=120,
        )  # fmt: skip
    finally:
        shutil.rmtree(profile, ignore_errors=True)


_MEASURE = """<script>addEventListener("load", () => {
  const page = document.documentElement;
  const found = {page: [page.scrollWidth, page.scrollHeight, page.clientWidth], figures: []};
  for (const svg of document.querySelectorAll("figure svg")) {
    const box = svg.getBoundingClientRect();
    if (!box.width || svg.closest("details:not([open])")) continue;
    const text = [...svg.querySelectorAll("text")].map(t => t.getBoundingClientRect());
    found.figures.push({
      box: [box.left, box.top, box.width, box.height],
      height: Math.min(...text.map(t => t.height)),
      out: text.filter(t => t.left < box.left - 1 || t.right > box.right + 1).length,
    });
  }
  found.tables = [...document.querySelectorAll(".scroll")].map(t => [t.clientWidth, t.scrollWidth]);
  found.filled = [...document.querySelectorAll(".figures")].map(row => {
    const all = row.getBoundingClientRect(), last = row.lastElementChild.getBoundingClientRect();
    return (last.right - all.left) / all.width;
  });
  found.hint = getComputedStyle(document.querySelector(".scroll")).backgroundAttachment;
  parent.document.getElementById("found" + page.clientWidth).textContent = JSON.stringify(found);
})</script></html>"""


WIDTHS_PX = (360, 400, 1400)


@pytest.fixture(scope="module")
def measured(
    report: Path, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[int], dict[str, Any]]:
    """What a browser finds on the page at each width; one browser for all, as it starts slowly."""
    page = tmp_path_factory.mktemp("measured") / "measured.html"
    # The page forbids every script, also this one.
    text = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", report.read_text())
    text = html.escape(text.replace("</html>", _MEASURE))
    # A browser without a screen makes no window as narrow as a phone's; a frame can be.
    page.write_text(
        "".join(
            f'<p id="found{width_px}"></p>'
            f'<iframe width="{width_px}" height="900" srcdoc="{text}"></iframe>'
            for width_px in WIDTHS_PX
        )
    )
    done = browse(page, 0, "--window-size=1600,1000", "--dump-dom")

    def at(width_px: int) -> dict[str, Any]:
        found = re.search(f'<p id="found{width_px}">([^<]+)</p>', done.stdout)
        assert found, done.stderr
        return json.loads(html.unescape(found.group(1)))

    return at


@needs_browser
@pytest.mark.parametrize("width_px", WIDTHS_PX)
def test_a_browser_shows_every_figure_and_no_page_scrolls_sideways(
    report: Path, measured: Callable[[int], dict[str, Any]], tmp_path: Path, width_px: int
) -> None:
    found = measured(width_px)
    width, height, view = found["page"]
    assert view == width_px
    assert width <= width_px
    # Bars, distribution, two open timelines: the third is folded.
    assert len(found["figures"]) == 8 + 1 + 2
    for figure in found["figures"]:
        assert figure["height"] >= 9, "letters too small to read"
        assert figure["out"] == 0, "letters run out of their figure"

    # A table that is wider than a phone has a shadow over its edge; a desktop has room for all.
    wider = [table for table in found["tables"] if table[1] > table[0]]
    assert found["hint"] == "local, scroll"
    assert not wider if width_px == 1400 else wider
    assert min(found["filled"]) > 0.6, "a row of figures leaves most of its width blank"

    picture = tmp_path / "picture.png"
    done = browse(report, width_px, f"--window-size={width_px},{height}", f"--screenshot={picture}")
    assert "CONSOLE" not in done.stderr, done.stderr
    read = cv2.imread(str(picture))
    assert read is not None
    pixels = read.astype(np.int16)
    assert pixels.shape[:2] == (height, width_px)
    for figure in found["figures"]:
        left, top, w, h = (int(v) for v in figure["box"])
        part = pixels[top : top + h, left : left + w]
        colourful = (part.max(axis=2) - part.min(axis=2)) > 40
        assert colourful.mean() > 0.0005, "a figure is blank"  # three marks are enough
        colours = part.astype(np.int32) @ (1 << 16, 1 << 8, 1)  # one number each sorts fast
        assert len(np.unique(colours)) > 20


@needs_browser
def test_a_console_error_would_be_seen(report: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken.html"
    broken.write_text(report.read_text().replace("</html>", "<script>nonsense()</script></html>"))
    picture = tmp_path / "picture.png"
    assert "CONSOLE" in browse(broken, 400, f"--screenshot={picture}").stderr


def test_help_explains() -> None:
    done = dapdee("--help")
    assert done.returncode == 0
    for words in ("oracle", "--figures", "--json", "run.json"):
        assert words in done.stdout


def test_a_report_of_a_folder_lies_in_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    logs, here = tmp_path / "logs", tmp_path / "here"
    logs.mkdir()
    here.mkdir()
    for name in ("monday", "tuesday"):
        shutil.copy(DRIVE, logs / f"{name}.json")
    monkeypatch.chdir(here)
    for given in ([logs], sorted(logs.glob("*.json"))):
        done = dapdee(*given, "--no-figures")
        assert done.returncode == 0, done.stderr
        assert (logs / "report.html").exists() and not list(here.iterdir())
        (logs / "report.html").unlink()
