"""The golden files' checker: what it masks, and that it fails where something else differs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.support import golden


def shown(**changes: Any) -> dict[str, Any]:
    """A record of a kind."""
    annotations = [{"key": "waitTime", "value": 7}, {"key": "timeout", "value": False}]
    return {"activationId": "a" * 32, "start": 1, "annotations": annotations, "logs": ["line"]} | changes


def test_what_is_new_on_each_run_does_not_matter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(golden.UPDATE, "1")
    golden.compare(tmp_path, "one", shown(logs=["2026-01-02T03:04:05.678901234Z stdout: said"]))
    monkeypatch.delenv(golden.UPDATE)
    annotations = [{"key": "waitTime", "value": 8}, {"key": "timeout", "value": False}]
    later = {"start": 2, "activationId": "b" * 32, "logs": ["2026-01-02T03:04:06.1Z           stdout: said"]}
    golden.compare(tmp_path, "one", shown(annotations=annotations, **later))


@pytest.mark.parametrize(
    "changes",
    [{"logs": []}, {"more": 1}, {"annotations": [{"key": "waitTime", "value": 7}, {"key": "timeout", "value": True}]}],
)
def test_anything_else_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any]) -> None:
    monkeypatch.setenv(golden.UPDATE, "1")
    golden.compare(tmp_path, "one", shown())
    monkeypatch.delenv(golden.UPDATE)
    with pytest.raises(AssertionError, match="one is not as it was"):
        golden.compare(tmp_path, "one", shown(**changes))
    with pytest.raises(AssertionError, match=r"there is no two\.json"):
        golden.compare(tmp_path, "two", shown())
