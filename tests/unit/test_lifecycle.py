"""Start and drain: the order of things, what a fault at each step leaves, and what a second signal cuts short."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable

import pytest

from invoker.driver import Driver
from invoker.errors import PlatformFault
from invoker.intake import Intake
from invoker.io.containers.fake import FakeEngine, Moment
from invoker.io.http.server import HttpServer, Router
from invoker.lifecycle import EXIT_FAILED, EXIT_OK, Lifecycle, Listener, Parts
from invoker.policy import events as ev
from invoker.policy.types import PrewarmKey
from invoker.ports import ContainerSpec
from invoker.protocol.secrets import KeyRing
from tests.support.body import KIND, MEMORY_MB, Body, document
from tests.support.node import message
from tests.support.raw_http import Served, post, until

WAIT_S = 10.0


class Watched(FakeEngine):
    """Notes when it is opened and closed."""

    def __init__(self, story: list[str], fails: str) -> None:
        super().__init__()
        self._story = story
        self._fails = fails

    async def open(self) -> None:
        self._story.append("engine opens")
        if self._fails == "open":
            raise PlatformFault("no engine")
        await super().open()

    async def close(self) -> None:
        self._story.append("engine closes")
        await super().close()
        if self._fails == "close":
            raise PlatformFault("something stands")


class Brought:
    """A feed whose one piece of work ends when it is let, or is cut off."""

    def __init__(self, story: list[str]) -> None:
        self._story = story
        self.done = asyncio.Event()
        self.done.set()

    async def open(self) -> None:
        self._story.append("feed opens")

    def stop(self) -> None:
        if self._story[-1] != "feed stops":
            self._story.append("feed stops")

    async def finished(self) -> None:
        await self.done.wait()

    def abandon(self) -> None:
        self._story.append("feed is cut off")
        self.done.set()


class Told:
    """A presence."""

    def __init__(self, story: list[str]) -> None:
        self._story = story

    async def open(self) -> None:
        self._story.append("controllers know")

    async def leave(self) -> None:
        self._story.append("controllers are told of the end")

    async def close(self) -> None:
        pass


class Stage:
    """A body with its lifecycle, whose parts note what happens to them."""

    def __init__(self, *, fails: str = "", drain_delay_s: float = 0.0) -> None:
        self.story: list[str] = []
        self.body = Body(store_blocking=True)
        self.body.engine = Watched(self.story, fails)
        self.body.driver._engine = self.body.engine  # pyright: ignore[reportPrivateUsage] - as made with it
        self.body.store.actions["guest", "act"] = document()
        self.intake = Intake(self.body.runner, KeyRing())
        self.feed = Brought(self.story)
        router = Router()
        router.add("POST", "/invoke", self.intake.handle)
        self.errors: list[tuple[str, BaseException]] = []
        self.server = HttpServer(router, on_error=lambda what, error: self.errors.append((what, error)))
        self.lifecycle = Lifecycle(
            Parts(
                engine=self.body.engine,
                driver=self.body.driver,
                intake=self.intake,
                listeners=[Listener(self.server, "127.0.0.1", 0)],
                stock=(ev.StemCells(PrewarmKey(KIND, MEMORY_MB), 1),),
                opens=[self._note("store opens", fails == "opens")],
                closes=[self._note("cache closes"), self._note("store closes")],
                decision_log=None,
                drain_delay_s=drain_delay_s,
                guards=[self._note("guard opens", fails == "guard")],
                feed=self.feed,
                presence=Told(self.story),
            )
        )

    @property
    def driver(self) -> Driver:
        return self.body.driver

    def _note(self, what: str, fails: bool = False) -> Callable[[], Awaitable[None]]:
        async def note() -> None:
            self.story.append(what)
            if fails:
                raise PlatformFault("no")

        return note

    async def __aenter__(self) -> Stage:
        started = asyncio.Event()
        self.life = asyncio.create_task(self.lifecycle.run(started.set))
        async with asyncio.timeout(WAIT_S):
            await started.wait()
        return self

    async def __aexit__(self, *_exc: object) -> None:
        if not self.life.done():
            self.lifecycle.stop()
        async with asyncio.timeout(WAIT_S):
            await self.life

    async def ended(self) -> int:
        async with asyncio.timeout(WAIT_S):
            return await asyncio.shield(self.life)

    @property
    def served(self) -> Served:
        return Served(self.server, self.errors, [])


@pytest.mark.contract("18")
async def test_the_order_of_start_and_end() -> None:
    async with Stage() as stage:
        assert stage.story == ["store opens", "engine opens", "guard opens", "feed opens", "controllers know"]
        await until(lambda: len(stage.body.engine.containers) == 1)  # the stock
        assert stage.server.port > 0
        stage.lifecycle.stop()
        assert await stage.ended() == EXIT_OK
        assert stage.story[5:7] == ["controllers are told of the end", "feed stops"]
        assert stage.story[7:] == ["engine closes", "cache closes", "store closes"]
        assert stage.body.pool.drained
        assert not stage.body.engine.containers


@pytest.mark.contract("18")
async def test_a_signal_drains() -> None:
    async with Stage() as stage:
        os.kill(os.getpid(), signal.SIGTERM)
        assert await stage.ended() == EXIT_OK


class Held:
    """A gate that holds every container back at a moment, until it is opened."""

    def __init__(self, at: Moment) -> None:
        self.at = at
        self.opened = asyncio.Event()
        self.reached = asyncio.Event()

    async def __call__(self, moment: Moment, _: ContainerSpec) -> None:
        if moment == self.at:
            self.reached.set()
            await self.opened.wait()


@pytest.mark.contract("18")
async def test_what_was_accepted_ends_and_is_recorded() -> None:
    async with Stage() as stage, stage.served.peer() as peer:
        held = stage.body.engine.gate = Held("run")
        peer.send(post(message("act", {"x": 1}, activation="e" * 32)))
        _, fields = await peer.head()
        await held.reached.wait()
        stage.lifecycle.stop()
        await until(lambda: stage.server._server is not None and not stage.server._server.is_serving())  # pyright: ignore[reportPrivateUsage]
        assert not stage.life.done()
        held.opened.set()
        assert b'"x": 1' in await peer.body(fields)
        assert await stage.ended() == EXIT_OK
        assert f"guest/{'e' * 32}" in stage.body.store.records


@pytest.mark.contract("18")
async def test_it_goes_on_serving_for_a_while() -> None:
    """Controllers learn of the end by and by: within the delay, invocations are still taken."""
    async with Stage(drain_delay_s=0.3) as stage, stage.served.peer() as peer:
        stage.lifecycle.stop()
        answer = await peer.ask(post(message("act")))
        assert answer.status == 200
        assert await stage.ended() == EXIT_OK


@pytest.mark.contract("18")
@pytest.mark.parametrize("at", ["start", "run", "remove"])
async def test_a_second_signal_cuts_off_what_is_under_way(at: Moment) -> None:
    async with Stage() as stage, stage.served.peer() as peer:
        held = stage.body.engine.gate = Held(at)
        peer.send(post(message("act")))
        await peer.head()
        stage.lifecycle.stop()
        await held.reached.wait()
        stage.lifecycle.stop()
        if at in ("start", "remove"):  # a machine that has begun ends what it does; a function is not waited for
            await until(lambda: "engine closes" in stage.story)
            held.opened.set()
        assert await stage.ended() == EXIT_FAILED
        assert stage.story[-3:] == ["engine closes", "cache closes", "store closes"]
        assert not stage.body.engine.containers


@pytest.mark.contract("18")
@pytest.mark.parametrize("fails", ["opens", "open", "guard"])
async def test_a_fault_at_the_start_ends_what_had_begun(fails: str) -> None:
    stage = Stage(fails=fails)
    with pytest.raises(PlatformFault):
        await stage.lifecycle.run(lambda: None)
    assert stage.story[-3:] == ["engine closes", "cache closes", "store closes"]
    assert stage.server.port == 0
    assert "feed opens" not in stage.story
    assert not stage.body.engine.containers


@pytest.mark.contract("18")
async def test_what_a_feed_brought_is_waited_for() -> None:
    async with Stage() as stage:
        stage.feed.done.clear()
        stage.lifecycle.stop()
        await until(lambda: "feed stops" in stage.story)
        assert "engine closes" not in stage.story
        stage.feed.done.set()
        assert await stage.ended() == EXIT_OK
        assert "feed is cut off" not in stage.story


async def test_what_a_feed_brought_is_cut_off_by_a_second_signal() -> None:
    async with Stage() as stage:
        stage.feed.done.clear()
        stage.lifecycle.stop()
        stage.lifecycle.stop()
        assert await stage.ended() == EXIT_FAILED
        assert stage.story.index("feed is cut off") < stage.story.index("engine closes")


@pytest.mark.contract("18")
@pytest.mark.contract("18")
async def test_a_port_that_is_taken_ends_the_start_in_order() -> None:
    async with Stage() as first:
        stage = Stage()
        parts = stage.lifecycle._parts  # pyright: ignore[reportPrivateUsage]
        parts.listeners[:] = [Listener(stage.server, "127.0.0.1", first.server.port)]
        with pytest.raises(PlatformFault, match="free the port"):
            await stage.lifecycle.run(lambda: None)
        assert stage.story[-3:] == ["engine closes", "cache closes", "store closes"]
        assert not stage.body.engine.containers


async def test_a_fault_at_the_end_stops_no_other_part_and_is_told() -> None:
    async with Stage(fails="close") as stage:
        stage.lifecycle.stop()
        assert await stage.ended() == EXIT_FAILED
        assert stage.story[-2:] == ["cache closes", "store closes"]


@pytest.mark.contract("18")
async def test_a_signal_before_all_stands_ends_what_had_begun() -> None:
    stage = Stage()
    waited = asyncio.Event()

    async def never() -> None:
        waited.set()
        await asyncio.Event().wait()

    stage.lifecycle._parts.opens.append(never)  # pyright: ignore[reportPrivateUsage]
    life = asyncio.create_task(stage.lifecycle.run(lambda: stage.story.append("serving")))
    async with asyncio.timeout(WAIT_S):
        await waited.wait()
        os.kill(os.getpid(), signal.SIGTERM)
        assert await life == EXIT_OK
    assert stage.story[0] == "store opens"
    assert stage.story[-3:] == ["engine closes", "cache closes", "store closes"]
    assert "serving" not in stage.story
    assert "engine opens" not in stage.story
