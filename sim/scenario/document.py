"""◆ A scenario file as a tree of settings that knows where each of them stands: YAML, TOML or JSON.

Whoever finds a setting wrong can so name the file and the line; a setting that was changed afterwards is named as such.
"""

from __future__ import annotations

import copy
import json
import pathlib
import re
import tomllib
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final, TypeAlias, cast

from sim.errors import SimulationError

if TYPE_CHECKING:
    import yaml

Path: TypeAlias = tuple[str | int, ...]
Tree: TypeAlias = dict[str, Any]
UNITS: Final = ("_ns", "_ms", "_s", "_mb", "_bytes")
"""How the names of settings end whose values have a unit."""
_POLICIES: Final = ("keep_alive", "pausing", "prewarm", "queueing", "balancer")
_NODES_MAX = 200_000
_DEPTH_MAX = 32


class ScenarioError(SimulationError):
    """A scenario that can't be read; each line of the text names a place, what is wrong there, and a remedy."""


class Document:
    """The settings as they are written (`tree`), under the `name` that errors call them by. Relative paths in them
    start from `directory`."""

    def __init__(self, name: str, tree: Tree, lines: Mapping[Path, int] | None = None, directory: str = "") -> None:
        self.name = name
        self.tree = tree
        self.directory = pathlib.Path(directory)
        self._lines = dict(lines or {})
        self._changed: dict[Path, Any] = {}

    def place(self, path: Path) -> tuple[str, int]:
        """Where the setting stands, as `file:line` and as the line (0 without one), or that it was changed afterwards;
        what has no line of its own stands where that does which it is a part of."""
        for length in range(len(path), -1, -1):
            part = path[:length]
            if part in self._changed:
                return f"{dotted(part)}={self._changed[part]}", 0
            if part in self._lines:
                return f"{self.name}:{self._lines[part]}", self._lines[part]
        return self.name, 0

    def altered(self, changes: Mapping[str, Any]) -> Document:
        """The same with other values at dotted paths. Raises ScenarioError where a path leads through a plain value."""
        made = Document(self.name, copy.deepcopy(self.tree), self._lines, str(self.directory))
        made._changed = dict(self._changed)
        for name in sorted(changes, key=lambda name: not _is_tag(_path(name))):  # a name first, what goes with it then
            path, value = _path(name), changes[name]
            _put(made.tree, path, value, name)
            made._changed[path] = value
        return made


def dotted(path: Path) -> str:
    """The path as people write it: `workload.functions.0.memory_mb`."""
    return ".".join(map(str, path))


def tag_word(path: Path) -> str:
    """What says which sort of thing something is: the `name` of a policy, the `type` of anything else."""
    return "name" if any(part in _POLICIES for part in path) else "type"


def stem(name: str) -> str:
    """The name of a setting without its unit: `memory` for `memory_mb`."""
    return name.removesuffix(unit_of(name))


def unit_of(name: str) -> str:
    """The unit that a setting's name ends in, as `_mb`; "" without one, or for a rate. A bare `ns` is in ns."""
    if name.endswith("_per_s"):
        return ""
    return "_ns" if name == "ns" else next((unit for unit in UNITS if name.endswith(unit)), "")


def _path(name: str) -> Path:
    return tuple(int(part) if part.isdecimal() else part for part in name.split("."))


def _is_tag(path: Path) -> bool:
    return path[-1] == tag_word(path)


def _put(tree: Tree, path: Path, value: Any, name: str) -> None:
    here: Any = tree
    for depth, part in enumerate(path):
        last = depth == len(path) - 1
        if isinstance(here, list):
            members = cast("list[Any]", here)
            if not isinstance(part, int) or part >= len(members):
                raise ScenarioError(f"{name}: {dotted(path[:depth])} has the members 0 to {len(members) - 1}")
            key: Any = part
        elif isinstance(here, dict):
            key = _key(cast("Tree", here), str(part), last=last, tag=last and _is_tag(path))
            cast("Tree", here).setdefault(key, {})
        else:
            raise ScenarioError(f"{name}: {dotted(path[:depth])} is {here!r}, which has no parts")
        container = cast("Any", here)
        container[key] = value if last else _opened(container[key], tag_word(path), path[depth + 1])
        here = container[key]


def _key(tree: Tree, part: str, *, last: bool, tag: bool) -> str:
    """The key to set: one that says the same with or without its unit makes room; to go on, it is the one that is."""
    same = [key for key in tree if stem(key) == stem(part) and (key == part or stem(part) in (key, part))]
    if not last:
        return same[0] if same else part
    if tag:  # another sort of thing, whose settings are its own
        tree.clear()
    for key in same:
        tree.pop(key, None)
    return part


def _opened(value: Any, tag: str, following: str | int) -> Any:
    """A value to go on into: where only a name is written (`keep_alive: fixed-ttl`), what it is short for."""
    if isinstance(value, str):
        return {} if following == tag else {tag: value}
    return {} if value is None else value


