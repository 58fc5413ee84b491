"""◆ Writes the reference into docs/scenarios.md: `python -m sim.scenario docs/scenarios.md`."""

import sys
from pathlib import Path

from sim.scenario.reference import page

if __name__ == "__main__":
    for name in sys.argv[1:]:
        path = Path(name)
        path.write_text(page(path.read_text("utf-8")), "utf-8")
