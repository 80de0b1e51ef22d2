"""A stand-in desktop on the session bus: a place for tray icons, a notification service and the settings portal.

Runs in: a thread of its own with its own loop; the public methods may be called from the test.
The annotations of D-Bus methods are D-Bus signatures, which the library reads: no postponed annotations here.
"""

import asyncio
import threading
import time
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any, TypeVar

from dbus_fast import PropertyAccess, Variant
from dbus_fast.aio import MessageBus
from dbus_fast.service import ServiceInterface, dbus_method, dbus_property, dbus_signal

T = TypeVar("T")

PATIENCE_S = 40.0  # a busy machine with two cores


@dataclass(frozen=True, kw_only=True)
class ShownNote:
    """One notification that the service was asked to show."""

    number: int
    app: str
    title: str
    body: str
    actions: dict[str, str]  # key -> label


class TrayPlace(ServiceInterface):
    """org.kde.StatusNotifierWatcher with a host."""

    def __init__(self) -> None:
        super().__init__("org.kde.StatusNotifierWatcher")
        self.items: list[str] = []

    @dbus_method()
    def RegisterStatusNotifierItem(self, service: "s") -> None:  # noqa: F821, N802
        self.items.append(service)
        self.StatusNotifierItemRegistered(service)

    @dbus_method()
    def RegisterStatusNotifierHost(self, service: "s") -> None:  # noqa: F821, N802
        return None

    @dbus_signal()
    def StatusNotifierItemRegistered(self, service: str) -> "s":  # noqa: F821, N802
        return service

    @dbus_signal()
    def StatusNotifierHostRegistered(self) -> None:  # noqa: N802
        return None

    @dbus_property(access=PropertyAccess.READ)
    def RegisteredStatusNotifierItems(self) -> "as":  # noqa: F722, N802
        return self.items

    @dbus_property(access=PropertyAccess.READ)
    def IsStatusNotifierHostRegistered(self) -> "b":  # noqa: F821, N802
        return True

    @dbus_property(access=PropertyAccess.READ)
    def ProtocolVersion(self) -> "i":  # noqa: F821, N802
        return 0


class NoteService(ServiceInterface):
    """org.freedesktop.Notifications with buttons."""

    def __init__(self) -> None:
        super().__init__("org.freedesktop.Notifications")
        self.shown: list[ShownNote] = []

    @dbus_method()
    def GetCapabilities(self) -> "as":  # noqa: F722, N802
        return ["actions", "body"]

    @dbus_method()
    def GetServerInformation(self) -> "ssss":  # noqa: F821, N802
        return ["fakedesk", "test", "1", "1.2"]

    @dbus_method()
    def Notify(  # noqa: N802
        self,
        app: "s",  # noqa: F821
        replaces: "u",  # noqa: F821
        icon: "s",  # noqa: F821
        title: "s",  # noqa: F821
        body: "s",  # noqa: F821
        actions: "as",  # noqa: F722
        hints: "a{sv}",  # noqa: F722
        timeout: "i",  # noqa: F821
    ) -> "u":  # noqa: F821
        pairs = dict(zip(actions[::2], actions[1::2], strict=True))
        number = len(self.shown) + 1
        self.shown.append(ShownNote(number=number, app=app, title=title, body=body, actions=pairs))
        return number

    @dbus_method()
    def CloseNotification(self, number: "u") -> None:  # noqa: F821, N802
        return None

    @dbus_signal()
    def NotificationClosed(self, number: int, why: int) -> "uu":  # noqa: F821, N802
        return [number, why]

    @dbus_signal()
    def ActionInvoked(self, number: int, key: str) -> "us":  # noqa: F821, N802
        return [number, key]


class SettingsPortal(ServiceInterface):
    """org.freedesktop.portal.Settings: 1 is dark, 2 is light."""

    def __init__(self, scheme: int) -> None:
        super().__init__("org.freedesktop.portal.Settings")
        self.scheme = scheme

    @dbus_method()
    def ReadOne(self, namespace: "s", key: "s") -> "v":  # noqa: F821, N802
        return Variant("u", self.scheme)

    @dbus_signal()
    def SettingChanged(self, namespace: str, key: str, value: Any) -> "ssv":  # noqa: F821, N802
        return [namespace, key, value]


