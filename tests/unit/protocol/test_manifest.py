"""The runtimes manifest: images, defaults, stock, and errors that say where."""

from __future__ import annotations

import json
from typing import Any

import pytest

from invoker.errors import SettingsError
from invoker.protocol.manifest import MalformedManifest, Reactive, StemCell, parse_manifest

pytestmark = pytest.mark.contract("11")

IMAGE = {"prefix": "p", "name": "n", "tag": "t"}
REACTIVE = {"minCount": 1, "maxCount": 4, "ttl": "2 minutes", "threshold": 2, "increment": 1}


def manifest(**families: object) -> str:
    return json.dumps({"description": "ignored", "runtimes": families, "blackboxes": []})


def runtime(kind: str = "nodejs:14", **more: object) -> dict[str, Any]:
    return {"kind": kind, "image": IMAGE, "unknown": [1], **more}


def test_the_contract_s_example() -> None:
    text = (
        '{"runtimes": {"nodejs": [{"kind": "nodejs:14", "default": true,'
        ' "image": {"prefix": "p", "name": "n", "tag": "t"}, "stemCells": [{"count": 3, "memory": "256 MB"}]}]}}'
    )
    parsed = parse_manifest(text)
    assert parsed.image("nodejs:14") == "p/n:t"
    assert parsed.image("nodejs:default") == "p/n:t"
    assert parsed.resolve("nodejs:default") == "nodejs:14"
    assert parsed.stem_cells() == (StemCell("nodejs:14", 256, 3, None),)


def test_an_unknown_kind_has_no_image() -> None:
    parsed = parse_manifest(manifest(nodejs=[runtime(default=True)]))
    for kind in ("", "python:3", "nodejs", "nodejs:15", "python:default", ":default"):
        assert parsed.image(kind) is None
        assert parsed.resolve(kind) is None


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        ({"name": "n"}, "n"),
        ({"name": "n", "tag": "t"}, "n:t"),
        ({"prefix": "p", "name": "n"}, "p/n"),
        ({"registry": "r:5000", "prefix": "p", "name": "n", "tag": "t"}, "r:5000/p/n:t"),
        ({"prefix": None, "name": "n", "tag": None}, "n"),
    ],
)
def test_what_an_image_lacks_is_left_out(image: dict[str, object], expected: str) -> None:
    assert parse_manifest(manifest(a=[runtime("a:1", image=image)])).image("a:1") == expected


def test_a_single_version_is_its_family_s_default() -> None:
    assert parse_manifest(manifest(a=[runtime("a:1")])).resolve("a:default") == "a:1"


def test_several_versions_without_a_default_have_none() -> None:
    parsed = parse_manifest(manifest(a=[runtime("a:1"), runtime("a:2", default=False)]))
    assert parsed.resolve("a:default") is None
    assert parsed.image("a:2") == "p/n:t"


def test_a_real_kind_named_default_stands_for_itself() -> None:
    parsed = parse_manifest(manifest(a=[runtime("a:default"), runtime("a:2", default=True)]))
    assert parsed.resolve("a:default") == "a:default"


def test_the_stock_is_in_the_manifest_s_order() -> None:
    cells = [{"count": 1, "memory": "1 GB"}, {"initialCount": 2, "count": 9, "memory": "128m", "reactive": REACTIVE}]
    parsed = parse_manifest(manifest(b=[runtime("b:1", stemCells=cells)], a=[runtime("a:1", stemCells=cells[:1])]))
    assert parsed.stem_cells() == (
        StemCell("b:1", 1024, 1, None),
        StemCell("b:1", 128, 2, Reactive(1, 4, 120_000, 2, 1)),
        StemCell("a:1", 1024, 1, None),
    )


@pytest.mark.parametrize(
    ("ttl", "ttl_ms"),
    [
        ("500 ms", 500),
        ("30s", 30_000),
        ("1 minute", 60_000),
        ("2 Hours", 7_200_000),
        ("1d", 86_400_000),
    ],
)
def test_spans_of_time(ttl: str, ttl_ms: int) -> None:
    cell = {"count": 0, "memory": "1 MB", "reactive": {**REACTIVE, "ttl": ttl}}
    reactive = parse_manifest(manifest(a=[runtime(stemCells=[cell])])).stem_cells()[0].reactive
    assert reactive is not None
    assert reactive.ttl_ms == ttl_ms


def test_an_empty_manifest_is_one() -> None:
    parsed = parse_manifest('{"runtimes": {}}')
    assert parsed.stem_cells() == ()
    assert parsed.image("a:1") is None


def stock(**cell: object) -> str:
    return manifest(nodejs=[runtime(stemCells=[cell])])


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("", ["runtimes manifest"]),
        ("[]", ["runtimes manifest"]),
        ("{}", ["runtimes"]),
        ('{"runtimes": []}', ["runtimes"]),
        ('{"runtimes": {"nodejs": {}}}', ["nodejs"]),
        (
            manifest(nodejs=[runtime(default=True), runtime("nodejs:16", default=True)]),
            ["nodejs", "nodejs:16", "default"],
        ),
        (manifest(nodejs=[runtime(), runtime()]), ["nodejs:14", "twice"]),
        (manifest(a=[runtime()], b=[runtime()]), ["nodejs:14", "twice"]),
        (manifest(nodejs=[{"image": IMAGE}]), ["nodejs", "entry 1", "kind"]),
        (manifest(nodejs=[runtime(""), runtime()]), ["nodejs", "entry 1", "kind"]),
        (manifest(nodejs=[runtime(image="p/n:t")]), ["nodejs", "nodejs:14", "image"]),
        (manifest(nodejs=[runtime(image={"prefix": "p"})]), ["nodejs:14", "name"]),
        (manifest(nodejs=[runtime(image={"name": ""})]), ["nodejs", "image.name"]),
        (stock(count=1), ["nodejs:14", "memory"]),
        (stock(memory="256 MB"), ["nodejs:14", "count"]),
        (stock(count=-1, memory="256 MB"), ["nodejs:14", "count"]),
        (stock(count=10_001, memory="256 MB"), ["nodejs:14", "count"]),
        (stock(count=1, memory="256"), ["nodejs:14", "256", "unit"]),
        (stock(count=1, memory="0 MB"), ["nodejs:14", "0 MB"]),
        (stock(count=1, memory="1500 KB"), ["nodejs:14", "1500 KB"]),
        (stock(count=1, memory="1 MB", reactive={**REACTIVE, "minCount": 5}), ["nodejs:14", "minCount"]),
        (stock(count=1, memory="1 MB", reactive={**REACTIVE, "increment": 5}), ["nodejs:14", "increment"]),
        (stock(count=1, memory="1 MB", reactive={**REACTIVE, "ttl": "soon"}), ["nodejs:14", "ttl", "soon"]),
        (stock(count=1, memory="1 MB", reactive={**REACTIVE, "threshold": 0}), ["nodejs:14", "threshold"]),
        ('{"runtimes": {"a": [{"kind": "\udcff"}]}}', ["runtimes manifest"]),
        ('{"runtimes": {"a": ' + "[" * 100_000, ["runtimes manifest", "nested"]),
    ],
)
def test_an_error_says_where(text: str, named: list[str]) -> None:
    with pytest.raises(MalformedManifest) as caught:
        parse_manifest(text)
    assert isinstance(caught.value, SettingsError)
    for word in named:
        assert word in str(caught.value)
