"""◆ The machine's time."""

from __future__ import annotations

import time


class SystemClock:
    """See `invoker.ports.Clock`."""

    monotonic_ns = staticmethod(time.monotonic_ns)
    time_ns = staticmethod(time.time_ns)
