"""Linux' system bus: reads properties, and gives up quietly where there is no bus or nobody answers.

Runs in: the runtime's event loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable
from typing import Any

from dbus_fast import BusType, DBusFastError, Message, MessageFlag, MessageType
from dbus_fast.aio import MessageBus

CALL_LIMIT_S = 2.0
RETRY_S = 60.0  # after a connection that failed or ended

log = logging.getLogger(__name__)

_TROUBLE = (OSError, EOFError, DBusFastError, ValueError, TimeoutError)


async def open_bus(address: str | None = None, *, with_descriptors: bool = False) -> MessageBus | None:
    """A connection to the bus at this address, the system's by default; None when there is none.

    `with_descriptors` lets replies carry open files.
    """
    try:
        bus = MessageBus(
            bus_address=address,
            bus_type=BusType.SYSTEM,
            negotiate_unix_fd=with_descriptors,
            auth_timeout=CALL_LIMIT_S,
        )
        async with asyncio.timeout(CALL_LIMIT_S):
            return await bus.connect()
    except _TROUBLE as trouble:
        log.debug("no system bus: %s", type(trouble).__name__)
        return None


async def call(bus: MessageBus, message: Message) -> Message | None:
    """The reply; None for an error, or when none came in time. Nothing is started for the asking."""
    try:
        async with asyncio.timeout(CALL_LIMIT_S):
            reply = await bus.call(message)
    except _TROUBLE as trouble:
        log.debug("%s on the system bus: %s", message.member, type(trouble).__name__)
        return None
    return reply if reply.message_type is MessageType.METHOD_RETURN else None


class SystemBus:
    """A connection that is made when it is needed and made again, later, when it has ended."""

    def __init__(
        self, *, address: str | None = None, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._address = address
        self._monotonic = monotonic
        self._bus: MessageBus | None = None
        self._not_before_s = 0.0

    async def read(self, name: str, path: str, interface: str, member: str) -> Any:
        """A property of a service that is running; None when it, or the service, is not there."""
        bus = await self._connected()
        if bus is None:
            return None
        question = Message(
            destination=name,
            path=path,
            interface="org.freedesktop.DBus.Properties",
            member="Get",
            signature="ss",
            body=[interface, member],
            flags=MessageFlag.NO_AUTOSTART,
        )
        reply = await call(bus, question)
        return reply.body[0].value if reply is not None and reply.signature == "v" else None

    async def close(self) -> None:
        bus, self._bus = self._bus, None
        if bus is not None:
            await disconnect(bus)

    async def _connected(self) -> MessageBus | None:
        if self._bus is not None and self._bus.connected:
            return self._bus
        self._bus = None
        if self._monotonic() >= self._not_before_s:
            self._not_before_s = self._monotonic() + RETRY_S
            self._bus = await open_bus(self._address)
        return self._bus


async def disconnect(bus: MessageBus) -> None:
    """Ends a connection, whatever state it is in."""
    bus.disconnect()
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(CALL_LIMIT_S):
            await ended(bus)


async def ended(bus: MessageBus) -> None:
    """Returns when the connection has ended, by us or by the other side."""
    with contextlib.suppress(*_TROUBLE):
        await bus.wait_for_disconnect()  # type: ignore[no-untyped-call]
