"""◆ Golden files: what came of a scenario as whole JSON, compared byte for byte with what is committed.

Members that are new on each run are masked, by their names alone; everything else has to be the same. With
UPDATE_GOLDEN=1 the files are written instead of compared.
"""

from __future__ import annotations

import difflib
import json
import os
import re
from pathlib import Path
from typing import Any, cast

UPDATE = "UPDATE_GOLDEN"
MASKED = frozenset(
    {"activationId", "start", "end", "duration", "updated", "_rev", "_id", "waitTime", "initTime", "gbs", "instance"}
)
TEXT_MAX = 2_000
_ID = re.compile(r"[0-9a-f]{32}")
_STAMP = re.compile(r"\d{4}-\d\d-\d\dT[\d:.]+Z *(?= std(?:out|err): )")


def masked(value: Any, name: str = "") -> Any:
    """The same without what is new on each run. Texts longer than 2000 characters are told by their length."""
    if name in MASKED:
        return f"<{name}>"
    if name == "transid":
        return [value[0], "<start>"]
    if isinstance(value, dict):
        members = cast("dict[str, Any]", value)
        if members.keys() == {"key", "value"} and members["key"] in MASKED:
            return {"key": members["key"], "value": f"<{members['key']}>"}
        return {key: masked(each, key) for key, each in members.items()}
    if isinstance(value, list):
        return [masked(each) for each in cast("list[Any]", value)]
    if isinstance(value, str):
        if name == "response" and _ID.fullmatch(value):
            return "<activationId>"
        text = _STAMP.sub("<time>", value)
        return text if len(text) <= TEXT_MAX else f"<{len(text)} characters>"
    return value


def compare(directory: Path, name: str, shown: Any) -> None:
    """Fails, showing the difference, where it is not what the file says; writes the file where it is asked to."""
    file = directory / f"{name}.json"
    text = json.dumps(masked(shown), indent=2, sort_keys=True, ensure_ascii=False) + "\n"
    if os.environ.get(UPDATE) == "1":
        directory.mkdir(exist_ok=True)
        file.write_text(text)
        return
    assert file.exists(), f"there is no {file.name}; {UPDATE}=1 writes it"
    wanted = file.read_text()
    difference = difflib.unified_diff(wanted.splitlines(), text.splitlines(), "golden", "found", lineterm="")
    assert text == wanted, f"{name} is not as it was; {UPDATE}=1 takes it over:\n" + "\n".join(difference)
