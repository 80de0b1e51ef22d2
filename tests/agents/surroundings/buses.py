"""A private bus with stand-ins for the system's services, so that no test asks or disturbs the real ones.

The annotations of D-Bus methods are D-Bus signatures, which the library reads: no postponed annotations here.
"""

import os
import select
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from dbus_fast import Message, MessageType, PropertyAccess
from dbus_fast.aio import MessageBus
from dbus_fast.service import ServiceInterface, dbus_method, dbus_property, dbus_signal


@contextmanager
def private_bus() -> Iterator[str]:
    """The address of a bus that lives as long as this is open."""
    if shutil.which("dbus-daemon") is None:
        pytest.skip("needs dbus-daemon")
    folder = Path(tempfile.mkdtemp(prefix="hearth-bus-"))  # short: a socket's path has little room
    address = f"unix:path={folder / 'bus'}"
    daemon = subprocess.Popen(
        ["dbus-daemon", "--session", "--nofork", "--nopidfile", "--print-address", f"--address={address}"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        assert daemon.stdout is not None
        assert daemon.stdout.readline().startswith("unix:")
        yield address
    finally:
        daemon.terminate()
        daemon.wait(5)
        daemon.stdout.close()
        shutil.rmtree(folder)


class Manager(ServiceInterface):
    """org.freedesktop.login1.Manager, as far as it is asked here."""

    def __init__(self) -> None:
        super().__init__("org.freedesktop.login1.Manager")
        self.idle = False
        self.idle_since_us = 0
        self.asked: list[tuple[str, str, str]] = []  # what, who, mode
        self._read_end: int | None = None
        self._copies: list[int] = []

    @dbus_method()
    def Inhibit(self, what: "s", who: "s", why: "s", mode: "s") -> "h":  # noqa: F821, N802
        self.asked.append((what, who, mode))
        self.close()
        self._read_end, given = os.pipe()
        self._copies.append(given)
        return given

    @dbus_property(access=PropertyAccess.READ)
    def IdleHint(self) -> "b":  # noqa: F821, N802
        return self.idle

    @dbus_property(access=PropertyAccess.READ)
    def IdleSinceHint(self) -> "t":  # noqa: F821, N802
        return self.idle_since_us

    @dbus_signal()
    def PrepareForSleep(self, sleeping: bool) -> "b":  # noqa: F821, N802
        return sleeping

    @property
    def is_delayed(self) -> bool:
        """Whether somebody still holds the last lock that was given."""
        while self._copies:
            os.close(self._copies.pop())
        if self._read_end is None:
            return False
        poll = select.poll()
        poll.register(self._read_end, select.POLLIN)
        return not any(events & select.POLLHUP for _, events in poll.poll(0))

    def close(self) -> None:
        while self._copies:
            os.close(self._copies.pop())
        if self._read_end is not None:
            os.close(self._read_end)
            self._read_end = None


class Session(ServiceInterface):
    """org.freedesktop.login1.Session."""

    def __init__(self) -> None:
        super().__init__("org.freedesktop.login1.Session")
        self.locked = False

    @dbus_property(access=PropertyAccess.READ)
    def LockedHint(self) -> "b":  # noqa: F821, N802
        return self.locked


class Profiles(ServiceInterface):
    """The daemon of power profiles, under either of its names."""

    def __init__(self, interface: str) -> None:
        super().__init__(interface)
        self.profile = "balanced"

    @dbus_property(access=PropertyAccess.READ)
    def ActiveProfile(self) -> "s":  # noqa: F821, N802
        return self.profile


class Network(ServiceInterface):
    """org.freedesktop.NetworkManager."""

    def __init__(self) -> None:
        super().__init__("org.freedesktop.NetworkManager")
        self.metered = 0

    @dbus_property(access=PropertyAccess.READ)
    def Metered(self) -> "u":  # noqa: F821, N802
        return self.metered


class FakeLogind:
    """logind on a private bus; `stop` lets it go as a crash would."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._bus: MessageBus | None = None
        self.manager = Manager()
        self.session = Session()

    async def start(self) -> None:
        self._bus = await MessageBus(bus_address=self._address, negotiate_unix_fd=True).connect()
        self._bus.export("/org/freedesktop/login1", self.manager)
        self._bus.export("/org/freedesktop/login1/session/auto", self.session)
        await self._bus.request_name("org.freedesktop.login1")

    async def whisper_sleep_to_everybody(self) -> None:
        """The signal of a sleep, sent to each program on the bus alone: that passes by what they have subscribed to."""
        assert self._bus is not None
        to_bus = {
            "destination": "org.freedesktop.DBus",
            "path": "/org/freedesktop/DBus",
            "interface": "org.freedesktop.DBus",
        }
        names = await self._bus.call(Message(**to_bus, member="ListNames"))
        for name in names.body[0]:
            if name.startswith(":"):
                await self._bus.send(
                    Message(
                        destination=name,
                        path="/org/freedesktop/login1",
                        interface="org.freedesktop.login1.Manager",
                        member="PrepareForSleep",
                        message_type=MessageType.SIGNAL,
                        signature="b",
                        body=[True],
                    )
                )

    async def stop(self) -> None:
        self.manager.close()
        await leave(self._bus)


async def serve(address: str, name: str, path: str, interface: ServiceInterface) -> MessageBus:
    """One more service on the bus."""
    bus = await MessageBus(bus_address=address).connect()
    bus.export(path, interface)
    await bus.request_name(name)
    return bus


async def leave(bus: MessageBus | None) -> None:
    if bus is not None:
        bus.disconnect()
        await bus.wait_for_disconnect()
