"""◇ The settings that concern CouchDB, and the records on their way to it."""

from __future__ import annotations

from typing import Annotated

from pydantic import BeforeValidator, Field, SecretStr

from invoker.config.values import Settings, setting, url


class CouchSettings(Settings):
    """Where actions come from and records go to."""

    couch_url: Annotated[str, BeforeValidator(url)] = setting(
        ..., "COUCH_URL", "CouchDB's base URL, scheme and port included", "https://couchdb:6984"
    )
    couch_username: Annotated[str, Field(min_length=1)] = setting(..., "COUCH_USERNAME", "CouchDB's user", "invoker")
    couch_password: Annotated[SecretStr, Field(min_length=1)] = setting(
        ..., "COUCH_PASSWORD", "CouchDB's password", "<password>", secret=True
    )
