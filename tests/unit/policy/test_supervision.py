"""How a controller judges an invoker: by its pings, its silence, and what becomes of activations."""

from __future__ import annotations

import pytest

from invoker.policy.balancing.supervision import Health, Result, Supervisor
from invoker.policy.types import SECOND_NS

UP, UNHEALTHY, UNRESPONSIVE, DOWN = Health.HEALTHY, Health.UNHEALTHY, Health.UNRESPONSIVE, Health.OFFLINE
OK: Result = "success"
BAD: Result = "system error"
LATE: Result = "timeout"


def there() -> Supervisor:
    """One that has pinged once."""
    supervisor = Supervisor()
    assert supervisor.pinged(0), "a test at once"
    return supervisor


def test_nobody_is_usable_before_it_proved_itself() -> None:
    supervisor = Supervisor()
    assert supervisor.health is DOWN
    assert supervisor.next_ns == 0
    assert supervisor.pinged(0)
    assert (supervisor.health, supervisor.usable) == (UNHEALTHY, False)
    assert not supervisor.pinged(SECOND_NS), "a second ping is no news"
    assert supervisor.resulted(SECOND_NS, OK), "one more test, as the reference does"
    assert (supervisor.health, supervisor.usable) == (UP, True)


@pytest.mark.parametrize(
    ("results", "states"),
    [
        ([BAD] * 4 + [OK] * 7, [UNHEALTHY] * 10 + [UP]),
        ([BAD, OK, BAD], [UNHEALTHY, UP, UNHEALTHY]),
        ([LATE, OK, LATE], [UNRESPONSIVE, UP, UNRESPONSIVE]),
        ([OK, OK, OK, BAD, BAD, BAD, BAD], [UP] * 6 + [UNHEALTHY]),
        ([OK, OK, OK, LATE, LATE, LATE, LATE], [UP] * 6 + [UNRESPONSIVE]),
        ([OK] * 3 + [LATE, BAD] * 3 + [LATE], [UP] * 9 + [UNRESPONSIVE]),
        ([OK] * 3 + [LATE] * 4 + [OK] * 6 + [OK], [UP] * 6 + [UNRESPONSIVE] * 7 + [UP]),
    ],
)
def test_more_than_three_bad_results_of_the_last_ten_make_one_unfit(
    results: list[Result], states: list[Health]
) -> None:
    supervisor = there()
    seen: list[Health] = []
    for number, result in enumerate(results):
        supervisor.resulted(number, result)
        seen.append(supervisor.health)
    assert seen == states


def test_who_is_unfit_is_tested_at_once_and_every_minute() -> None:
    supervisor = there()
    for second in range(1, 60):
        assert not supervisor.pinged(second * SECOND_NS)
        assert not supervisor.elapsed(second * SECOND_NS)
    assert supervisor.next_ns == 60 * SECOND_NS
    assert supervisor.elapsed(60 * SECOND_NS)
    assert supervisor.next_ns == 70 * SECOND_NS, "the test counts as news"
    supervisor.resulted(61 * SECOND_NS, OK)
    assert supervisor.next_ns == 71 * SECOND_NS, "who is fit is not tested"
    assert supervisor.resulted(62 * SECOND_NS, LATE), "unfit again: a test"


def test_silence_takes_one_down_and_a_ping_brings_it_back_unproved() -> None:
    supervisor = there()
    supervisor.resulted(SECOND_NS, OK)
    assert not supervisor.elapsed(10 * SECOND_NS)
    assert supervisor.usable
    assert not supervisor.elapsed(11 * SECOND_NS)
    assert supervisor.health is DOWN
    assert not supervisor.resulted(12 * SECOND_NS, OK), "news of activations doesn't bring it back"
    assert supervisor.health is DOWN
    assert not supervisor.elapsed(90 * SECOND_NS)
    assert supervisor.pinged(91 * SECOND_NS)
    assert supervisor.health is UNHEALTHY


def test_one_that_wants_nothing_is_down() -> None:
    supervisor = there()
    assert not supervisor.pinged(1, enabled=False)
    assert supervisor.health is DOWN
    assert not supervisor.pinged(2, enabled=False)
    assert supervisor.health is DOWN
