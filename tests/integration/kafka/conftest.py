"""The broker that these tests talk to."""

from __future__ import annotations

from tests.support.kafka_server import *  # noqa: F403
