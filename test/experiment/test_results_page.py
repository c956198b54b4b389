"""docs/results.md and its plots are what the generator makes of docs/results/*.json."""

import json
import re
from pathlib import Path

import matplotlib
import pytest

from dapdee_ros.experiment import results_page
from dapdee_ros.experiment.results_page import answers_to, read_results, write_json

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
WRITE = "write it anew: python -m dapdee_ros.experiment.results_page"


def test_the_page_is_what_the_generator_makes_of_the_json() -> None:
    answers = answers_to(read_results(DOCS / "results"))
    page = (DOCS / "results.md").read_text(encoding="utf-8")
    assert page == results_page.page(answers), WRITE
    assert page.count("\n") <= 170
    assert len(answers) == len(results_page.QUESTIONS)


def test_whatever_the_page_links_to_is_there() -> None:
    page = (DOCS / "results.md").read_text(encoding="utf-8")
    links = {link.partition("#")[0] for link in re.findall(r"\]\(([^)]+)\)", page)}
    assert not [link for link in links if not (DOCS / link).is_file()]
    plots = {f"results/{path.name}" for path in (DOCS / "results").glob("*.svg")}
    assert plots == {link for link in links if link.endswith(".svg")}


def test_the_plots_are_those_of_the_json() -> None:
    pins = (ROOT / "requirements" / "constraints.txt").read_text(encoding="utf-8")
    if f"matplotlib=={matplotlib.__version__}" not in pins:
        pytest.skip(f"drawn with another Matplotlib than {matplotlib.__version__}, which differs")
    for name, svg in results_page.plots(answers_to(read_results(DOCS / "results"))).items():
        assert (DOCS / "results" / name).read_text(encoding="utf-8") == svg, f"{name}: {WRITE}"


def test_a_figure_stands_where_it_belongs() -> None:
    results = read_results(DOCS / "results")
    cell = next(
        one
        for one in results["matrix"]["cells"]
        if (one["model"], one["link"], one["load"], one["codecs"])
        == ("vgg16-cifar10", "wifi", "light", "all")
    )
    plain = next(
        one
        for one in results["matrix"]["cells"]
        if (one["model"], one["link"], one["load"], one["codecs"])
        == ("vgg16-cifar10", "wifi", "light", "f32")
    )
    gain = (
        plain["policies"]["device-only"]["mean_latency_s"]
        / cell["policies"]["exact"]["mean_latency_s"]
    )
    (published,) = [one for one in answers_to(results) if one.name == "published"]
    row = next(row for row in published.rows if row[0] == "vgg16-cifar10, light")
    assert row[1].endswith(f" to {gain:.1f}")


def test_what_was_not_measured_is_left_out(tmp_path: Path) -> None:
    results = read_results(DOCS / "results")
    write_json(tmp_path / "results" / "regret.json", results["regret"])
    results_page.write_page(tmp_path)
    page = (tmp_path / "results.md").read_text(encoding="utf-8")
    assert page.count("\n## ") == 1
    assert (tmp_path / "results" / "drives.svg").is_file()


def test_json_has_no_numbers_that_json_does_not_have(tmp_path: Path) -> None:
    write_json(tmp_path / "a" / "b.json", {"x": 1.5})
    assert json.loads((tmp_path / "a" / "b.json").read_text()) == {"x": 1.5}
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "c.json", {"x": float("nan")})
