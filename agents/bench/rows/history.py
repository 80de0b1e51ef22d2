"""What a long past costs: the start with 100,000 old runs, and a page of them."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

from agents.bench.children import Child, running
from agents.bench.core import BenchFailed, Row, Scale
from agents.bench.homes import FIRST_OLD_ID, add_agents, add_old_runs, new_home
from agents.clock import SystemClock
from agents.triggers import CronTrigger

MAX_START_S = 2.0
MAX_PAGE_MS = 50.0
PAGE = 50
N_AGENTS = 20


async def measure_history(folder: Path, scale: Scale) -> list[Row]:
    """The same home twice: new, and with a past."""
    async with new_home(folder, SystemClock()) as (paths, key, store):
        await add_agents(store, [CronTrigger(schedule="0 0 1 1 *", zone="UTC")] * N_AGENTS)
        agents = await store.agents.list()
    empty_s = [await _start(folder) for _ in range(scale.starts)]
    await asyncio.to_thread(add_old_runs, paths, key, agents=agents, count=scale.old_runs)
    full_s = [await _start(folder) for _ in range(scale.starts)]
    async with running(folder) as child:
        pages_ms = [_page_ms(child, scale, index) for index in range(scale.pages)]
    return [
        Row(
            name="start_old_runs",
            meaning=f"from the process's start until it answers, with {scale.old_runs:,} old runs",
            unit="s",
            samples=full_s,
            max_ours=MAX_START_S,
            notes=(f"with none: {sorted(empty_s)[len(empty_s) // 2]:.2f} s",),
        ),
        Row(
            name="history_page",
            meaning=f"{PAGE} runs from anywhere in {scale.old_runs:,}, through the socket",
            unit="ms",
            samples=pages_ms,
            max_ours=MAX_PAGE_MS,
            notes=(f"the slowest of {len(pages_ms)}: {max(pages_ms):.1f} ms",),
        ),
    ]


async def _start(folder: Path) -> float:
    async with running(folder) as child:
        return child.start_s


def _page_ms(child: Child, scale: Scale, index: int) -> float:
    before = FIRST_OLD_ID + scale.old_runs - index * (scale.old_runs // (scale.pages + 1))
    began_s = time.perf_counter()
    page = child.get(f"/v1/runs?limit={PAGE}&before={before}")
    took_ms = 1000 * (time.perf_counter() - began_s)
    if len(page) != PAGE:
        raise BenchFailed(f"A page of history holds {len(page)} runs instead of {PAGE}.")
    return took_ms
