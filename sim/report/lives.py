"""◇ The lives of containers, drawn from a decision log: each container a row, what it was doing in colours.

The log holds what happened and what was decided, not the states between. The heart that wrote it is fed with it again,
and its containers are looked at after every step.
"""

# Matplotlib's and pandas' own types leave much open, which would be reported at nearly every line here.
# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false, reportUnknownVariableType=false
# pyright: reportUnknownLambdaType=false

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import pandas as pd
from matplotlib.patches import Patch

from invoker.policy import PolicySet, Pool, step
from invoker.policy.container import Container, State
from invoker.policy.decision import Decision
from invoker.policy.types import ContainerId
from sim.report.figures import STATE_ROLES
from sim.report.style import Picture, canvas, colour, styled, time_axis
from sim.timeline import PLACES, STATES

CONTAINERS_MAX: Final = 60
"""More rows than this can't be told apart."""


def lives(policies: PolicySet, decisions: Iterable[Decision]) -> pd.DataFrame:
    """A row for each stretch of a container's life: `container` (its number), `function` (its name, "" while it has no
    code), `state` (of `sim.timeline.STATES`), `begin_ns`, `end_ns`; ordered by container and time."""
    pool = Pool(policies)
    now: dict[ContainerId, tuple[str, str, int]] = {}
    rows: list[tuple[int, str, str, int, int]] = []
    at_ns = 0
    for decision in decisions:
        at_ns = decision.now_ns
        for container in _touched(pool, decision):
            present = _doing(container)
            state, function, since_ns = now.get(container.id, ("", "", at_ns))
            if present == (state, function):
                continue
            if state:
                rows.append((container.id, function, state, since_ns, at_ns))
            now[container.id] = (*present, at_ns)
        for number in [number for number in now if number not in pool.containers]:
            state, function, since_ns = now.pop(number)
            rows.append((number, function, state, since_ns, at_ns))
    rows += [(number, function, state, since_ns, at_ns) for number, (state, function, since_ns) in now.items()]
    frame = pd.DataFrame(rows, columns=["container", "function", "state", "begin_ns", "end_ns"])
    return frame.sort_values(["container", "begin_ns"], ignore_index=True)


def _touched(pool: Pool, decision: Decision) -> list[Container]:
    """The containers that the step was about, after it."""
    actions = step(pool, decision.now_ns, decision.event)
    numbers = dict.fromkeys(getattr(what, "container", ContainerId(0)) for what in (decision.event, *actions))
    return [container for number in numbers if (container := pool.containers.get(number)) is not None]


def _doing(container: Container) -> tuple[str, str]:
    function = container.function.key.name if container.function is not None else ""
    return STATES[PLACES[container.state]], function if container.state is not State.STARTING else ""


@styled
def lives_picture(lives: pd.DataFrame, title: str = "The lives of containers") -> Picture:
    """The frame of `lives` as rows of coloured bars, the first container on top; CONTAINERS_MAX of them at most."""
    numbers = list(dict.fromkeys(lives["container"]))[:CONTAINERS_MAX]
    picture, axes = canvas(title, height_in=1.5 + 0.2 * len(numbers))
    begin_ns = int(lives["begin_ns"].min()) if len(lives) else 0
    span_ns = int(lives["end_ns"].max()) - begin_ns if len(lives) else 0
    unit_ns = time_axis(axes, max(span_ns, 1), "time")
    labels: list[str] = []
    for row, number in enumerate(numbers):
        own = lives[lives["container"] == number]
        spans = list(
            zip((own["begin_ns"] - begin_ns) / unit_ns, (own["end_ns"] - own["begin_ns"]) / unit_ns, strict=True)
        )
        axes.broken_barh(spans, (row - 0.36, 0.72), facecolors=[colour(STATE_ROLES[state]) for state in own["state"]])
        names = [name for name in own["function"] if name]
        labels.append(f"{names[-1] if names else 'no code'} {number}")
    axes.set_yticks(range(len(numbers)), labels)
    axes.set_ylim(len(numbers) - 0.4, -0.6)
    axes.tick_params(axis="y", labelcolor=colour("ink"))
    axes.grid(visible=False, axis="y")
    axes.grid(visible=True, axis="x")
    seen = [state for state in STATES if (lives["state"] == state).any()]
    picture.legend(
        handles=[Patch(color=colour(STATE_ROLES[state]), label=state) for state in seen],
        loc="outside lower center",
        ncols=len(seen),
        frameon=False,
        handlelength=1,
        handleheight=1,
        columnspacing=1.4,
    )
    shown = (
        f"the first {len(numbers)} of {lives['container'].nunique()}"
        if len(numbers) < lives["container"].nunique()
        else f"{len(numbers)}"
    )
    picture.alt = f"{title}: {shown} containers over {span_ns / 1e9:.1f} s, each a row of what it was doing."
    return picture
