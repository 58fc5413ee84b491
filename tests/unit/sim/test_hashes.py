"""The decisions of simulations are those of the committed hashes, whatever Python runs them and however it hashes.

With UPDATE_GOLDEN=1 the hashes are written instead: only when the heart or the model is meant to behave otherwise.
Other Pythons are looked for on PATH and where pyenv and uv keep theirs, and in SIM_TEST_PYTHONS (paths, separated as on
PATH); those that can import msgspec run the same.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.golden import UPDATE
from tests.support.simulations import GOLDEN, hashes

ROOT = Path(__file__).parents[3]
COMMITTED = ROOT / "tests" / "data" / "simulations" / "hashes.json"
ASK = "import msgspec, sys; print(sys.version.split()[0])"
HASH_SEEDS = ("0", "1", "4294967295")


def other_pythons() -> dict[str, str]:
    """Version to program of each Python from 3.11 on, but this one, that can run the simulator's core."""
    uv = Path(os.environ.get("UV_PYTHON_INSTALL_DIR", Path.home() / ".local" / "share" / "uv" / "python"))
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    minors = [f"3.{minor}" for minor in range(11, 15)]
    programs = [
        *filter(None, os.environ.get("SIM_TEST_PYTHONS", "").split(os.pathsep)),
        *filter(None, (shutil.which(f"python{minor}") for minor in minors)),
        *(str(path) for minor in minors for path in sorted(pyenv.glob(f"{minor}.*/bin/python"))),
        *(str(path) for minor in minors for path in sorted(uv.glob(f"cpython-{minor}.*/bin/python3"))),
    ]
    found: dict[str, str] = {}
    for program in programs:
        asked = subprocess.run([program, "-c", ASK], capture_output=True, text=True, check=False)
        if asked.returncode == 0:
            found.setdefault(asked.stdout.strip(), program)
    found.pop(sys.version.split()[0], None)
    return found


def told_by(program: str, hash_seed: str) -> dict[str, str]:
    """The hashes as that Python finds them."""
    environment = {**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}
    told = subprocess.run(
        [program, "-m", "tests.support.simulations"],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(told.stdout)


def test_the_decisions_are_these_for_ever() -> None:
    found = hashes()
    if os.environ.get(UPDATE):
        COMMITTED.parent.mkdir(parents=True, exist_ok=True)
        COMMITTED.write_text(json.dumps(found, indent=1) + "\n")
    assert found == json.loads(COMMITTED.read_text())
    assert len(set(found.values())) == len(GOLDEN)


@pytest.mark.parametrize("hash_seed", HASH_SEEDS)
def test_no_hash_seed_changes_them(hash_seed: str) -> None:
    assert told_by(sys.executable, hash_seed) == json.loads(COMMITTED.read_text())


def test_no_other_python_changes_them(capsys: pytest.CaptureFixture[str]) -> None:
    others = other_pythons()
    ran = [version for version, program in others.items() if told_by(program, "7") == json.loads(COMMITTED.read_text())]
    with capsys.disabled():
        beside = ", ".join(ran) or "no other that can import msgspec"
        print(f"\nsimulations decide the same on Python {sys.version.split()[0]} and: {beside}")
    assert ran == list(others)