class FakeDesk:
    """Offers the services from `start` to `stop`; each can be left out."""

    def __init__(self, *, tray: bool = True, notifications: bool = True, scheme: int | None = None) -> None:
        self.tray = TrayPlace() if tray else None
        self.notifications = NoteService() if notifications else None
        self.portal = SettingsPortal(scheme) if scheme is not None else None
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="fakedesk", daemon=True)
        self._bus: MessageBus | None = None

    def start(self) -> None:
        self._thread.start()
        self._do(self._offer())

    def stop(self) -> None:
        if self._bus is not None:
            self._loop.call_soon_threadsafe(self._bus.disconnect)
            self._do(asyncio.sleep(0.05))
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(PATIENCE_S)
        self._loop.close()

    # --- the tray

    def wait_for_icon(self) -> None:
        assert self.tray is not None
        items = self.tray.items
        wait_until(lambda: bool(items), "a tray icon")

    def icon_properties(self) -> dict[str, Any]:
        """Id, status, tooltip and the picture's bytes."""
        return self._do(self._icon_properties())

    def click_icon(self) -> None:
        self._do(self._click_icon())

    def menu(self) -> dict[str, bool]:
        """Labels of the menu's visible entries, and whether they are enabled."""
        return {label: enabled for label, (_number, enabled) in self._do(self._menu()).items()}

    def choose(self, label: str) -> None:
        """Clicks an entry of the menu."""
        self._do(self._choose(label))

    # --- notifications

    def wait_for_note(self, count: int = 1) -> ShownNote:
        assert self.notifications is not None
        shown = self.notifications.shown
        wait_until(lambda: len(shown) >= count, f"{count} notifications")
        return shown[count - 1]

    def press(self, note: ShownNote, label: str) -> None:
        """Presses a notification's button."""
        assert self.notifications is not None
        key = next(key for key, text in note.actions.items() if text == label)
        self._loop.call_soon_threadsafe(self.notifications.ActionInvoked, note.number, key)

    # --- the portal

    def set_scheme(self, scheme: int) -> None:
        assert self.portal is not None
        self.portal.scheme = scheme
        value = Variant("u", scheme)
        self._loop.call_soon_threadsafe(
            self.portal.SettingChanged, "org.freedesktop.appearance", "color-scheme", value
        )

    # --- on the loop

    def _do(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(PATIENCE_S)

    async def _offer(self) -> None:
        self._bus = bus = await MessageBus().connect()
        offers = (
            (self.tray, "/StatusNotifierWatcher", "org.kde.StatusNotifierWatcher"),
            (self.notifications, "/org/freedesktop/Notifications", "org.freedesktop.Notifications"),
            (self.portal, "/org/freedesktop/portal/desktop", "org.freedesktop.portal.Desktop"),
        )
        for service, path, name in offers:
            if service is not None:
                bus.export(path, service)
                await bus.request_name(name)
        if self.tray is not None:
            self.tray.StatusNotifierHostRegistered()

    async def _interface(self, path: str, interface: str) -> Any:
        assert self._bus is not None
        assert self.tray is not None
        name = self.tray.items[-1]
        proxy = self._bus.get_proxy_object(name, path, await self._bus.introspect(name, path))
        return proxy.get_interface(interface)

    async def _item(self) -> Any:
        return await self._interface("/StatusNotifierItem", "org.kde.StatusNotifierItem")

    async def _icon_properties(self) -> dict[str, Any]:
        item = await self._item()
        pixmap = await item.get_icon_pixmap()
        name = await item.get_icon_name()
        tip = await item.get_tool_tip()
        return {"id": await item.get_id(), "tip": tip[2] or tip[3], "picture": (name, str(pixmap))}

    async def _click_icon(self) -> None:
        await (await self._item()).call_activate(1, 1)

    async def _menu_interface(self) -> Any:
        path = await (await self._item()).get_menu()
        return await self._interface(path, "com.canonical.dbusmenu")

    async def _menu(self) -> dict[str, tuple[int, bool]]:
        _, root = await (await self._menu_interface()).call_get_layout(0, -1, [])
        found: dict[str, tuple[int, bool]] = {}
        for entry in root[2]:
            number, properties, _children = entry.value
            values = {key: variant.value for key, variant in properties.items()}
            if values.get("label") and values.get("visible", True):
                found[values["label"].replace("_", "")] = number, values.get("enabled", True)
        return found

    async def _choose(self, label: str) -> None:
        number, _enabled = (await self._menu())[label]
        await (await self._menu_interface()).call_event(number, "clicked", Variant("s", ""), 0)


def wait_until(condition: Any, what: str, *, patience_s: float = PATIENCE_S) -> None:
    """Waits in a thread that runs no loop."""
    deadline = time.monotonic() + patience_s
    while not condition():
        assert time.monotonic() < deadline, f"waited for {what} in vain"
        time.sleep(0.02)
