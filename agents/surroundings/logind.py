"""logind's word about sleep, and the lock that delays it until everything is parked. Runs in: the runtime's event loop.

The lock is held all the time and not only while runs are in work: it delays a sleep by no more than parking takes, and a run that begins
in the moment of the signal has it already.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Awaitable, Callable

from dbus_fast import Message, MessageType
from dbus_fast.aio import MessageBus

from agents.surroundings.bus import call, disconnect, ended, open_bus

RETRY_S = 60.0  # without a bus, or after it went away
_NAME, _PATH, _MANAGER = "org.freedesktop.login1", "/org/freedesktop/login1", "org.freedesktop.login1.Manager"
_RULE = f"type='signal',sender='{_NAME}',interface='{_MANAGER}',member='PrepareForSleep',path='{_PATH}'"

log = logging.getLogger(__name__)


class LogindSignals:
    """`address` is the system bus's; a bus or a logind that is missing or goes away is looked for again."""

    def __init__(self, *, address: str | None = None, retry_s: float = RETRY_S) -> None:
        self._address = address
        self._retry_s = retry_s
        self._lock: int | None = None  # a file descriptor: sleep is delayed while it is open
        self._task: asyncio.Task[None] | None = None

    @property
    def holds_lock(self) -> bool:
        return self._lock is not None

    async def start(
        self, about_to_sleep: Callable[[], Awaitable[None]], awake: Callable[[], Awaitable[None]]
    ) -> None:
        self._task = asyncio.create_task(self._keep_listening(about_to_sleep, awake), name="logind")

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
            self._task = None

    async def _keep_listening(
        self, about_to_sleep: Callable[[], Awaitable[None]], awake: Callable[[], Awaitable[None]]
    ) -> None:
        while True:
            bus = await open_bus(self._address, with_descriptors=True)
            if bus is not None:
                try:
                    await self._listen(bus, about_to_sleep, awake)
                except Exception:
                    log.exception("listening to logind failed")
                finally:
                    self._release()
                    await disconnect(bus)
                log.info("logind went away; sleep is told by the clocks alone until it is back")
            await asyncio.sleep(self._retry_s)

    async def _listen(
        self,
        bus: MessageBus,
        about_to_sleep: Callable[[], Awaitable[None]],
        awake: Callable[[], Awaitable[None]],
    ) -> None:
        """Until the connection ends."""
        signals: asyncio.Queue[Message | None] = asyncio.Queue()

        def arrived(message: Message) -> None:
            is_signal = message.message_type is MessageType.SIGNAL and message.interface == _MANAGER
            if is_signal and message.member == "PrepareForSleep" and message.signature == "b":
                signals.put_nowait(message)

        bus.add_message_handler(arrived)
        end = asyncio.create_task(ended(bus), name="logind-end")
        end.add_done_callback(lambda _: signals.put_nowait(None))
        try:
            await call(bus, _to_bus("AddMatch", _RULE))
            await self._take(bus)
            while (signal := await signals.get()) is not None:
                if not await _is_from_logind(bus, signal):
                    continue
                if signal.body[0]:
                    try:
                        await about_to_sleep()
                    finally:
                        self._release()
                else:
                    await self._take(bus)
                    await awake()
        finally:
            end.cancel()
            await asyncio.wait([end])

    async def _take(self, bus: MessageBus) -> None:
        if self._lock is not None:
            return
        question = Message(
            destination=_NAME,
            path=_PATH,
            interface=_MANAGER,
            member="Inhibit",
            signature="ssss",
            body=["sleep", "Hearth", "Agents at work are parked first.", "delay"],
        )
        reply = await call(bus, question)
        if reply is not None and reply.unix_fds:
            self._lock = reply.unix_fds[0]
        else:
            log.info("logind gives no delay before sleep; runs are parked as far as time allows")

    def _release(self) -> None:
        lock, self._lock = self._lock, None
        if lock is not None:
            os.close(lock)


async def _is_from_logind(bus: MessageBus, signal: Message) -> bool:
    """The rule keeps out what others broadcast, but not what somebody sends to us alone."""
    reply = await call(bus, _to_bus("GetNameOwner", _NAME))
    return reply is not None and reply.body[0] == signal.sender


def _to_bus(member: str, text: str) -> Message:
    return Message(
        destination="org.freedesktop.DBus",
        path="/org/freedesktop/DBus",
        interface="org.freedesktop.DBus",
        member=member,
        signature="s",
        body=[text],
    )
