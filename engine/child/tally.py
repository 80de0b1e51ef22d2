"""What the child counts while it works, for metrics; no I/O."""

from __future__ import annotations

from dataclasses import dataclass

from engine.schedule.batch import Batch, Run
from engine.schedule.kv_cache import KvCache
from engine.schedule.scheduler import Scheduler
from engine.states.snapshots import SnapshotStore
from engine.status import EngineCounters


@dataclass(kw_only=True)
class Tally:
    """Sums since the child was started."""

    batches: int = 0
    batch_tokens: int = 0
    batch_sequences: int = 0
    prompt_tokens: int = 0
    generated_tokens: int = 0
    drafted_tokens: int = 0
    accepted_tokens: int = 0
    python_s: float = 0.0

    def note_batch(self, batch: Batch) -> None:
        """A batch was computed."""
        self.batches += 1
        self.batch_tokens += batch.n_tokens
        self.batch_sequences += len(batch.runs)

    def note_step(self, run: Run, n_generated: int, n_accepted: int) -> None:
        """A sequence got so many new tokens."""
        self.generated_tokens += n_generated
        self.drafted_tokens += run.n_drafts
        self.accepted_tokens += n_accepted

    def counters(
        self, *, scheduler: Scheduler, kv: KvCache, store: SnapshotStore, n_threads: int, native_s: float
    ) -> EngineCounters:
        """Everything in one message."""
        return EngineCounters(
            running=scheduler.n_running,
            waiting=scheduler.n_waiting,
            swapped=scheduler.n_swapped,
            kv_cells=kv.n_cells,
            kv_used=kv.n_used,
            n_threads=n_threads,
            ram_cache_bytes=store.ram_bytes,
            disk_cache_bytes=store.disk_bytes,
            batches=self.batches,
            batch_tokens=self.batch_tokens,
            batch_sequences=self.batch_sequences,
            prompt_tokens=self.prompt_tokens,
            cached_resident_tokens=kv.tally.resident,
            cached_ram_tokens=kv.tally.ram,
            cached_disk_tokens=kv.tally.disk,
            generated_tokens=self.generated_tokens,
            preemptions=scheduler.n_preemptions,
            swaps_out=kv.tally.swaps_out,
            swaps_in=kv.tally.swaps_in,
            drafted_tokens=self.drafted_tokens,
            accepted_tokens=self.accepted_tokens,
            native_s=native_s,
            python_s=self.python_s,
        )
