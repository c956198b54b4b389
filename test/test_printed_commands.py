"""The commands of README.md and docs/ run as they are printed, and name options that exist."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from bags.made_bags import make_drive
from support.shared_data import DATA, shared

from bench.printed_commands import (
    ELSEWHERE,
    HERE,
    ROOT,
    SHORT_S,
    Printed,
    documents,
    printed_in,
    run_printed,
)
from dapdee_ros.cli.main import main

# A busy machine takes minutes for what takes half a one otherwise.
pytestmark = pytest.mark.timeout(900)

ALL = [printed for document in documents() for printed in printed_in(document)]
RUN = [printed for printed in ALL if printed.elsewhere is None]


def _simulate(folder: Path, *policies: str) -> None:
    words = [word for name in policies for word in ("--policy", name)]
    options = ["--link", "drive", "--seconds", "2", "--out", str(folder)]
    assert main(["simulate", "roadsigns", *options, *words]) == 0


def _reports(folder: Path) -> None:
    _simulate(folder, "exact", "dads", "oracle")
    (folder / "runs" / "20260101-120000").mkdir(parents=True)
    (folder / "results").mkdir()
    shutil.copy(folder / "exact.json", folder / "runs" / "20260101-120000" / "run.json")
    shutil.copy(folder / "exact.json", folder / "results")


def _recording(folder: Path) -> None:
    make_drive(folder / "drive", image_topic="/front/image_raw", rates_bps=(5e6, 1e6))


def _policy(folder: Path) -> None:
    text = (ROOT / "docs" / "policies.md").read_text(encoding="utf-8")
    written = re.search(r"^```python\n(.*?class FewestBytes.*?)^```", text, re.M | re.S)
    assert written, "docs/policies.md shows no class FewestBytes any more"
    (folder / "mypkg").mkdir()
    (folder / "mypkg" / "mymod.py").write_text(written[1])


def _block_times(folder: Path) -> None:
    rows = ["device,model,first_layer,last_layer,seconds,output_bytes"]
    for device, slow in (("raspberry_pi_4", 10.0), ("pc_6700k_cpu", 1.0)):
        rows += [
            f"{device},vgg16,0,1,{0.03 * slow},400000",
            f"{device},vgg16,2,5,{0.01 * slow},4000",
        ]
    (folder / "layer-times.csv").write_text("\n".join(rows) + "\n")


def _detector(folder: Path) -> None:
    for name in DETECTORS:
        if (DATA / name).is_file():
            shutil.copy(DATA / name, folder)


PREPARED: dict[str, Callable[[Path], None]] = {
    "docs/report.md": _reports,
    "docs/bags.md": _recording,
    "docs/policies.md": _policy,
    "docs/simulation.md": _block_times,
    "docs/import.md": _detector,
    "docs/detector.md": _detector,
}
DETECTORS = ("yolox_nano.onnx", "FastestDet.onnx")


@pytest.fixture(scope="module")
def outcomes(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[dict[Printed, tuple[float, str]]]:
    """Seconds and complaint of every command; two documents at a time."""
    folders = {}
    for document in dict.fromkeys(printed.document for printed in RUN):
        folders[document] = tmp_path_factory.mktemp("printed")
        PREPARED.get(document, lambda folder: None)(folders[document])

    def run_all(document: str) -> dict[Printed, tuple[float, str]]:
        # One after the other: a line may use what the one before it has written.
        return {
            printed: run_printed(printed, folders[document], 3 * SHORT_S)
            for printed in RUN
            if printed.document == document
        }

    found: dict[Printed, tuple[float, str]] = {}
    with ThreadPoolExecutor(2) as pool:
        for of_document in pool.map(run_all, folders):
            found |= of_document
    yield found


@pytest.mark.parametrize("printed", RUN, ids=lambda p: f"{p.document}:{p.line}")
def test_it_runs_as_printed(printed: Printed, outcomes: dict[Printed, tuple[float, str]]) -> None:
    if PREPARED.get(printed.document) is _detector:
        for name in DETECTORS:
            shared(name)
    _, wrong = outcomes[printed]
    assert not wrong, f"{printed.document}:{printed.line}: {printed.command}\n{wrong}"


def test_every_command_is_classed() -> None:
    known = tuple(f"dapdee {name} " for name in HERE)
    unknown = [
        f"{p.document}:{p.line}: {p.command}" for p in RUN if not p.command.startswith(known)
    ]
    assert not unknown, (
        "put these into the table of bench/printed_commands.py: run here, or where else and why "
        f"(a block that holds no commands gets the language `text`): {unknown}"
    )
    starts = [start for start in ELSEWHERE if not any(p.command.startswith(start) for p in ALL)]
    assert not starts, f"nobody prints these any more: {starts}"
    assert len(RUN) > 15


def test_options_that_are_named_exist(capsys: pytest.CaptureFixture[str]) -> None:
    helps: dict[str, str] = {}
    wrong = []
    for document in documents():
        text = re.sub(r"\s+", " ", document.read_text(encoding="utf-8"))
        spans = re.findall(r"`(dapdee [^`]+)`", text)
        spans += [p.command for p in printed_in(document) if p.command.startswith("dapdee ")]
        for span in spans:
            name = span.split()[1]
            if not re.fullmatch(r"[a-z]+", name):
                continue
            if name not in helps:
                with pytest.raises(SystemExit) as ended:
                    main([name, "--help"])
                helps[name] = capsys.readouterr().out
                assert ended.value.code == 0, f"{document.name}: {span}: no such command"
            named = set(re.findall(r"(?<!\S)--[a-z][a-z0-9-]*", span))
            known = set(re.findall(r"--[a-z][a-z0-9-]*", helps[name]))
            wrong += [f"{document.name}: {span}: {o}" for o in sorted(named - known)]
    assert not wrong
    assert len(helps) > 8
