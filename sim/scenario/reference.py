"""◇ The reference of scenario files, made from the types that files are read into, so that it can't go stale.

`python -m sim.scenario docs/scenarios.md` writes it into the page, between its marks.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final, cast, get_args

import msgspec
from msgspec import inspect

from invoker.policy import PolicySet
from invoker.policy.balancing import AnyBalancer
from invoker.policy.events import Reactive
from invoker.policy.policyset import AnyKeepAlive, AnyPausing, AnyPrewarm, AnyQueueing
from sim import Cluster, Failures, Member, Network, Node, Outage, frames
from sim.kept import TIMELINE_COLUMNS
from sim.latency import Constant, Latency
from sim.scenario.document import stem, unit_of
from sim.scenario.meanings import MEANINGS
from sim.scenario.reading import Field, Stock, fields
from sim.scenario.workloads import AnyWorkload, CalledFunction, ModulationState

BEGIN, END = "<!-- made by python -m sim.scenario -->", "<!-- until here -->"
_COMMON: Final = ("busiest", "faster", "head_s", "head_invocations")
_SCALES_NS: Final = {"_ns": 1, "_ms": 1_000_000, "_s": 1_000_000_000}
_STRUCTS: Final[tuple[tuple[str, type], ...]] = (
    ("node", Node),
    ("node.failures", Failures),
    ("node.stock, each", Stock),
    ("node.stock.reactive", Reactive),
    ("policy", PolicySet),
    ("cluster", Cluster),
    ("cluster.nodes, each", Member),
    ("cluster.nodes.outages, each", Outage),
    ("cluster.network", Network),
)
_POLICIES: Final[tuple[tuple[str, Any], ...]] = (
    ("policy.keep_alive", AnyKeepAlive),
    ("policy.pausing", AnyPausing),
    ("policy.prewarm", AnyPrewarm),
    ("policy.queueing", AnyQueueing),
    ("cluster.balancer", AnyBalancer),
)


def page(text: str) -> str:
    """The page with what lies between the marks made anew. Raises ValueError where it has no marks."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"the page wants a line {BEGIN} and a line {END}")
    return f"{before}{begin}\n\n{chr(10).join(lines())}\n{end}{after}"


def lines() -> Iterator[str]:
    """The settings, then the columns of results."""
    yield "### `workload`"
    yield ""
    for kind in get_args(AnyWorkload):
        about = " ".join(str(kind.__doc__).split("\n\n")[0].split())
        yield f"**`type: {kind.__struct_config__.tag}`** {about}"
        yield ""
        yield from _settings(kind, [field for field in fields(kind).values() if field.attribute not in _COMMON])
    yield "Each function that is written down:"
    yield ""
    yield from _settings(CalledFunction)
    yield "Each of `states`:"
    yield ""
    yield from _settings(ModulationState)
    yield "Every workload can be cut and quickened:"
    yield ""
    yield from _settings(get_args(AnyWorkload)[0], [fields(get_args(AnyWorkload)[0])[name] for name in _COMMON])
    for title, kind in _STRUCTS:
        yield f"### `{title}`" if "," not in title else f"### `{title.partition(',')[0]}`, each"
        yield ""
        yield from _settings(kind)
    yield "### Latencies"
    yield ""
    yield from _named("type", Latency)
    yield "### Policies"
    yield ""
    for title, union in _POLICIES:
        yield f"`{title}`:"
        yield ""
        yield from _named("name", union)
    yield from _columns()


def _settings(kind: type, chosen: list[Field] | None = None) -> Iterator[str]:
    shown = list(fields(kind).values()) if chosen is None else chosen
    more = MEANINGS.get((kind, ""), {})
    if not shown and not more:
        return
    yield "| setting | value | default | meaning |"
    yield "| --- | --- | --- | --- |"
    for name, (value, default, meaning) in cast("Mapping[str, tuple[str, str, str]]", more).items():
        yield f"| `{name}` | {value} | {default} | {meaning} |"
    for field in shown:
        words = (name_words(field.name), value_words(field), default_words(field), meaning_of(kind, field.name))
        yield f"| {' | '.join(words)} |"
    yield ""


def meaning_of(kind: type, name: str) -> str:
    """What a setting does. Raises KeyError where nobody wrote it down."""
    for base in kind.__mro__:
        if (base, name) in MEANINGS:
            return str(MEANINGS[base, name])
    raise KeyError(f"{kind.__name__}.{name} has no meaning in sim/scenario/meanings.py")


