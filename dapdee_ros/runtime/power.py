"""How much power this machine takes, where its kernel says so.

In this order: RAPL's energy counters of the processor packages (``/sys/class/powercap``; since
Linux 5.10 only root may read them), a power sensor such as an INA219 (``power1_input`` of a
``/sys/class/hwmon`` device, in microwatts: Documentation/hwmon/sysfs-interface), the battery's own
measurement while it discharges (``/sys/class/power_supply``). A sensor of the whole board counts
everything on it, RAPL only the processor and its memory.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

SYSFS = Path("/sys")
SAMPLE_S = 0.05
_MICRO = 1e-6

Result = TypeVar("Result")


@dataclass(frozen=True)
class PowerMeter:
    """A way to read power.

    Attributes:
        source: which, for whoever reads the numbers.
        counters: files with joules used so far, in microjoules, with where each starts again.
        watts: reads the power now; None where there are counters.
    """

    source: str
    counters: tuple[tuple[Path, int], ...] = ()
    watts: Callable[[], float] | None = None

    @classmethod
    def find(cls, sysfs: Path = SYSFS) -> PowerMeter | None:
        """The best one that can be read here; None if there is none."""
        packages = [
            (path / "energy_uj", _whole(path / "max_energy_range_uj") or 0)
            for path in sorted(sysfs.glob("class/powercap/intel-rapl:*"))
            # Subdomains have two colons, and are parts of their package.
            if path.name.count(":") == 1 and _whole(path / "energy_uj") is not None
        ]
        if packages:
            return cls("RAPL, processor packages", tuple(packages))
        for sensor in sorted(sysfs.glob("class/hwmon/hwmon*/power1_input")):
            if _whole(sensor) is not None:
                name = _text(sensor.parent / "name") or "sensor"
                return cls(f"hwmon {name}", watts=partial(_sensor_w, sensor))
        for battery in sorted(sysfs.glob("class/power_supply/*")):
            if _battery_w(battery) is not None:
                return cls(f"battery {battery.name}", watts=partial(_battery_or_none_w, battery))
        return None

    def during(self, work: Callable[[], Result]) -> tuple[float, Result]:
        """The mean power in W while something is done, and what it returns."""
        if self.counters:
            before, started = self._counted(), time.monotonic()
            result = work()
            used_uj = sum(
                (now - then) % (around + 1) if around else now - then
                for now, then, (_, around) in zip(
                    self._counted(), before, self.counters, strict=True
                )
            )
            return _MICRO * used_uj / max(time.monotonic() - started, 1e-9), result
        assert self.watts is not None
        seen, over = [self.watts()], threading.Event()

        def sample() -> None:
            while not over.wait(SAMPLE_S):
                seen.append(self.watts())  # type: ignore[misc]

        thread = threading.Thread(target=sample, name="power", daemon=True)
        thread.start()
        try:
            result = work()
        finally:
            over.set()
            thread.join()
        return sum(seen) / len(seen), result

    def _counted(self) -> list[int]:
        return [_whole(path) or 0 for path, _ in self.counters]


def _sensor_w(sensor: Path) -> float:
    return _MICRO * (_whole(sensor) or 0)


def _battery_or_none_w(battery: Path) -> float:
    """0 once it is charged: the machine is on the mains then."""
    return _battery_w(battery) or 0.0


def _battery_w(battery: Path) -> float | None:
    """What a battery gives, in W; None unless it discharges and says so."""
    if _text(battery / "type") != "Battery" or _text(battery / "status") != "Discharging":
        return None
    power_uw = _whole(battery / "power_now")
    if power_uw is not None:
        return _MICRO * abs(power_uw)
    current_ua, voltage_uv = _whole(battery / "current_now"), _whole(battery / "voltage_now")
    if current_ua is None or voltage_uv is None:
        return None
    return abs(current_ua) * _MICRO * voltage_uv * _MICRO


def _text(path: Path) -> str | None:
    try:
        return path.read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        return None


def _whole(path: Path) -> int | None:
    text: Any = _text(path)
    try:
        return None if text is None else int(text)
    except ValueError:
        return None
