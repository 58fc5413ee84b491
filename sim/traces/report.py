"""◇ What a reader did to a trace: published traces are dirty, and a study must be able to say what was changed.

The same files give the same report, byte for byte.
"""

from __future__ import annotations

import msgspec

EXAMPLES_MAX = 3
"""How many places are named for each reason."""


class CleaningReport(msgspec.Struct, kw_only=True):
    """Rows read, and of those the mended (used, after a change) and the dropped, counted by reason.

    A row may be mended for several reasons. `examples` names the first places of each reason as `file:row`, where row 1
    is the header.
    """

    rows: int = 0
    mended: dict[str, int] = msgspec.field(default_factory=dict[str, int])
    dropped: dict[str, int] = msgspec.field(default_factory=dict[str, int])
    examples: dict[str, list[str]] = msgspec.field(default_factory=dict[str, list[str]])

    @property
    def kept(self) -> int:
        """Rows that were used."""
        return self.rows - sum(self.dropped.values())

    def mend(self, reason: str, place: str) -> None:
        """Note a row that is used after a change."""
        self._note(self.mended, reason, place)

    def drop(self, reason: str, place: str) -> None:
        """Note a row that is not used."""
        self._note(self.dropped, reason, place)

    def _note(self, counts: dict[str, int], reason: str, place: str) -> None:
        counts[reason] = counts.get(reason, 0) + 1
        places = self.examples.setdefault(reason, [])
        if len(places) < EXAMPLES_MAX:
            places.append(place)

    def text(self) -> str:
        """A few lines for people."""
        lines = [f"{self.rows} rows read, {self.kept} kept, {sum(self.mended.values())} mendings"]
        for verb, counts in (("mended", self.mended), ("dropped", self.dropped)):
            for reason, count in sorted(counts.items(), key=lambda pair: (-pair[1], pair[0])):
                lines.append(f"  {verb} {count}: {reason} ({', '.join(self.examples[reason])})")
        return "\n".join(lines)