def read(path: pathlib.Path) -> Document:
    """A scenario's file, of the format that its name ends in. Raises ScenarioError."""
    readers: dict[str, Callable[[str, str], tuple[Any, dict[Path, int]]]] = {
        ".yaml": _yaml,
        ".yml": _yaml,
        ".toml": _toml,
        ".json": _json,
    }
    reader = readers.get(path.suffix)
    if reader is None:
        raise ScenarioError(f"{path}: a scenario's name ends in {', '.join(readers)}, by its format")
    try:
        text = path.read_text("utf-8")
    except FileNotFoundError:
        raise ScenarioError(f"{path}: there is no such file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ScenarioError(f"{path}: can't be read: {error}") from error
    tree, lines = reader(text, str(path))
    if not isinstance(tree, dict):
        raise ScenarioError(f"{path}:1: a scenario is made of settings, as `seed: 1`, and this is none")
    return Document(str(path), cast("Tree", tree), lines, str(path.parent))


# --- YAML -----------------------------------------------------------------------------------------------------------


def _yaml(text: str, name: str) -> tuple[Any, dict[Path, int]]:
    import yaml

    lines: dict[Path, int] = {}
    loader = yaml.SafeLoader(text)
    try:
        node = loader.get_single_node()
        return ({} if node is None else _Nodes(loader, lines, name).value(node, ())), lines
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        told = " ".join(part for part in (error.context, error.problem) if part)
        hint = "; indent with spaces" if "'\\t'" in told else ""
        raise ScenarioError(f"{name}:{mark.line + 1 if mark else 1}: is no YAML: {told}{hint}") from error
    except yaml.YAMLError as error:
        raise ScenarioError(f"{name}: is no YAML: {error}") from error
    finally:
        cast(Any, loader).dispose()


class _Nodes:
    """YAML's nodes to plain values, their lines noted on the way."""

    def __init__(self, loader: yaml.SafeLoader, lines: dict[Path, int], name: str) -> None:
        self._loader = loader
        self._lines = lines
        self._name = name

    def value(self, node: yaml.Node, path: Path) -> Any:
        import yaml

        if len(path) > _DEPTH_MAX or len(self._lines) > _NODES_MAX:  # aliases can make much of little
            raise ScenarioError(f"{self._name}:{node.start_mark.line + 1}: is nested too deeply, or too large")
        self._lines.setdefault(path, node.start_mark.line + 1)
        if isinstance(node, yaml.MappingNode):
            return dict(self._members(node, path))
        if isinstance(node, yaml.SequenceNode):
            return [self.value(each, (*path, index)) for index, each in enumerate(node.value)]
        plain = node.tag.rpartition(":")[2]
        if plain == "timestamp" or (plain in ("int", "float") and ":" in node.value):
            return node.value  # 1:30 is no number of base 60 here
        return cast(Any, self._loader).construct_object(node)

    def _members(self, mapping: yaml.MappingNode, path: Path) -> Iterator[tuple[str, Any]]:
        seen: dict[str, int] = {}
        for key, value in mapping.value:
            name, line = str(key.value), key.start_mark.line + 1
            if name in seen:
                raise ScenarioError(f"{self._name}:{line}: {dotted((*path, name))} is set on line {seen[name]}, too")
            seen[name] = self._lines[(*path, name)] = line
            yield name, self.value(value, (*path, name))


# --- JSON -----------------------------------------------------------------------------------------------------------


def _json(text: str, name: str) -> tuple[Any, dict[Path, int]]:
    try:
        tree = json.loads(text)
    except json.JSONDecodeError as error:
        raise ScenarioError(f"{name}:{error.lineno}: is no JSON: {error.msg[0].lower()}{error.msg[1:]}") from error
    except RecursionError as error:
        raise ScenarioError(f"{name}: is nested too deeply") from error
    return tree, _yaml(text.replace("\t", " "), name)[1]  # JSON is YAML but for tabs, and YAML's nodes know their lines


# --- TOML -----------------------------------------------------------------------------------------------------------

_TABLE = re.compile(r"\s*(\[\[?)\s*([^\]]+?)\s*\]")
_SETTING = re.compile(r"""\s*((?:[\w-]+|"[^"]*"|'[^']*')(?:\s*\.\s*(?:[\w-]+|"[^"]*"|'[^']*'))*)\s*=""")


def _toml(text: str, name: str) -> tuple[Any, dict[Path, int]]:
    try:
        return tomllib.loads(text), _toml_lines(text)
    except tomllib.TOMLDecodeError as error:
        found = re.search(r"\(at line (\d+).*\)|\(at end of document\)", str(error))
        line = found[1] if found and found[1] else text.count("\n") + 1
        told = str(error)[: found.start()].strip() if found else str(error)
        raise ScenarioError(f"{name}:{line}: is no TOML: {told[0].lower()}{told[1:]}") from error


def _toml_lines(text: str) -> dict[Path, int]:
    """The line of each table and setting; what lies inside a value has that one's."""
    lines: dict[Path, int] = {}
    counts: dict[Path, int] = {}
    table: Path = ()
    for number, line in enumerate(text.splitlines(), 1):
        if header := _TABLE.match(line):
            table = _members_of(_keys(header[2]), counts)
            if header[1] == "[[":
                counts[table] = counts.get(table, -1) + 1
                table = (*table, counts[table])
            lines.setdefault(table, number)
        elif setting := _SETTING.match(line):
            lines.setdefault((*table, *_keys(setting[1])), number)
    return lines


def _keys(text: str) -> Path:
    return tuple(part.strip().strip("\"'") for part in text.split("."))


def _members_of(keys: Path, counts: Mapping[Path, int]) -> Path:
    """A header's path, in the last members of the arrays that it leads through."""
    path: Path = ()
    for depth, key in enumerate(keys):
        path = (*path, key)
        if path in counts and depth < len(keys) - 1:
            path = (*path, counts[path])
    return path
