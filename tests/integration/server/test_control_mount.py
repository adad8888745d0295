"""The control API of a worker is made at its first request."""

import asyncio
from dataclasses import dataclass, field
from typing import Any, cast

import pytest
from starlette.types import Receive, Scope, Send

from treadle.server.control_mount import ControlMount
from treadle.server.control_service import ControlService


@dataclass(slots=True)
class NotedEvents:
    ended: int = 0

    def end(self) -> None:
        self.ended += 1


@dataclass(slots=True)
class NotedService:
    """Stands for the API: notes which paths it answered, and whether it was closed."""

    paths: list[str] = field(default_factory=list)
    events: NotedEvents = field(default_factory=NotedEvents)
    closed: int = 0

    async def app(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.paths.append(scope["path"])

    async def aclose(self) -> None:
        self.closed += 1


@dataclass(slots=True)
class NotedMaker:
    """Makes one service, and fails as often as it is told to."""

    failures: int = 0
    made: list[NotedService] = field(default_factory=list)

    def __call__(self) -> ControlService:
        if self.failures:
            self.failures -= 1
            raise MemoryError
        self.made.append(NotedService())
        return cast("ControlService", self.made[-1])


async def ask(mount: ControlMount, path: str) -> None:
    async def receive() -> Any:
        raise AssertionError("nothing is read")

    async def send(message: Any) -> None:
        raise AssertionError("nothing is sent")

    await mount({"type": "http", "path": path}, receive, send)


def test_requests_at_once_find_one_service() -> None:
    make = NotedMaker()

    async def go() -> None:
        mount = ControlMount(make)
        assert make.made == []
        await asyncio.gather(*(ask(mount, f"/{number}") for number in range(5)))
        (service,) = make.made
        assert sorted(service.paths) == ["/0", "/1", "/2", "/3", "/4"]
        assert cast("NotedService", await mount.get_service()) is service
        mount.end_streams()
        assert service.events.ended == 1
        await mount.aclose()
        assert service.closed == 1

    asyncio.run(go())


def test_a_fault_is_raised_and_the_next_request_tries_again() -> None:
    make = NotedMaker(failures=1)

    async def go() -> None:
        mount = ControlMount(make)
        with pytest.raises(MemoryError):
            await ask(mount, "/first")
        await ask(mount, "/second")
        assert make.made[0].paths == ["/second"]

    asyncio.run(go())


def test_a_worker_that_was_never_asked_ends_without_it() -> None:
    make = NotedMaker()

    async def go() -> None:
        mount = ControlMount(make)
        mount.end_streams()
        await mount.aclose()

    asyncio.run(go())
    assert make.made == []
