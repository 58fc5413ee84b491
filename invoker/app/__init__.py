"""◆ The invoker put together: which parts there are, and how they are joined, for `invoker dev` and `invoker serve`.

Nothing happens here that isn't construction; `lifecycle` starts and ends what this package builds.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping
from types import MappingProxyType

from invoker.app.common import MIB, Instead, run
from invoker.config import DevSettings, ServeSettings
from invoker.io import logging as invoker_logging
from invoker.io.dev import page as dev_file

__all__ = ["MIB", "Instead", "run", "run_dev", "run_serve"]

log = logging.getLogger(__name__)


def run_serve(settings: ServeSettings, slips: Mapping[str, str] = MappingProxyType({})) -> int:
    """Serve as a node of a cluster. Returns the exit code. `slips`: variables that are probably meant as settings."""
    from invoker.app.serve import Serve  # its neighbours' libraries are only wanted here

    logs = invoker_logging.setup(settings.log_level, settings.log_format, sys.stdout)
    for name, meant in slips.items():
        log.warning("%s is no setting; did you mean %s?", name, meant)
    try:
        return run(Serve(settings, logs).serve())
    finally:
        logs.close()


def run_dev(settings: DevSettings) -> int:
    """Serve everything from one process (no Kafka, no CouchDB). Returns the exit code."""
    from invoker.app.dev import Dev  # a node of a cluster can spare its store

    claim = dev_file.claim(settings.data_dir)
    logs = invoker_logging.setup(settings.log_level, settings.log_format, sys.stdout)
    try:
        return run(Dev(settings, claim, logs).serve())
    finally:
        logs.close()
        claim.release()
