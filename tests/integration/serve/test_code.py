"""Code in each of the forms that CouchDB may hold it in, as text and as a zip, for each runtime."""

from __future__ import annotations

import asyncio
import base64
import io
import zipfile
from collections.abc import Callable

import pytest

from tests.support.couch_upload import FORMS
from tests.support.serving_client import Client, Ended

pytestmark = [pytest.mark.docker, pytest.mark.contract("7", "8", "12")]

CODE = {
    "python:3": ("__main__.py", "import os\ndef main(args):\n    return {'said': args['word'], 'in': os.getcwd()}\n"),
    "nodejs:default": ("index.js", "exports.main = args => ({said: args.word});\n"),
}
PLAIN_NODEJS = "function main(args) { return {said: args.word}; }\n"


def archive(kind: str) -> bytes:
    """A zip of the code."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as made:
        made.writestr(*CODE[kind])
    return packed.getvalue()


@pytest.mark.parametrize("kind", CODE)
async def test_every_form_of_code(peer: Client, same: Callable[[str, Ended], None], kind: str) -> None:
    """The sixth is a zip in a plain string, as base64."""
    family = kind.partition(":")[0]
    names: dict[str, str] = {}
    for form in FORMS:
        name = names[form] = f"{family}-{form.replace(' ', '-')}"
        text = CODE[kind][1] if family == "python" else PLAIN_NODEJS
        await peer.put(name, archive(kind) if form.endswith("bytes") else text, form, kind=kind)
    zipped = base64.b64encode(archive(kind)).decode()
    names["base64"] = f"{family}-base64"
    executable = {"kind": kind, "code": zipped, "binary": True}
    await peer.put(names["base64"], b"", kind=kind, exec=executable)
    calls = [peer.call("http", name, {"word": form}) for form, name in names.items()]
    for form, ended in zip(names, await asyncio.gather(*calls), strict=True):
        assert (ended.status, ended.result["said"]) == (0, form)
        ended.result.pop("in", None)  # of a zip it is a directory of its own
        del ended.response["size"]  # with its name's length
        same(f"code-{names[form]}", ended)


async def test_an_empty_attachment_and_code_that_is_nowhere(peer: Client, same: Callable[[str, Ended], None]) -> None:
    await peer.put("empty", b"", "inline text")
    empty = await peer.call("http", "empty")
    assert empty.status == 2
    same("code-empty", empty)
    lost = {"attachmentName": "couch:nowhere", "attachmentType": "text/plain", "length": 3}
    await peer.put("lost", b"", exec={"kind": "python:3", "code": lost, "binary": False})
    ended = await peer.call("http", "lost")
    assert ended.status == 1
    same("code-attachment-missing", ended)


async def test_the_revision_that_is_asked_for_is_run(peer: Client) -> None:
    old = await peer.put("revised", "def main(args):\n    return {'is': 'old'}\n")
    new = await peer.put("revised", "def main(args):\n    return {'is': 'new'}\n", _rev=old)
    assert (await peer.call("http", "revised", revision=new)).result == {"is": "new"}
    assert (await peer.call("http", "revised", revision=old)).result == {"is": "old"}
    assert (await peer.call("kafka", "revised", revision=new)).result == {"is": "new"}
