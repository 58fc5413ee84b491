"""◇ Oracles: mathematics that the simulator, and with it the heart that ships, is held against.

`ORACLES` are all of them, `judge` holds one against what is simulated; `sim oracles` prints the table.
"""

from __future__ import annotations

from sim.oracles.laws import LAWS
from sim.oracles.lifetimes import LIFETIME_ORACLES
from sim.oracles.oracle import SEED, Oracle, Verdict, judge, markdown
from sim.oracles.queues import QUEUES

ORACLES: tuple[Oracle, ...] = (*QUEUES, *LIFETIME_ORACLES, *LAWS)
"""All oracles, in the order of the table."""

__all__ = ["ORACLES", "SEED", "Oracle", "Verdict", "judge", "markdown"]
