"""What a runtime costs that only waits: processor time and memory with 100 armed agents."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

from agents.bench.children import running
from agents.bench.core import Row, Scale
from agents.bench.homes import add_agents, new_home
from agents.clock import SystemClock
from agents.triggers import CronTrigger

SETTLE_S = 8.0  # the model is loaded in the engine's own process, and the first backup is made
MAX_PERCENT = 0.5
MAX_MB = 150.0


async def measure_idle(folder: Path, scale: Scale) -> list[Row]:
    """A real runtime, with its socket and its watchdog, and agents that are due once a year."""
    async with new_home(folder, SystemClock()) as (_, _, store):
        triggers = [CronTrigger(schedule="0 0 1 1 *", zone="UTC")] * scale.idle_agents
        await add_agents(store, triggers)
    async with running(folder) as child:
        await asyncio.sleep(SETTLE_S)
        cpu_s, began_s = child.cpu_s(), time.monotonic()
        await asyncio.sleep(scale.idle_s)
        percent = 100 * (child.cpu_s() - cpu_s) / (time.monotonic() - began_s)
        rss_mb, engine_mb = child.rss_bytes() / 1e6, child.engine_rss_bytes() / 1e6
    with_agents = f"{scale.idle_agents} armed agents, over {scale.idle_s:.0f} s"
    return [
        Row(
            name="idle_cpu",
            meaning=f"what an idle runtime takes of one core, with {with_agents}",
            unit="%",
            samples=(percent,),
            max_ours=MAX_PERCENT,
        ),
        Row(
            name="idle_rss",
            meaning=f"the memory of an idle runtime with {scale.idle_agents} armed agents, without the engine's process",
            unit="MB",
            samples=(rss_mb,),
            max_ours=MAX_MB,
            notes=(f"its engine's process, with the model of this installation: {engine_mb:.0f} MB",),
        ),
    ]
