"""Faults that tests inject into the child; nothing happens unless ENGINE_FAULT is set in its environment.

The supervisor gives its child a clean environment, so only a caller that passes env= explicitly reaches this.
Syntax: ACTION@POINT[:TAG], several separated by commas. README.md lists the actions, points and tags.
"""

from __future__ import annotations

import ctypes
import os
import signal
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

ENVIRONMENT_NAME = "ENGINE_FAULT"


def _segv() -> None:
    ctypes.string_at(0)


def _kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _stop() -> None:
    os.kill(os.getpid(), signal.SIGSTOP)


def _exit() -> None:
    os._exit(3)


def _hang() -> None:
    while True:
        time.sleep(60)


def _noise() -> None:
    """Native code that writes to stdout, as a chatty library would."""
    libc = ctypes.CDLL(None)
    for _ in range(100):
        libc.printf(b"noise from native code\n")
    libc.fflush(None)
    os.write(1, b"noise on descriptor 1\n")


_ACTIONS: Mapping[str, Callable[[], None]] = {
    "segv": _segv,
    "abort": os.abort,
    "kill": _kill,
    "stop": _stop,
    "exit": _exit,
    "hang": _hang,
    "noise": _noise,
}


@dataclass(frozen=True, kw_only=True)
class _Fault:
    action: str
    point: str
    tag: str | None


class Faults:
    """The faults of this child; an empty set in real life."""

    def __init__(self, description: str = "") -> None:
        self._faults = [self._parse(part) for part in description.split(",") if part]

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Faults:
        """What the environment asks for."""
        return cls(environment.get(ENVIRONMENT_NAME, ""))

    @staticmethod
    def _parse(text: str) -> _Fault:
        action, _, place = text.partition("@")
        point, _, tag = place.partition(":")
        if action not in _ACTIONS or not point:
            raise ValueError(f"{ENVIRONMENT_NAME} holds {text!r}; it must read ACTION@POINT[:TAG]")
        return _Fault(action=action, point=point, tag=tag or None)

    def reach(self, point: str, *tags: str) -> None:
        """The child came to a point; whatever was asked for there happens now."""
        for fault in self._faults:
            if fault.point == point and (fault.tag is None or fault.tag in tags):
                _ACTIONS[fault.action]()
