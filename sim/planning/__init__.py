"""◇ Planning with the simulator: sweeps over settings, the smallest size that is enough, policies side by side.

All three ask one question many times: what comes out under these settings, with this seed? Who answers it is a
`Measure`, mostly a scenario; where it is computed, a `Workers`: this process, several, or a Dask cluster. Seeds are the
same for all settings (common random numbers), so that what differs is due to the settings.
"""

from sim.planning.capacity import Capacity, Probe, Range, capacity, parse_range
from sim.planning.compare import Comparison, Difference, compare, keep_alive_variants
from sim.planning.grid import Grid, parse_grid
from sim.planning.scenarios import ScenarioMeasure
from sim.planning.sweep import Sweep, sweep
from sim.planning.targets import Target, parse_targets
from sim.planning.task import Measure, Outcome, Setting, Task
from sim.planning.workers import Dask, Processes, ThisProcess, Workers, open_workers

__all__ = [
    "Capacity",
    "Comparison",
    "Dask",
    "Difference",
    "Grid",
    "Measure",
    "Outcome",
    "Probe",
    "Processes",
    "Range",
    "ScenarioMeasure",
    "Setting",
    "Sweep",
    "Target",
    "Task",
    "ThisProcess",
    "Workers",
    "capacity",
    "compare",
    "keep_alive_variants",
    "open_workers",
    "parse_grid",
    "parse_range",
    "parse_targets",
    "sweep",
]
