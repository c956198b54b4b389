"""Reading the machine's power, from files as the kernel lays them out."""

from __future__ import annotations

from pathlib import Path

import pytest

from dapdee_ros.runtime.power import PowerMeter


def write(folder: Path, **files: object) -> Path:
    folder.mkdir(parents=True)
    for name, value in files.items():
        (folder / name).write_text(f"{value}\n")
    return folder


def test_a_machine_that_says_nothing_has_no_meter(tmp_path: Path) -> None:
    assert PowerMeter.find(tmp_path) is None
    write(tmp_path / "class/hwmon/hwmon0", name="cpu_thermal", temp1_input=40000)
    write(tmp_path / "class/power_supply/AC", type="Mains", online=1)
    assert PowerMeter.find(tmp_path) is None


def test_rapl_counts_packages_once_and_over_their_end(tmp_path: Path) -> None:
    first = write(tmp_path / "class/powercap/intel-rapl:0", energy_uj=900, max_energy_range_uj=999)
    write(tmp_path / "class/powercap/intel-rapl:0:0", energy_uj=5, max_energy_range_uj=999)
    second = write(tmp_path / "class/powercap/intel-rapl:1", energy_uj=100, max_energy_range_uj=999)
    meter = PowerMeter.find(tmp_path)
    assert meter is not None and len(meter.counters) == 2
    clock = __import__("time").monotonic

    def work() -> float:
        (first / "energy_uj").write_text("100\n")  # 200 on, around its end
        (second / "energy_uj").write_text("400\n")
        started = clock()
        while clock() - started < 0.05:
            pass
        return clock() - started

    watts, took_s = meter.during(work)
    assert watts == pytest.approx(500e-6 / took_s, rel=0.5)


def test_a_sensor_and_a_battery(tmp_path: Path) -> None:
    battery = write(
        tmp_path / "class/power_supply/BAT0", type="Battery", status="Charging",
        current_now=-1_500_000, voltage_now=12_000_000,
    )  # fmt: skip
    assert PowerMeter.find(tmp_path) is None
    (battery / "status").write_text("Discharging\n")
    meter = PowerMeter.find(tmp_path)
    assert meter is not None and meter.source == "battery BAT0"
    assert meter.during(lambda: "done") == (pytest.approx(18.0), "done")
    # What measures the board comes first.
    write(tmp_path / "class/hwmon/hwmon3", name="ina219", power1_input=6_400_000)
    meter = PowerMeter.find(tmp_path)
    assert meter is not None and meter.source == "hwmon ina219"
    assert meter.during(lambda: None)[0] == pytest.approx(6.4)