def _named(tag: str, union: Any) -> Iterator[str]:
    """What there is of a sort, with the parameters of each."""
    yield f"| `{tag}` | parameters and their defaults |"
    yield "| --- | --- |"
    for kind in get_args(union):
        parameters = [
            f"{name_words(field.name)} {'required' if field.required else default_words(field)}"
            for field in fields(kind).values()
        ]
        yield f"| `{kind.__struct_config__.tag}` | {', '.join(parameters) or 'none'} |"
    yield ""


def name_words(name: str) -> str:
    """A setting's name; one with a unit as it is written with a value that has one, and the end that it has else."""
    plain = stem(name)
    return f"`{name}`" if plain == name else f"`{plain}` (`{name.removeprefix(plain)}`)"


def value_words(field: Field) -> str:
    """Which values a setting takes."""
    return _type_words(field.type, field.name)


def _type_words(kind: inspect.Type, name: str) -> str:
    if isinstance(kind, inspect.UnionType):
        types = [each for each in kind.types if not isinstance(each, inspect.NoneType)]
        tags = [str(each.tag) for each in types if isinstance(each, inspect.StructType) and each.tag]
        if "constant" in tags:
            return "a latency"
        if "azure-like" in tags:
            return "a workload"
        return "a policy" if tags else " or ".join(_type_words(each, name) for each in types)
    if isinstance(kind, (inspect.VarTupleType, inspect.ListType)):
        one = _type_words(kind.item_type, name).removeprefix("a ")
        return f"list of {one if one.endswith('s') else f'{one}s'}"
    if isinstance(kind, inspect.LiteralType):
        return ", ".join(f"`{value}`" for value in kind.values)
    if isinstance(kind, inspect.StructType):
        return "settings"
    if name.endswith(("_mb", "_bytes")):
        return "a size"
    if unit_of(name):
        return "a span"
    words = {inspect.IntType: "a whole number", inspect.FloatType: "a number", inspect.BoolType: "`true` or `false`"}
    return words.get(cast(Any, type(kind)), "a text")


def default_words(field: Field) -> str:
    """The default as a file would have it."""
    if field.required:
        return "required"
    return _value_words(field.default, field.name)


def _value_words(value: Any, name: str) -> str:
    if value in (None, (), ""):
        return "none"
    if isinstance(value, msgspec.Struct):
        return _struct_words(value)
    if isinstance(value, tuple):
        members = list(cast("tuple[Any, ...]", value))
        return f"{len(members)} of them" if isinstance(members[0], msgspec.Struct) else f"`{members}`"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    scale_ns = _SCALES_NS.get(unit_of(name))
    if scale_ns is not None:
        return f"`{span_words(round(value * scale_ns))}`"
    return f"`{value} MB`" if name.endswith("_mb") else f"`{value:g}`" if isinstance(value, float) else f"`{value}`"


def _struct_words(value: msgspec.Struct) -> str:
    """A latency with its parameters, a policy by its name; anything else has a table of its own."""
    if isinstance(value, Constant):
        return f"`{span_words(value.ns)}`"
    tag = value.__struct_config__.tag
    if tag is None:
        return "see below"
    if not isinstance(value, get_args(Latency)):
        return f"`{tag}`"
    parameters = [
        f"{stem(field.name)} {_value_words(getattr(value, field.attribute), field.name).strip('`')}"
        for field in fields(type(value)).values()
    ]
    return f"`{', '.join([str(tag), *parameters])}`"


def span_words(span_ns: int) -> str:
    """A span as a file may have it, exact: `250 ms`, `1.4 ms`, `15 min`."""
    if span_ns == 0:
        return "0"
    for unit, scale_ns in (("h", 3600 * 10**9), ("min", 60 * 10**9), ("s", 10**9), ("ms", 10**6), ("us", 10**3)):
        if span_ns % scale_ns == 0 or (unit == "ms" and span_ns >= scale_ns):
            return f"{span_ns / scale_ns:g} {unit}"
    return f"{span_ns} ns"


def _columns() -> Iterator[str]:
    for title, columns in (
        ("`invocations`: a row for each, in the order of arrival", frames.INVOCATION_COLUMNS),
        ("`invocations` of a cluster, besides", frames.CLUSTER_COLUMNS),
        ("`functions`: a row for each that was invoked", frames.FUNCTION_COLUMNS),
        ("`summary`: one row", frames.SUMMARY_FIGURES),
        ("`summary` of a cluster, besides", frames.CLUSTER_FIGURES),
        ("`timeline`: a row for each simulated second", TIMELINE_COLUMNS),
    ):
        yield f"### {title}"
        yield ""
        yield "| column | meaning |"
        yield "| --- | --- |"
        yield from (f"| `{name}` | {meaning} |" for name, meaning in columns.items())
        yield ""
