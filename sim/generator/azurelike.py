"""◇ A workload like a public cloud's: a population with the published marginals, calling as it does."""

from __future__ import annotations

import msgspec

from sim.generator import population
from sim.generator.arrivals import DAY_NS, Renewal

DAY_S = DAY_NS / 1e9


class AzureLike(msgspec.Struct, frozen=True, kw_only=True, tag="azure-like"):
    """What to draw. `load` multiplies every rate: 10,000 functions of a cloud make some 1,400 invocations a second.

    `arrivals_seed` is of when they call and how long they run; None: `seed`, as that of the functions. Another one is
    another day of the same functions, so that several give an interval for these.
    """

    functions: int = 1000
    duration_s: float = DAY_S
    load: float = 1.0
    seed: int = 0
    arrivals_seed: int | None = None

    def drawn(self) -> tuple[population.Drawn, ...]:
        """The functions with all that is known of them, before `load`."""
        return population.draw(self.functions, self.seed)

    def build(self) -> Renewal:
        """The workload. Its functions are `sim.traces.TraceFunction`, so that they keep their triggers."""
        drawn = self.drawn()
        return Renewal(
            population.named(drawn),
            per_s=[one.per_day * self.load / DAY_S for one in drawn],
            gap_cv=[one.gap_cv for one in drawn],
            run_ns=[one.run_s * 1e9 for one in drawn],
            swings=[one.swings for one in drawn],
            duration_s=self.duration_s,
            seed=self.seed if self.arrivals_seed is None else self.arrivals_seed,
        )
