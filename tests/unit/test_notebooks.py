"""Each notebook runs from its first cell to its last, warns of nothing, and shows pictures."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.py"))
RUN_TIMEOUT_S = 100
PICTURE_BYTES_MIN = 5_000
PLACES = ("JUPYTER_RUNTIME_DIR", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "IPYTHONDIR", "MPLCONFIGDIR", "TMPDIR")

Run = subprocess.CompletedProcess[str]


def _run(path: Path, directory: Path) -> Run:
    """Run it; Jupyter's files go into the directory, and so do the notebook's own."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    for name in PLACES:
        place = directory / name.lower()
        place.mkdir(exist_ok=True)
        environment[name] = str(place)
    command = [sys.executable, "-m", "tests.support.notebook", str(path), str(directory)]
    with tempfile.TemporaryDirectory(prefix="nb") as sockets:  # whose names have an upper limit of 107 bytes
        return subprocess.run(
            [*command, sockets], env=environment, capture_output=True, text=True, timeout=RUN_TIMEOUT_S, check=False
        )


def _outputs(done: Run) -> list[Any]:
    assert done.returncode == 0, done.stderr
    return [output for cell in json.loads(done.stdout)["cells"] for output in cell.get("outputs", [])]


def _warnings(outputs: list[Any]) -> list[str]:
    return ["".join(output["text"]) for output in outputs if output.get("name") == "stderr"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_it_runs_and_shows_pictures(path: Path, tmp_path: Path) -> None:
    outputs = _outputs(_run(path, tmp_path))
    assert _warnings(outputs) == []
    pictures = ["".join(output["data"]["image/png"]) for output in outputs if "image/png" in output.get("data", {})]
    assert pictures
    assert min(len(base64.b64decode(picture)) for picture in pictures) > PICTURE_BYTES_MIN


def test_what_goes_wrong_in_one_would_be_seen(tmp_path: Path) -> None:
    notebook = tmp_path / "wrong.py"
    notebook.write_text("# %%\n1 / 0\n")
    done = _run(notebook, tmp_path)
    assert done.returncode == 1
    assert "ZeroDivisionError" in done.stderr
    notebook.write_text("# %%\nimport warnings\nwarnings.warn('careful')\n")
    assert "careful" in "".join(_warnings(_outputs(_run(notebook, tmp_path))))


def test_there_are_five() -> None:
    assert [path.name[:3] for path in NOTEBOOKS] == ["01_", "02_", "03_", "04_", "05_"]
