"""The pool as a state machine of hypothesis: it chooses what happens, and shrinks what breaks to the fewest steps."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from invoker.policy.pausing import AdaptiveGrace, FixedGrace, NeverPause
from invoker.policy.policyset import PolicySet
from invoker.policy.prewarm import FixedStock, ReactiveStock
from invoker.policy.types import MILLISECOND_NS, SECOND_NS
from tests.support.keep_alives import KEEP_ALIVES
from tests.support.pool_world import World

POLICIES = st.builds(
    PolicySet,
    st.sampled_from(["charged", "reference"]),
    st.sampled_from([512, 1024]),
    keep_alive=st.sampled_from(KEEP_ALIVES),
    pausing=st.sampled_from([FixedGrace(10 * MILLISECOND_NS), AdaptiveGrace(), NeverPause()]),
    prewarm=st.sampled_from([FixedStock(), ReactiveStock(SECOND_NS)]),
    queue_limit=st.sampled_from([3, 50]),
    intake_limit=st.just(2),
    patience_ns=st.sampled_from([0, 100 * MILLISECOND_NS]),
    starts_max=st.sampled_from([1, 2, 100]),
    brief_ns=st.sampled_from([0, 10 * MILLISECOND_NS, SECOND_NS]),
)


class PoolMachine(RuleBasedStateMachine):
    """Rules are what the world may do; `World` checks every invariant after each step, and that all ends well."""

    @initialize(policies=POLICIES)
    def begin(self, policies: PolicySet) -> None:
        self.world = World(policies)

    @rule(which=st.integers(0, 5))
    def arrive(self, which: int) -> None:
        self.world.arrive(which)

    @precondition(lambda self: self.world.pending)
    @rule(index=st.integers(0, 50), fault=st.sampled_from([0, 0, 0, 0, 1, 2, 3, 9]))
    def answer(self, index: int, fault: int) -> None:
        self.world.answer(index, fault)

    @rule(span_ns=st.sampled_from([MILLISECOND_NS, 20 * MILLISECOND_NS, SECOND_NS]))
    def wait(self, span_ns: int) -> None:
        self.world.now_ns += span_ns
        while self.world.fire_due():
            pass

    @rule(number=st.integers(0, 50), oom=st.booleans())
    def die(self, number: int, oom: bool) -> None:
        self.world.die(number, oom)

    @precondition(lambda self: not self.world.draining)
    @rule(first=st.integers(0, 2), second=st.integers(0, 2), reactive=st.booleans())
    def restock(self, first: int, second: int, reactive: bool) -> None:
        self.world.restock(first, second, reactive)

    @precondition(lambda self: self.world.arrived > 10)
    @rule()
    def drain(self) -> None:
        self.world.drain()

    def teardown(self) -> None:
        if hasattr(self, "world"):
            self.world.settle()


TestPoolMachine = PoolMachine.TestCase
TestPoolMachine.settings = settings(max_examples=120, stateful_step_count=60)
