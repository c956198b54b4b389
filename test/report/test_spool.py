import math
from dataclasses import dataclass, field

from dapdee_ros.report.spool import Spool


@dataclass
class Reading:
    at_s: float
    truth: int | None = None
    names: list[str] = field(default_factory=list)


def test_what_is_kept_comes_back_in_order_and_more_can_follow() -> None:
    spool = Spool(Reading)
    kept = [Reading(0.1 * n, n if n % 2 else None, ["stage1", f"é\n{n}"]) for n in range(50)]
    for reading in kept[:30]:
        spool.append(reading)
    assert len(spool) == 30
    assert spool.read() == kept[:30]
    for reading in kept[30:]:
        spool.append(reading)
    assert spool.read() == kept
    spool.append(Reading(math.nan))
    assert math.isnan(spool.read()[-1].at_s)
    spool.close()
