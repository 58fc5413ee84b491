"""◇ A node's topic, and how far its reader has committed: the model of `invoker.kafka_intake`'s bookkeeping."""

from __future__ import annotations

from collections import OrderedDict, deque

from invoker.policy.types import ActivationId
from sim.cluster.columns import Errand
from sim.cluster.spec import Delivery

ANSWERS_LIMIT = 256
"""So many acknowledgements may be on their way before reading stops (the invoker's `answers_limit`)."""
UNCOMMITTED_LIMIT = 1_000
"""At least once: from the oldest message that is not through to the newest read (the invoker's `uncommitted_limit`)."""


class Topic:
    """Messages in the order in which they came. At most once, a message is committed when it is read; at least once,
    when all up to it are through."""

    def __init__(self, delivery: Delivery) -> None:
        self._at_least_once = delivery == "at-least-once"
        self._unread: deque[Errand] = deque()
        self._begun: OrderedDict[ActivationId, tuple[Errand, bool]] = OrderedDict()

    def __len__(self) -> int:
        """Not read."""
        return len(self._unread)

    @property
    def room(self) -> int:
        """How many more may be read before one of those begun is through."""
        return UNCOMMITTED_LIMIT - len(self._begun)

    def append(self, errand: Errand) -> None:
        """A controller's message is in the topic."""
        self._unread.append(errand)

    def read(self, count: int) -> list[Errand]:
        """The next messages, in order."""
        read = [self._unread.popleft() for _ in range(min(count, len(self._unread)))]
        if self._at_least_once:
            self._begun.update((errand.activation, (errand, False)) for errand in read)
        return read

    def through(self, errand: Errand) -> None:
        """Its acknowledgement is delivered."""
        begun = self._begun
        if errand.activation in begun:
            begun[errand.activation] = (errand, True)
            while begun and next(iter(begun.values()))[1]:
                begun.popitem(last=False)

    def commit(self) -> None:
        """All that was read is through."""
        self._begun.clear()

    def rewind(self) -> list[Errand]:
        """The reader is gone, the next begins where it had committed. Returns what will be read again."""
        again = [errand for errand, _ in self._begun.values()]
        self._begun.clear()
        self._unread.extendleft(reversed(again))
        return again

    def clear(self) -> list[Errand]:
        """Nobody will ever read it: what is left in it."""
        left = list(self._unread)
        self._unread.clear()
        return left
