"""◆ Draws docs/container-life.svg from the table of transitions in invoker/policy/container.py.

Only the places are chosen here: where a box stands, which way an arrow goes. What may happen comes from the table
alone; a pair of states that has rows but no arrow here, or an arrow without rows, stops the drawing.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from invoker.policy.container import TRANSITIONS, Input, State

PICTURE = Path(__file__).resolve().parents[1] / "docs" / "container-life.svg"
WIDTH, HEIGHT = 1120, 640


class Box(NamedTuple):
    """A state's place: centre and size, in pixels."""

    x: int
    y: int
    width: int = 120
    height: int = 44


class Arrow(NamedTuple):
    """A way from state to state: an SVG path, and where its first label line stands (anchored at `anchor`)."""

    path: str
    x: int
    y: int
    anchor: str = "middle"


BOXES = {
    State.STARTING: Box(90, 190),
    State.PREWARM: Box(290, 190),
    State.BUSY: Box(490, 190),
    State.IDLE: Box(690, 190),
    State.PAUSING: Box(870, 190),
    State.PAUSED: Box(1040, 190),
    State.UNPAUSING: Box(780, 70),
    State.TAINTED: Box(400, 330),
    State.REMOVING: Box(660, 480, 880),
    State.GONE: Box(360, 590, 260),
    State.QUARANTINED: Box(660, 590, 260),
}

ARROWS = {
    (State.STARTING, State.PREWARM): Arrow("M150 190 H228", 190, 182),
    (State.STARTING, State.BUSY): Arrow("M120 168 C200 110 380 110 450 166", 290, 118),
    (State.STARTING, State.GONE): Arrow("M110 212 V590 H228", 120, 582, "start"),
    (State.STARTING, State.QUARANTINED): Arrow("M70 212 V626 H640 V614", 120, 618, "start"),
    (State.PREWARM, State.BUSY): Arrow("M350 190 H428", 390, 182),
    (State.BUSY, State.IDLE): Arrow("M550 182 H628", 590, 174),
    (State.IDLE, State.BUSY): Arrow("M630 200 H552", 590, 216),
    (State.IDLE, State.PAUSING): Arrow("M750 190 H808", 771, 182),
    (State.PAUSING, State.PAUSED): Arrow("M930 190 H978", 954, 182),
    (State.PAUSED, State.UNPAUSING): Arrow("M1040 168 V70 H842", 950, 62),
    (State.UNPAUSING, State.BUSY): Arrow("M720 70 H510 V166", 610, 62),
    (State.BUSY, State.TAINTED): Arrow("M470 212 L415 306", 436, 262, "end"),
    (State.PREWARM, State.REMOVING): Arrow("M290 212 V456", 298, 400, "start"),
    (State.TAINTED, State.REMOVING): Arrow("M400 352 V456", 408, 400, "start"),
    (State.BUSY, State.REMOVING): Arrow("M510 212 V456", 518, 400, "start"),
    (State.IDLE, State.REMOVING): Arrow("M670 212 V456", 678, 400, "start"),
    (State.UNPAUSING, State.REMOVING): Arrow("M795 92 V456", 789, 300, "end"),
    (State.PAUSING, State.REMOVING): Arrow("M870 212 V456", 878, 400, "start"),
    (State.PAUSED, State.REMOVING): Arrow("M1040 212 V456", 1048, 400, "start"),
    (State.REMOVING, State.GONE): Arrow("M360 502 V566", 368, 540, "start"),
    (State.REMOVING, State.QUARANTINED): Arrow("M660 502 V566", 668, 540, "start"),
}

ALIVE, ENDING = "#e0f2fe", "#f1f5f9"
LINE_PX = 15


def rows() -> dict[tuple[State, State], list[Input]]:
    """The table's inputs, gathered by the pair of states that they lead from and to."""
    gathered: dict[tuple[State, State], list[Input]] = {}
    for state, moves in TRANSITIONS.items():
        for by, target in moves.items():
            gathered.setdefault((state, target), []).append(by)
    return gathered


def draw() -> str:
    """The picture. Raises ValueError where the places chosen here and the table differ."""
    gathered = rows()
    pairs = {pair for pair in gathered if pair[0] is not pair[1]}
    if pairs ^ ARROWS.keys():
        told = sorted(f"{a.value} -> {b.value}" for a, b in pairs ^ ARROWS.keys())
        raise ValueError(f"the arrows drawn and the table of transitions differ in: {', '.join(told)}")
    body = [*(line for pair in ARROWS for line in _arrow(pair, gathered[pair])), *_boxes(gathered)]
    return "\n".join([*_head(), *body, "</svg>", ""])


def _head() -> Iterator[str]:
    yield (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" '
        'font-family="Helvetica, Arial, sans-serif" font-size="12" role="img">'
    )
    yield "<title>The life of a container: states, and what leads from one to the next</title>"
    yield (
        '<defs><marker id="tip" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="7" markerHeight="7" orient="auto">'
        '<path d="M0 0 L10 5 L0 10 z" fill="#475569"/></marker></defs>'
    )
    yield f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>'
    yield '<text x="20" y="30" font-size="16" font-weight="bold" fill="#0f172a">The life of a container</text>'
    yield '<text x="20" y="50" fill="#475569">in grey: what may happen to it and leave it as it is</text>'


def _arrow(pair: tuple[State, State], inputs: list[Input]) -> Iterator[str]:
    arrow = ARROWS[pair]
    yield f'<path d="{arrow.path}" fill="none" stroke="#475569" stroke-width="1.5" marker-end="url(#tip)"/>'
    for number, by in enumerate(inputs):
        y = arrow.y + number * LINE_PX
        yield f'<text x="{arrow.x}" y="{y}" text-anchor="{arrow.anchor}" fill="#0f172a">{by}</text>'


def _boxes(gathered: dict[tuple[State, State], list[Input]]) -> Iterator[str]:
    for state, box in BOXES.items():
        fill = ENDING if state in (State.REMOVING, State.GONE, State.QUARANTINED) else ALIVE
        left, top = box.x - box.width // 2, box.y - box.height // 2
        yield (
            f'<rect x="{left}" y="{top}" width="{box.width}" height="{box.height}" rx="8" fill="{fill}" '
            'stroke="#0369a1" stroke-width="1.5"/>'
        )
        stays = ", ".join(gathered.get((state, state), []))
        y = box.y - 2 if stays else box.y + 5
        yield (
            f'<text x="{box.x}" y="{y}" text-anchor="middle" font-size="14" font-weight="bold" fill="#0f172a">'
            f"{state.name}</text>"
        )
        if stays:
            yield (
                f'<text x="{box.x}" y="{box.y + 14}" text-anchor="middle" font-size="10" fill="#64748b">{stays}</text>'
            )


if __name__ == "__main__":
    PICTURE.write_text(draw(), "utf-8")
    print(f"wrote {PICTURE.name}", file=sys.stderr)
