"""What is done after the computer has woken, in order, each step with a time limit. Runs in: the runtime's event loop."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

import psutil

SETTLE_LIMIT_S = 10.0
SETTLE_LOOK_S = 0.5
SETTLED_LOOKS = 3  # in a row with the same addresses
MAX_JITTER_S = 3.0  # the system's own work after a wake goes first

log = logging.getLogger(__name__)

Addresses = frozenset[str]


@dataclass(frozen=True, kw_only=True)
class WakeStep:
    """One thing to do; when it fails or takes too long the next ones are done all the same."""

    name: str
    do: Callable[[], Awaitable[object]]
    limit_s: float


async def take_steps(steps: Sequence[WakeStep]) -> None:
    """All of them, in order."""
    for step in steps:
        try:
            async with asyncio.timeout(step.limit_s):
                await step.do()
        except TimeoutError:
            log.warning("after the sleep: %s took more than %.0f s", step.name, step.limit_s)
        except Exception:
            log.exception("after the sleep: %s failed", step.name)


def network_addresses() -> Addresses:
    """The addresses under which this computer can be reached from elsewhere; none without a network."""
    up = {name for name, state in psutil.net_if_stats().items() if state.isup}
    return frozenset(
        f"{name} {address.address}"
        for name, addresses in psutil.net_if_addrs().items()
        if name in up
        for address in addresses
        if address.family.name in ("AF_INET", "AF_INET6") and not _stays_here(address.address)
    )


def _stays_here(address: str) -> bool:
    return address.startswith(("127.", "169.254.", "fe80:")) or address == "::1"


async def network_settles(
    before: Addresses,
    *,
    look: Callable[[], Addresses] = network_addresses,
    limit_s: float = SETTLE_LIMIT_S,
    look_s: float = SETTLE_LOOK_S,
) -> bool:
    """Waits until the addresses rest; False when they did not in time. One that had a network before sleep waits for it."""
    same, last = 0, look()
    for _ in range(max(1, round(limit_s / look_s))):
        if same >= SETTLED_LOOKS - 1 and (last or not before):
            return True
        await asyncio.sleep(look_s)
        now = look()
        same, last = (same + 1 if now == last else 0), now
    return False


async def jitter(limit_s: float = MAX_JITTER_S) -> None:
    """A moment by chance, so that all computers of a house that wake together do not ask the same server together."""
    await asyncio.sleep(random.uniform(0.0, limit_s))
