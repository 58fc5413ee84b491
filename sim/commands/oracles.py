"""◆ `sim oracles`: the simulator held against mathematics."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import msgspec

from invoker.commands.exit_codes import ExitCode
from invoker.errors import CallerFault
from sim.commands import present
from sim.commands.present import JsonFlag

if TYPE_CHECKING:
    from sim.oracles import Oracle, Verdict

INTRODUCTION = """# Oracles

What mathematics says of queues, caches and renewals, beside what the simulator shows: the heart that ships, on the fast
driver (one row is on SimPy too). A row holds where the prediction lies in the 99 % interval over independent runs
(Student's t) and the mean is within 1 % of it; an exact row has to be equal in every run. So that this says something,
the intervals reach at most about 1 % to each side: what is known of the chance that a run had (its load, its gaps) is
taken out of its figure (control variates), and waits are averaged over time, as Poisson arrivals see it. The first
tenth of each run is left out where the node starts empty. The formulas themselves are tested against published tables,
special cases and brute force.

Of rows that are right, one in a hundred misses its interval by chance. Where one does, its oracle is simulated once
more, on other seeds, and the row says so; what is off then as well is off. The seed is fixed, so that this page is the
same wherever it is made.

Made by `sim oracles --markdown > docs/oracles.md`, and compared with a fresh run by a test. `sim oracles --seed 2`
tries other chance.
"""


def oracles(
    *, only: list[str] | None = None, seed: int | None = None, markdown: bool = False, json: JsonFlag = False
) -> int:
    """Hold the simulator against formulas, and tell how far off it is. It takes about a minute.

    Parameters
    ----------
    only
        The oracle of this name, or whose name begins so; may be given several times.
    seed
        Other chance than the page's.
    markdown
        Print docs/oracles.md.
    json
        Print the rows as JSON.
    """
    from sim.oracles import ORACLES, SEED
    from sim.oracles import markdown as page

    chosen = _chosen(ORACLES, only)
    verdicts = list(_judged(chosen, SEED if seed is None else seed))
    if json:
        present.say_json([_row(verdict) for verdict in verdicts])
    elif markdown:
        present.say(INTRODUCTION)
        for line in page(chosen, verdicts):
            present.say(line)
    else:
        _show(verdicts)
    return ExitCode.OK if all(verdict.holds for verdict in verdicts) else ExitCode.APPLICATION_ERROR


def _chosen(every: Sequence[Oracle], only: list[str] | None) -> list[Oracle]:
    if not only:
        return list(every)
    for name in only:
        if not any(oracle.name.lower().startswith(name.lower()) for oracle in every):
            known = ", ".join(oracle.name for oracle in every)
            raise CallerFault(f"there is no oracle {name!r}; there are {known}")
    return [oracle for oracle in every if any(oracle.name.lower().startswith(name.lower()) for name in only)]


def _judged(chosen: Sequence[Oracle], seed: int) -> Iterator[Verdict]:
    from sim.oracles import judge

    for at, oracle in enumerate(chosen, 1):
        present.tell(f"{at}/{len(chosen)} {oracle.name}")
        yield from judge(oracle, seed)


def _row(verdict: Verdict) -> dict[str, object]:
    return {**msgspec.structs.asdict(verdict), "error": verdict.error, "holds": verdict.holds}


def _show(verdicts: Sequence[Verdict]) -> None:
    rows = [
        [
            verdict.oracle,
            verdict.quantity,
            f"{verdict.predicted:.5g}",
            f"{verdict.simulated.mean:.5g}",
            "exact" if verdict.exact else f"{verdict.simulated.low:.5g} - {verdict.simulated.high:.5g}",
            f"{verdict.error:+.2%}",
            verdict.told,
        ]
        for verdict in verdicts
    ]
    for line in present.table(
        ["oracle", "quantity", "predicted", "simulated", "99 % interval", "error", ""], rows, left=2
    ):
        present.say(line)
    off = sum(not verdict.holds for verdict in verdicts)
    present.tell(f"{off} of {len(rows)} are off" if off else f"all {len(rows)} hold")
