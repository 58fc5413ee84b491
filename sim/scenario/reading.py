"""◇ Settings to the objects they describe, by the objects' own types: whatever the simulator has is a setting at once.

A struct is read from a mapping by its fields, a tagged one by its `type` (a policy by its `name`), or from that word
alone. A field whose name ends in a unit may be written without it, and then has a value with one: `memory: 16 GB` is
`memory_mb: 16384`. All that is wrong is found in one go.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from typing import Any, Final, NamedTuple, cast

import msgspec
from msgspec import inspect

from invoker.policy import PolicySet
from invoker.policy.events import Reactive, StemCells
from invoker.policy.keepalive import Oracle
from invoker.policy.pausing import FixedGrace
from invoker.policy.prewarm import ReactiveStock
from invoker.policy.types import PrewarmKey
from sim.node import DOCKER_SLOWDOWN, Node
from sim.scenario.document import Document, Path, ScenarioError, Tree, dotted, stem, tag_word, unit_of
from sim.scenario.values import measured, number, words

BAD: Final = object()
"""What a setting that is wrong is read as; the problem is noted."""


class Stock(msgspec.Struct, frozen=True, kw_only=True):
    """Prewarmed containers of a kind and size; `reactive` for the prewarm policy of that name."""

    kind: str = "python:3"
    memory_mb: int = 256
    count: int = 1
    reactive: Reactive | None = None

    def cells(self) -> StemCells:
        """As the heart has them."""
        return StemCells(PrewarmKey(self.kind, self.memory_mb), self.count, self.reactive)


class Field(NamedTuple):
    """A setting: its name in files, the struct's, and its type; `required` and `default` as the struct has them."""

    name: str
    attribute: str
    type: inspect.Type
    required: bool
    default: Any


_SPELLINGS: Final = {
    (PolicySet, "capacity_mb"): "memory_mb",
    (FixedGrace, "grace"): "grace_ns",
    (ReactiveStock, "period"): "period_ns",
}
"""Fields that a file calls by other names than the structs do."""
_NOT_SET: Final = {(PolicySet, "accounting"), (Oracle, "future")}
"""Fields that follow from other settings."""
_WORDS: Final[dict[tuple[type, str], dict[str, Any]]] = {
    (Node, "slowdown"): {"docker": DOCKER_SLOWDOWN, "none": ()},
}
"""Values that have a name."""
_ADAPTED: Final[dict[type, tuple[type, Callable[[Any], Any]]]] = {StemCells: (Stock, Stock.cells)}
"""Structs that a file has another form for, and the way from that."""
_KINDS: Final[dict[type[inspect.Type], tuple[type, str]]] = {
    inspect.IntType: (int, "a whole number"),
    inspect.FloatType: (float, "a number"),
    inspect.StrType: (str, "a text"),
    inspect.BoolType: (bool, "true or false"),
}


@cache
def fields(kind: type) -> dict[str, Field]:
    """The settings of a struct, by their names in files."""
    shape = cast("inspect.StructType", inspect.type_info(kind))
    made: dict[str, Field] = {}
    for field in shape.fields:
        if (kind, field.name) not in _NOT_SET:
            name = _SPELLINGS.get((kind, field.name), field.encode_name)
            default = field.default if field.default_factory is msgspec.NODEFAULT else field.default_factory()
            made[name] = Field(name, field.name, field.type, field.required, default)
    return made


