"""What a controller believes of its invokers, instant by instant."""

from __future__ import annotations

from invoker.policy.balancing import Request, Sharding, forced_timeout_ms
from invoker.policy.balancing.supervision import SILENCE_NS, TEST_PERIOD_NS, Health
from invoker.policy.types import SECOND_NS, ActivationId
from loadtest.fleet import MS_NS, TOPIC_SILENCE_NS, Fleet

UP, UNHEALTHY, DOWN = Health.HEALTHY, Health.UNHEALTHY, Health.OFFLINE
A, B = 10, 30


def fleet(scale: float = 1) -> Fleet:
    return Fleet({A: 512, B: 512}, Sharding(), scale=scale)


def healthy(scale: float = 1) -> Fleet:
    """Both have pinged and passed a test at instant 0."""
    made = fleet(scale)
    for instance in (A, B):
        assert made.pinged(0, instance, 512, True)
    assert made.take_tests() == [A, B]
    for instance in (A, B):
        made.tested(0, instance, "success")
    made.take_tests()  # one more each, as upstream's controllers send it
    assert set(made.healths().values()) == {UP}
    return made


def request(number: int, memory_mb: int = 512, **more: int) -> Request:
    return Request(activation=ActivationId(f"a{number}"), namespace="n", action="n/act", memory_mb=memory_mb, **more)


def test_one_that_has_proved_nothing_is_tested_and_sent_nothing_else() -> None:
    made = fleet()
    assert made.place(0, request(0)) == (None, True)
    made.pinged(0, A, 512, True)
    assert made.healths() == {A: UNHEALTHY, B: DOWN}
    assert made.take_tests() == [A]
    assert made.take_tests() == []
    assert made.place(0, request(0)) == (None, True)
    made.elapse(TEST_PERIOD_NS)
    assert made.healths()[A] is DOWN, "silent for ten seconds"
    made.pinged(TEST_PERIOD_NS, A, 512, True)
    made.tested(TEST_PERIOD_NS, A, "success")
    assert made.place(TEST_PERIOD_NS, request(0)) == (A, False)


def test_a_stranger_is_not_of_this_cluster() -> None:
    made = fleet()
    assert not made.pinged(0, 11, 512, True)
    made.tested(0, 11, "success")
    assert made.take_tests() == []


def test_http_while_there_is_room_then_the_topic_and_slots_come_back() -> None:
    made = healthy()
    first, second, third = (made.place(0, request(number)) for number in range(3))
    assert {first[0], second[0]} == {A, B}
    assert (first[1], second[1], third[1]) == (False, False, True)
    assert third[0] in (A, B)
    assert third[0] is not None
    assert made.free_mb(third[0]) == -512
    for number, place in enumerate((first, second, third)):
        assert place[0] is not None
        assert made.acknowledged(1, ActivationId(f"a{number}"), place[0], system_error=False)
        assert not made.acknowledged(1, ActivationId(f"a{number}"), place[0], system_error=False), "settled once"
    assert (made.free_mb(A), made.free_mb(B)) == (512, 512)


def test_the_forced_timeout_frees_the_slot_once() -> None:
    made = healthy(scale=0.5)
    instance, _ = made.place(0, request(0, limit_ms=1000))
    assert instance is not None
    limit_ns = forced_timeout_ms(1000) * MS_NS // 2
    for second in range(0, limit_ns - 1, SECOND_NS):
        made.pinged(second, A, 512, True)
        made.pinged(second, B, 512, True)
        assert list(made.elapse(second)) == []
    assert made.free_mb(instance) == 0
    assert list(made.elapse(limit_ns)) == ["a0"]
    assert made.free_mb(instance) == 512
    assert list(made.elapse(limit_ns + 1)) == []
    assert not made.acknowledged(limit_ns + 1, ActivationId("a0"), instance, system_error=False)
    assert made.free_mb(instance) == 512, "a late word frees nothing more"


def test_what_was_not_accepted_leaves_no_trace() -> None:
    made = healthy()
    instance, _ = made.place(0, request(0))
    assert instance is not None
    made.returned(1, ActivationId("a0"))
    assert made.free_mb(instance) == 512
    assert made.healths()[instance] is UP
    assert made.place(2, request(0)) == (instance, False), "it may be placed anew"


def test_a_closed_port_makes_unfit_at_once_and_until_it_answers() -> None:
    made = healthy()
    assert made.absent(1, A)
    assert not made.absent(2, A), "told once"
    assert made.healths() == {A: DOWN, B: UP}
    made.pinged(3, A, 512, True)
    assert made.healths()[A] is DOWN, "it pings by the topic, and can't be reached"
    made.answered(4, A)
    made.pinged(5, A, 512, True)
    assert made.healths()[A] is UNHEALTHY
    assert made.take_tests() == [A]


def test_answers_count_where_nothing_is_heard_by_the_topic() -> None:
    made = fleet()
    made.answered(0, A)
    assert made.healths()[A] is UNHEALTHY
    made.tested(0, A, "success")
    for second in range(60):
        made.answered(second * SECOND_NS, A)
        made.elapse(second * SECOND_NS)
    assert made.healths()[A] is UP
    made.elapse(59 * SECOND_NS + SILENCE_NS)
    assert made.healths()[A] is DOWN


def test_when_kafka_is_away_answers_take_over_without_a_gap() -> None:
    made = healthy()
    for second in range(60):
        made.elapse(second * SECOND_NS)
        assert made.healths()[A] is UP, second
        made.answered(second * SECOND_NS, A)
    assert made.healths()[B] is DOWN


def test_a_disabled_invoker_stays_out_though_it_answers() -> None:
    made = healthy()
    made.pinged(1, A, 512, False)
    for later_ns in (2, TOPIC_SILENCE_NS, 100 * SECOND_NS):
        made.answered(later_ns, A)
        assert made.healths()[A] is DOWN
    made.pinged(100 * SECOND_NS, A, 512, True)
    assert made.healths()[A] is UNHEALTHY


def test_an_invoker_of_unknown_size_has_to_tell_it() -> None:
    made = Fleet({A: 0, B: 0}, Sharding())
    made.answered(0, A)
    assert made.healths()[A] is DOWN
    assert made.free_mb(A) is None
    made.pinged(0, A, 1024, True)
    assert made.free_mb(A) == 1024


def test_breaking_off_counts_against_the_invoker() -> None:
    made = healthy()
    instance, _ = made.place(0, request(0))
    assert instance is not None
    made.lost(1, ActivationId("a0"), instance)
    assert made.free_mb(instance) == 512
    assert made.healths()[instance] is UNHEALTHY
    assert made.take_tests() == [instance]
    made.lost(2, ActivationId("a0"), instance)
    assert made.free_mb(instance) == 512


def test_shares_of_several_controllers() -> None:
    assert Fleet({A: 512, B: 512}, Sharding(), controllers=2).free_mb(A) == 256
