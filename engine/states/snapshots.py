"""States of sequences outside the KV cache: a RAM tier, an encrypted disk tier, pinned prefixes, and parked requests.

Runs in: engine child, engine thread only; what the disk tier has done is told from its own thread, with the lock held.

Two kinds of states lie here. A *cached* one may be dropped at any time: least recently used first, from RAM to disk,
from disk to nothing. A *parked* one belongs to a request that gave way: it is owed, and stays until it is fetched.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial

from engine.model import CacheSpec, KvType
from engine.states.books import Books, Record, Tier
from engine.states.disk import Save, SnapshotDisk, Spill
from engine.states.prefix_index import key_tokens, token_key
from engine.states.sealing import KEY_BYTES, State
from engine.states.spill import Spilled

MIN_BACKLOG_BYTES = 64 * 1024 * 1024  # how much may wait for the writer, at least
CLOSE_TIMEOUT_S = 5.0
_NO_DISK_NOTE = "Computed prompts can't be kept on disk ({reason}); check the folder of the cache."
_STAYS = 9  # a rank: this state does not leave RAM now


@dataclass(frozen=True, kw_only=True)
class StateIdentity:
    """What a state depends on beside its tokens. One of another identity is never loaded."""

    model: str  # names the very file, such as its hash
    build: str  # of llama.cpp
    kv_type: KvType
    flash_attention: bool
    n_ctx: int  # some models place tokens otherwise in a large context (longrope)

    def __str__(self) -> str:
        return json.dumps(asdict(self), sort_keys=True)


@dataclass(frozen=True, kw_only=True)
class Hit:
    """A state that serves a prompt. It covers n_tokens of it; what it holds beyond them has to be rewound."""

    n_tokens: int
    n_state_tokens: int
    tier: Tier
    _read: Callable[[], State | None] = field(repr=False)

    def read(self) -> State | None:
        """The state, not to be changed; None when it turns out to be damaged or is gone."""
        return self._read()


class SnapshotStore:
    """Finds, keeps and drops states. Data that is put or parked is kept without a copy and must not change.

    can_rewind False is for models whose state can't be cut back (recurrent, sliding window): there a state serves only
    prompts that begin with all of its tokens. `note` gets a sentence for the log now and then, from any thread.
    """

    def __init__(
        self,
        spec: CacheSpec,
        *,
        identity: StateIdentity,
        note: Callable[[str], None],
        can_rewind: bool = True,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._ram_limit = spec.ram_bytes
        self._backlog_limit = max(MIN_BACKLOG_BYTES, spec.ram_bytes // 4)
        self._can_rewind = can_rewind
        self._lock = threading.RLock()
        self._books = Books(self._free)
        self._closed = False
        self._disk: SnapshotDisk | None = None
        self._open_disk(spec, str(identity), note, clock)

    @property
    def ram_limit_bytes(self) -> int:
        """What the states in RAM may take."""
        return self._ram_limit

    @property
    def ram_bytes(self) -> int:
        """What the states in RAM take, those on their way to the disk included."""
        return self._books.ram_bytes

    @property
    def disk_bytes(self) -> int:
        """What lies on disk."""
        return self._disk.used_bytes if self._disk is not None else 0

    def put(self, tokens: Sequence[int], data: State, pin: str | None = None) -> None:
        """Keep the state of these tokens. A pin is a name: it outlives restarts, and what it named before is dropped."""
        if not tokens or not len(data):
            return
        key = token_key(tokens)
        with self._lock:
            if self._closed:
                return
            record = self._books.cached_at(key)
            if record is None:
                record = self._books.add(Record(key=key, size_bytes=len(data)))
            if record.data is None:
                self._books.free_spilled(record)
                self._books.take_into_ram(record, data)
            self._touch(record)
            if pin is not None:
                self._pin(record, self._pin_id(pin))
            self._save_unsaved()
            self._make_room(newest=record)

    def is_pinned(self, tokens: Sequence[int], pin: str) -> bool:
        """Whether the state of exactly these tokens is kept under this name."""
        with self._lock:
            record = self._books.pins.get(self._pin_id(pin))
            return record is not None and record.key == token_key(tokens)

    def find(self, tokens: Sequence[int]) -> Hit | None:
        """The state that saves most work for a prompt. Of equal ones, one in RAM, then the smallest.

        Pass the prompt without its last token: that one is computed in any case, for its logits.
        """
        key = token_key(tokens)
        with self._lock:
            index = self._books.index
            n_tokens, records = index.longest(key) if self._can_rewind else index.longest_whole(key)
            if not records:
                return None
            best = min(records, key=lambda record: (record.tier is not Tier.RAM, len(record.key)))
            return Hit(
                n_tokens=n_tokens,
                n_state_tokens=key_tokens(best.key),
                tier=best.tier or Tier.DISK,
                _read=partial(self._read, best),
            )

    def forget(self, pin: str) -> None:
        """Drop a pinned prefix, and the cached states that go on from it, from RAM and from disk before returning.

        States that other pins name and those of running requests stay. Raises OSError when a file can't be removed.
        """
        pin_id = self._pin_id(pin)
        with self._lock:
            record = self._books.pins.get(pin_id)
            if record is not None:
                derived = self._books.index.beginning_with(record.key)
                self._books.unpin(record, pin_id)
                for other in derived:
                    if other in self._books and other.is_cached and not other.pins:
                        self._books.drop(other)
            if self._disk is not None:
                self._disk.forget(pin_id)

    def park(self, request_id: str, tokens: Sequence[int], data: State) -> None:
        """Keep the state of a request that gave way, until it is fetched or dropped. Meanwhile it also serves find()."""
        with self._lock:
            self.drop_parked(request_id)
            if self._closed:
                return
            record = Record(key=token_key(tokens), size_bytes=len(data), parked=request_id)
            self._books.add(record)
            self._books.take_into_ram(record, data)
            self._make_room(newest=record)

    def unpark(self, request_id: str) -> State | None:
        """Hand the state of a request back, and keep it no longer. None when there is none, or it was damaged."""
        with self._lock:
            record = self._books.parked.get(request_id)
        if record is None:
            return None
        data = self._fetch(record)
        self.drop_parked(request_id)
        return data

    def drop_parked(self, request_id: str) -> None:
        """The request needs its state no more."""
        with self._lock:
            record = self._books.parked.get(request_id)
            if record is not None:
                self._books.drop(record)

    def settle(self, timeout_s: float) -> bool:
        """Wait until the disk tier has done what was asked of it. False when the time was too short."""
        return self._disk is None or self._disk.settle(timeout_s)

    def close(self, timeout_s: float = CLOSE_TIMEOUT_S) -> None:
        """Write the pinned prefixes that still wait, within the time; then let go of everything but their files."""
        with self._lock:
            self._closed = True
        if self._disk is not None:
            self._disk.close(timeout_s)
        with self._lock:
            for record in list(self._books):
                self._books.drop(record)

    def check_integrity(self) -> None:
        """Raises RuntimeError when the books contradict each other."""
        with self._lock:
            self._books.check_integrity()

    def _read(self, record: Record) -> State | None:
        data = self._fetch(record)
        with self._lock:
            if record not in self._books:
                return data
            if data is None:
                self._books.drop_if_nowhere(record)
                return None
            if record.data is None:
                self._books.take_into_ram(record, data)
            self._touch(record)
            self._make_room(newest=record)
        return data

    def _fetch(self, record: Record) -> State | None:
        """The data from where it lies; a place that turns out to be damaged counts no more."""
        with self._lock:
            data, spilled, saved = record.data, record.spilled, sorted(record.saved)
        disk = self._disk
        if data is not None or disk is None:
            return data
        if spilled is not None:
            data = disk.spill.read(spilled)
            if data is not None:
                return data
            with self._lock:
                if record.spilled is spilled:
                    self._books.free_spilled(record)
        for pin in saved:
            data = disk.files.read(pin, record.key)
            if data is not None:
                return data
            with self._lock:
                record.saved.discard(pin)
        return None

    # from here on with the lock held

    def _touch(self, record: Record) -> None:
        self._books.touch(record)
        if self._disk is not None:
            for pin in record.saved:
                self._disk.files.touch(pin)

    def _free(self, place: Spilled) -> None:
        if self._disk is not None:
            self._disk.spill.free(place)

    def _pin_id(self, name: str) -> str:
        return self._disk.files.pin_of(name) if self._disk is not None else name

    def _pin(self, record: Record, pin: str) -> None:
        if self._books.pin(record, pin) and self._disk is not None:
            self._disk.files.remove(pin)  # of the text that the name had before

    def _save_unsaved(self) -> None:
        """Have the pinned prefixes written that lie in no file yet, as far as the writer keeps up."""
        disk = self._disk
        if disk is None or self._closed:
            return
        for pin, record in self._books.pins.items():
            if pin in record.saved or pin in record.saving or record.data is None:
                continue
            if disk.takes(record.size_bytes) and disk.backlog_bytes <= self._backlog_limit:
                record.saving.add(pin)
                wanted, done = partial(self._is_saving, record, pin), partial(self._on_saved, record, pin)
                disk.add(Save(pin=pin, key=record.key, data=record.data, wanted=wanted, done=done))

    def _is_saving(self, record: Record, pin: str) -> bool:
        return pin in record.saving

    def _on_saved(self, record: Record, pin: str, placed: bool) -> None:
        if pin not in record.saving:
            return
        record.saving.discard(pin)
        if placed:
            record.saved.add(pin)
        if record.size_bytes > self._ram_limit and not record.saving:
            self._books.stop_leaving(record)
            self._make_room(newest=record)
        if placed:
            self._save_unsaved()
        self._make_room()

    def _make_room(self, newest: Record | None = None) -> None:
        """Bring RAM back under its limit. One state that alone is beyond it does not drive all others out."""
        if newest is not None and newest.size_bytes > self._ram_limit:
            if newest.saving and newest.leaving is None:
                self._books.start_leaving(newest)  # it leaves when it is written
            elif self._rank(newest) < _STAYS:
                self._evict(newest)
        while self._books.ram_bytes - self._books.leaving_bytes > self._ram_limit:
            victim = self._next_victim()
            if victim is None:
                return
            self._evict(victim)

    def _next_victim(self) -> Record | None:
        best, best_rank = None, _STAYS
        for record in self._books:
            rank = self._rank(record)
            if rank < best_rank:
                best, best_rank = record, rank
            if best_rank == 0:
                break
        return best

    def _rank(self, record: Record) -> int:
        """Whose data leaves RAM first: cached states by their last use, then parked ones, unsaved pins last."""
        if record.data is None or record.leaving is not None:
            return _STAYS
        if record.parked is not None:
            goes = record.spilled is not None or (not record.refused and self._disk_takes(record.size_bytes))
            return 1 if goes else _STAYS
        if record.pins and not record.saved:
            return _STAYS if record.saving else 2
        return 0

    def _evict(self, record: Record) -> None:
        if record.spilled is not None or record.saved:
            self._books.let_go_of_ram(record)
        elif record.parked is not None or (
            not record.pins
            and self._disk_takes(record.size_bytes)
            and self._books.leaving_bytes + record.size_bytes <= self._backlog_limit
        ):
            self._move_to_disk(record)
        else:
            self._books.drop(record)

    def _disk_takes(self, size_bytes: int) -> bool:
        return self._disk is not None and self._disk.takes(size_bytes)

    def _move_to_disk(self, record: Record) -> None:
        assert self._disk is not None
        assert record.data is not None
        way = self._books.start_leaving(record)
        self._disk.add(
            Spill(
                data=record.data,
                owed=record.parked is not None,
                wanted=lambda: record.leaving is way,
                done=partial(self._on_spilled, record, way),
            )
        )

    def _on_spilled(self, record: Record, way: object, place: Spilled | None) -> None:
        if record.leaving is not way:  # used again, dropped or fetched meanwhile
            if place is not None:
                self._free(place)
        elif place is not None:
            record.spilled = place
            self._books.let_go_of_ram(record)
        elif record.parked is not None:
            self._books.stop_leaving(record)
            record.refused = True  # owed: it stays in RAM, beyond the limit if need be
        else:
            self._books.drop(record)

    def _drop_oldest_spilled(self) -> bool:
        for record in self._books:
            keeps = not record.pins or record.saved or record.data is not None
            if record.spilled is not None and record.is_cached and keeps:
                self._books.free_spilled(record)
                self._books.drop_if_nowhere(record)
                return True
        return False

    def _on_lost_file(self, pin: str) -> None:
        record = self._books.pins.get(pin)
        if record is not None:
            record.saved.discard(pin)
            self._books.drop_if_nowhere(record)

    def _open_disk(
        self, spec: CacheSpec, identity: str, note: Callable[[str], None], clock: Callable[[], float]
    ) -> None:
        if spec.folder is None or spec.key is None or spec.disk_bytes == 0:
            return
        secret = _secret(spec.key)
        if secret is None:
            note(_NO_DISK_NOTE.format(reason=f"its key is not {KEY_BYTES} bytes in hex"))
            return
        try:
            self._disk = SnapshotDisk(
                spec.folder,
                secret=secret,
                identity=identity,
                limit_bytes=spec.disk_bytes,
                lock=self._lock,
                note=note,
                drop_spilled=self._drop_oldest_spilled,
                lost_file=self._on_lost_file,
                clock=clock,
            )
        except OSError as error:
            note(_NO_DISK_NOTE.format(reason=error.strerror or type(error).__name__))
            return
        for file in self._disk.files.known():  # what earlier processes pinned
            record = self._books.cached_at(file.key)
            if record is None:
                record = self._books.add(Record(key=file.key, size_bytes=file.size_bytes))
            self._books.pin(record, file.pin)
            record.saved.add(file.pin)


def _secret(key: str) -> bytes | None:
    try:
        secret = bytes.fromhex(key)
    except ValueError:
        return None
    return secret if len(secret) == KEY_BYTES else None
