"""Runs a notebook that is kept as a Python file, and writes it with its outputs (as JSON) to standard output.

A process of its own: a kernel's client leaves sockets to the garbage collector, which the test run takes for leaks.
Run: `python -m tests.support.notebook NOTEBOOK DIRECTORY SOCKETS`: the notebook's working directory, and one for the
sockets between it and its kernel.
"""

from __future__ import annotations

import sys
from pathlib import Path

import jupytext
import nbformat
from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

CELL_TIMEOUT_S = 60


def main(path: Path, directory: Path, sockets: Path) -> int:
    """Execute the notebook; 1 where a cell fails, which is told on standard error."""
    notebook = jupytext.read(path)
    # Not over TCP: a port would be open to whoever is on the machine.
    manager = AsyncKernelManager(kernel_name="python3", transport="ipc", ip=str(sockets / "kernel"))
    resources = {"metadata": {"path": str(directory)}}
    try:
        NotebookClient(notebook, km=manager, timeout=CELL_TIMEOUT_S, resources=resources).execute()
    except CellExecutionError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    nbformat.write(notebook, sys.stdout)
    return 0


if __name__ == "__main__":
    sys.exit(main(*map(Path, sys.argv[1:])))
