"""Other programs that want the processor at the same time: one that never rests, and some with a fixed amount of work.

Runs in: the benchmark's process; the programs are processes of their own.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

from engine.bench.child import Child
from engine.bench.core import BenchFailed

_SAMPLE_ROUNDS = 2_000_000
_SPIN = "while True: pass"
# The time is taken inside, from the moment that all are told to go: starting Python is not part of the work.
_WORK = """
import sys, time
def work(rounds):
    x = 1
    for _ in range(rounds):
        x = (x * 1103515245 + 12345) % 2147483648
for line in sys.stdin:
    started = time.perf_counter()
    work(int(line))
    print(time.perf_counter() - started, flush=True)
"""


@asynccontextmanager
async def spinning(n_programs: int) -> AsyncIterator[None]:
    """So many programs that never rest, at normal priority."""
    with tempfile.TemporaryDirectory() as folder:
        programs: list[Child] = []
        try:
            for number in range(n_programs):
                log = Path(folder) / f"{number}.log"
                programs.append(await Child.start([sys.executable, "-I", "-c", _SPIN], log=log))
            await asyncio.sleep(0.5)  # they run, and what watches for them has seen them
            yield
        finally:
            for program in programs:
                await program.end()


@asynccontextmanager
async def fixed_work(n_programs: int, work_s: float) -> AsyncIterator[Callable[[], Awaitable[float]]]:
    """Programs that do about work_s of work each time; yields what lets all do it at once and says how long the slowest took."""
    with tempfile.TemporaryDirectory() as folder:
        programs: list[Child] = []

        async def run_s(rounds: int) -> float:
            return max(await asyncio.gather(*(_order(program, rounds) for program in programs)))

        try:
            for number in range(n_programs):
                log = Path(folder) / f"{number}.log"
                programs.append(await Child.start([sys.executable, "-I", "-c", _WORK], log=log, talks=True))
            rounds = max(1, round(_SAMPLE_ROUNDS * work_s / await run_s(_SAMPLE_ROUNDS)))
            yield partial(run_s, rounds)
        finally:
            for program in programs:
                await program.end()


async def _order(program: Child, rounds: int) -> float:
    stdin, stdout = program.process.stdin, program.process.stdout
    assert stdin is not None
    assert stdout is not None
    stdin.write(f"{rounds}\n".encode())
    await stdin.drain()
    said = await stdout.readline()
    if not said:
        raise BenchFailed(f"A program with fixed work ended: {program.last_words()}.")
    return float(said)
