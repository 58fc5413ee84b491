"""◆ Traces as published, read as workloads; and workloads written as traces.

A module a format: each has `read(...) -> Trace`, which streams the files once, cleans as it goes, and tells in a
`CleaningReport` what it mended and dropped. What a trace doesn't tell, `Choices` decides, from a seed. docs/traces.md
says where each set lives and how its columns are understood.
"""

from sim.traces.report import CleaningReport
from sim.traces.rows import TraceError
from sim.traces.trace import Choices, Trace, TraceFunction

__all__ = ["Choices", "CleaningReport", "Trace", "TraceError", "TraceFunction"]
