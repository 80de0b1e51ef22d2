"""One thread for looks that may block, such as at a slow driver; a look that hangs is waited for by nobody.

Runs in: the runtime's event loop, with a thread of its own.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")
LOOK_LIMIT_S = 3.0

log = logging.getLogger(__name__)


class LookThread:
    """Runs one look at a time; while one hangs, further ones are not begun."""

    def __init__(self, *, limit_s: float = LOOK_LIMIT_S) -> None:
        self._limit_s = limit_s
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="hearth-look")
        self._last: Future[object] | None = None

    async def run(self, look: Callable[[], T], otherwise: T) -> T:
        """What `look` returns; `otherwise` when it fails, takes too long, or an earlier one still hangs."""
        if self._last is not None and not self._last.done():
            return otherwise
        future = self._thread.submit(look)
        self._last = future  # type: ignore[assignment]  # only whether it is done is asked
        try:
            async with asyncio.timeout(self._limit_s):
                return await asyncio.shield(asyncio.wrap_future(future))
        except TimeoutError:
            log.warning("a look at the system takes more than %.0f s", self._limit_s)
        except Exception:
            log.exception("a look at the system failed")
        return otherwise

    def close(self) -> None:
        """Waits for nobody: a thread that hangs ends with its look."""
        self._thread.shutdown(wait=False, cancel_futures=True)