class Reader:
    """Reads the settings of one document. What is wrong is gathered, for `close` to raise.

    `bases` are the objects from which those of their types take what isn't given, wherever they occur.
    """

    def __init__(self, document: Document) -> None:
        self.bases: dict[type, Any] = {}
        self._document = document
        self._problems: list[tuple[int, str]] = []

    def close(self) -> None:
        """Raises ScenarioError where something was wrong."""
        if self._problems:
            raise ScenarioError("\n".join(told for _, told in sorted(self._problems, key=lambda problem: problem[0])))

    def problem(self, path: Path, told: str, name: str | None = None) -> Any:
        """Note what is wrong; BAD."""
        where, line = self._document.place(path)
        called = dotted(path) if name is None else name
        self._problems.append((line, f"{where}: {called}{' ' if called and told[0] != ':' else ''}{told}"))
        return BAD

    def struct(self, kind: type, value: Any, path: Path, base: Any = None) -> Any:
        """A struct from a mapping; what isn't given is the `base`'s, or the struct's own default. BAD if wrong."""
        if kind in _ADAPTED:
            shape, adapt = _ADAPTED[kind]
            made = self.struct(shape, value, path)
            return made if made is BAD else adapt(made)
        given = self.given(kind, value, path, base)
        if given is BAD:
            return BAD
        missing = [field for field in fields(kind).values() if field.required and field.attribute not in given]
        if base is None and missing:
            example = " or ".join(dict.fromkeys((stem(missing[0].name), missing[0].name)))
            return self.problem(path, f": {example} is missing")
        try:
            return kind(**given) if base is None else msgspec.structs.replace(base, **given)
        except ValueError as error:
            return self.problem(path, f": {str(error).partition(': ')[2] or error}")

    def given(self, kind: type, value: Any, path: Path, base: Any = None, beside: Iterable[str] = ()) -> Any:
        """The fields that a mapping gives, by the struct's names, each read; BAD where one is wrong. Settings named
        `beside` are someone else's."""
        if not isinstance(value, dict):
            return self.problem(path, f"is {words(value)}, and wants settings of its own")
        known, tree = fields(kind), cast("Tree", value)
        made: dict[str, Any] = {}
        wrong = False
        for key, each in tree.items():
            if key in beside:
                continue
            field = known.get(key) or next((one for name, one in known.items() if stem(name) == key), None)
            if field is None:
                wrong = self.unknown((*path, key), [*known, *beside]) is BAD
                continue
            if field.attribute in made:
                wrong = self.problem((*path, key), f"is set twice: {stem(field.name)} and {field.name} are one") is BAD
                continue
            default = field.default if base is None else getattr(base, field.attribute)
            named = _WORDS.get((kind, field.attribute), {})
            read = (
                named[each]
                if isinstance(each, str) and each in named
                else self.value(
                    field.type, each, (*path, key), unit_of(field.name), bare=key != field.name, default=default
                )
            )
            wrong = wrong or read is BAD
            made[field.attribute] = read
        return BAD if wrong else made

    def unknown(self, path: Path, known: Iterable[str]) -> Any:
        """There is no such setting; BAD."""
        names = list(dict.fromkeys(name for one in known for name in (one, stem(one))))
        near = difflib.get_close_matches(str(path[-1]), names, n=1, cutoff=0.5)
        hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(dict.fromkeys(map(stem, names)))}"
        return self.problem(path, f": no such setting; {hint}")

    def value(
        self, kind: inspect.Type, value: Any, path: Path, unit: str = "", *, bare: bool = False, default: Any = None
    ) -> Any:
        """A value of any type that settings have. `bare`: the setting's name has no unit, so the value must."""
        if isinstance(kind, inspect.StructType):
            base = default if isinstance(default, kind.cls) else self.bases.get(kind.cls)
            return self.struct(kind.cls, value, path, base)
        if isinstance(kind, inspect.UnionType):
            return self._union(kind, value, path, unit, bare=bare, default=default)
        if isinstance(kind, (inspect.VarTupleType, inspect.ListType)):
            if not isinstance(value, list):
                return self.problem(path, f"is {words(value)}, and wants a list, as [a, b]")
            members = cast("list[Any]", value)
            read = [self.value(kind.item_type, each, (*path, at), unit, bare=bare) for at, each in enumerate(members)]
            return BAD if BAD in read else tuple(read)
        return self._plain(kind, value, path, unit, bare=bare)

    def _union(self, kind: inspect.UnionType, value: Any, path: Path, unit: str, *, bare: bool, default: Any) -> Any:
        types = [each for each in kind.types if not isinstance(each, inspect.NoneType)]
        if value is None and len(types) < len(kind.types):
            return None
        tagged = {str(each.tag): each.cls for each in types if isinstance(each, inspect.StructType) and each.tag}
        if tagged:
            return self._tagged(tagged, value, path, default)
        lists = [each for each in types if isinstance(each, (inspect.VarTupleType, inspect.ListType))]
        others = [each for each in types if each not in lists]
        chosen = lists[0] if lists and (isinstance(value, list) or not others) else others[0]
        return self.value(chosen, value, path, unit, bare=bare, default=default)

    def _tagged(self, sorts: Mapping[str, type], value: Any, path: Path, default: Any) -> Any:
        tag = tag_word(path)
        if isinstance(value, dict):
            tree = cast("Tree", value)
            if tag not in tree:
                sort = str(type(default).__struct_config__.tag) if isinstance(default, msgspec.Struct) else ""
                if sort not in sorts:
                    return self.problem(path, f": {tag} is missing; there are {', '.join(sorts)}")
                return self.struct(sorts[sort], tree, path, default)
            sort, rest = tree[tag], {key: each for key, each in tree.items() if key != tag}
            place = (*path, tag)
        else:
            sort, rest, place = value, {}, path
        if isinstance(sort, str) and sort in sorts:
            return self.struct(sorts[sort], rest, path)
        near = difflib.get_close_matches(str(sort), sorts, n=1, cutoff=0.5)
        if not isinstance(value, dict) and not near and "constant" in sorts:
            return self._constant(sorts["constant"], value, path)
        hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(sorts)}"
        return self.problem(place, f"is {words(sort)}, which there is not; {hint}")

    def _constant(self, kind: type, value: Any, path: Path) -> Any:
        """A latency that is written as a span alone."""
        ns = self._plain(inspect.IntType(ge=0), value, path, "_ns", bare=True)
        return ns if ns is BAD else kind(ns=ns)

    def _plain(self, kind: inspect.Type, value: Any, path: Path, unit: str, *, bare: bool) -> Any:
        if isinstance(kind, inspect.LiteralType):
            if value in kind.values:
                return value
            choice = ", ".join(map(str, kind.values))
            return self.problem(path, f"is {words(value)}; it can be {choice}")
        numeric = isinstance(kind, (inspect.IntType, inspect.FloatType))
        if numeric and isinstance(value, str):
            plain = number(value)
            if plain is None and unit:
                try:
                    return self._checked(kind, measured(value, unit), path, unit)
                except ValueError as error:
                    return self.problem(path, str(error))
            value = value if plain is None else plain
        if numeric and unit and bare and isinstance(value, (int, float)) and value and not isinstance(value, bool):
            example = "GB" if unit in ("_mb", "_bytes") else "ms"
            return self.problem(path, f"is {words(value)} without a unit; write it as {words(value)} {example}, say")
        return self._checked(kind, value, path, unit)

    def _checked(self, kind: inspect.Type, value: Any, path: Path, unit: str) -> Any:
        if isinstance(kind, inspect.IntType) and isinstance(value, float) and value.is_integer():
            value = int(value)
        if isinstance(kind, inspect.StrType) and isinstance(value, (int, float)) and not isinstance(value, bool):
            value = str(value)
        if isinstance(kind, inspect.FloatType) and isinstance(value, int) and not isinstance(value, bool):
            value = float(value)
        expected, wanted = _KINDS.get(type(kind), (object, "another value"))
        if unit and unit != "_bytes":
            wanted = f"{wanted} of {unit[1:].upper() if unit == '_mb' else unit[1:]}, or one with its unit"
        if type(value) is not expected:
            return self.problem(path, f"is {words(value)}, and wants {wanted}")
        if isinstance(kind, (inspect.IntType, inspect.FloatType)) and (told := _beyond(kind, value)):
            return self.problem(path, f"is {words(value)}, and must be {told}")
        return value


def _beyond(kind: inspect.IntType | inspect.FloatType, value: float) -> str:
    """Which bound the number breaks, in words; "" for none."""
    if kind.ge is not None and value < kind.ge:
        return f"at least {kind.ge}"
    if kind.gt is not None and value <= kind.gt:
        return f"more than {kind.gt}"
    if kind.le is not None and value > kind.le:
        return f"at most {kind.le}"
    return ""
