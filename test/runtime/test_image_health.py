from dapdee_ros.estimation.health import Level
from dapdee_ros.runtime.image_health import ImageHealth


def test_nobody_publishes() -> None:
    health = ImageHealth()
    health.on_publishers(1.0, "/image_raw", [])
    found = health.judge(2.0)
    assert found.level is Level.STALE
    assert "nobody publishes /image_raw" in found.message


def test_somebody_publishes_and_nothing_comes() -> None:
    health = ImageHealth()
    for second in range(10):
        health.on_publishers(float(second), "/image_raw", ["driver"])
    assert health.judge(3.0).level is Level.OK
    found = health.judge(9.0)
    assert found.level is Level.ERROR
    assert "driver publishes /image_raw, but no image has arrived for 9 s" in found.message
    assert "rmem_max" in found.message


def test_some_are_lost() -> None:
    health = ImageHealth()
    health.on_publishers(0.0, "/image_raw", ["driver"])
    for number in range(20):
        health.on_image(0.1 * number, 1000)
    assert health.judge(2.0).level is Level.OK
    for number in range(20):
        health.on_image(2.0 + 0.1 * number, 1000)
        health.on_lost(2)
    found = health.judge(4.0)
    assert found.level is Level.WARN
    assert "40 of" in found.message
    assert found.values["lost"] == 40
