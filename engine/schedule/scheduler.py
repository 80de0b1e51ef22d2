"""Decides which tokens are computed next, for whom, and who gives way; pure bookkeeping, tested without a model.

There is no prefill phase and no decode phase: n_computed chases the tokens of each sequence, and a batch holds runs of
tokens of several sequences under one budget. A reused prefix, a chunked prompt, fast-forward tokens of a grammar,
guessed tokens and plain decoding are the same thing here.

The highest class with work gets the batch: the next tokens of all its sequences, then chunks of its prompts, oldest
first. Lower classes stand back at once; one of them that has waited for long (the ward) gets a small share, so that
nothing starves. When cells run out the most junior sequence gives way, so the most senior one always gets on, and
nothing can deadlock.
"""

from __future__ import annotations

from bisect import insort
from collections import deque
from collections.abc import Callable

from engine.core import Priority
from engine.schedule.batch import Batch, Run
from engine.schedule.kv_cache import KvCache
from engine.schedule.sequence import Sequence, Stage, common_prefix
from engine.schedule.waiting_room import WaitingRoom

SPARE_SLOTS = 1  # for the ward, beside all others
AGED_S = 3.0  # without progress for so long, a sequence of a lower class becomes the ward
SHARE_EVERY_S = 1.0
SHARE_TOKENS = 8
PATIENCE_S = 30.0  # after so long the ward may take the cells of a more senior sequence
MIN_AWAITED = 64  # tokens of a prefix that is being computed right now: worth waiting for
MIN_RESERVE = 256  # cells for growing, before a sequence comes in beside others


def no_drafts(_sequence: Sequence, _limit: int) -> list[int]:
    """Nothing is guessed."""
    return []


class Scheduler:
    """Requests from their arrival to their end: outside (waiting or swapped), or running with a slot.

    chunk_tokens(priority, writing) is how many tokens of prompts a batch may hold for a class, and whether others of
    the class are waiting for their next token in it; draft(sequence, limit) guesses tokens.
    """

    def __init__(
        self,
        *,
        kv: KvCache,
        n_slots: int,
        n_batch: int,
        chunk_tokens: Callable[[Priority, bool], int] | None = None,
        draft: Callable[[Sequence, int], list[int]] = no_drafts,
    ) -> None:
        self._kv = kv
        self._n_slots = n_slots
        self._n_batch = n_batch
        self._chunk_tokens = chunk_tokens or (lambda _priority, _writing: n_batch)
        self._draft = draft
        self._running: list[Sequence] = []  # by seniority
        self._room = WaitingRoom()
        self._ward: Sequence | None = None
        self._lead = Priority.BACKGROUND
        self._protected: Sequence | None = None
        self._suspects: deque[Sequence] = deque()
        self._reserve = min(MIN_RESERVE, kv.n_cells // 8)
        self._may_admit = False
        self._background_allowed = True
        self.n_preemptions = 0

    @property
    def n_running(self) -> int:
        """Sequences with a slot."""
        return len(self._running)

    @property
    def n_waiting(self) -> int:
        """Sequences without a slot, those that gave way included."""
        return len(self._room)

    @property
    def n_swapped(self) -> int:
        """Sequences whose state is kept outside the cache."""
        return sum(sequence.stage is Stage.SWAPPED for sequence in self._room)

    def allow_background(self, allowed: bool) -> None:
        """Whether background work may go on; what is held back stays where it is."""
        self._background_allowed = allowed
        self._may_admit = True

    # -- in and out ----------------------------------------------------------------------------------------

    def add(self, sequence: Sequence, now: float) -> None:
        """A request arrived."""
        sequence.progress_s = now
        self._put_outside(sequence)

    def remove(self, sequence: Sequence) -> None:
        """A request ended, was cancelled or failed. What it computed stays at hand as long as there is room."""
        if sequence.stage is Stage.RUNNING:
            self._running.remove(sequence)
        self._room.leave(sequence)
        if self._ward is sequence:
            self._ward = None
        self._kv.end(sequence)
        self._may_admit = True

    # -- one step ------------------------------------------------------------------------------------------

    def schedule(self, now: float) -> Batch | None:
        """The next batch, its cells taken; None when there is nothing to compute."""
        if self._room.release_followers() or self._may_admit:
            self._may_admit = False
            self._admit()
        while self._suspects:
            suspect = self._suspects.popleft()
            run = self._run_of(suspect, self._n_batch) if suspect.stage is Stage.RUNNING else None
            if run is not None:
                return Batch(runs=(run,), priority=suspect.priority)
        lead = self._leading_class()
        if lead is None:
            return None
        self._note_lead(lead)
        share = self._share_for_ward(lead, now)
        runs = self._runs_of_class(lead, self._n_batch - (0 if share is None else len(share.tokens)))
        # a senior one may have taken its cells after all
        if share is not None and share.sequence.stage is Stage.RUNNING:
            runs.append(share)
        return Batch(runs=tuple(runs), priority=lead) if runs else None

    def update(self, batch: Batch, now: float) -> None:
        """A batch was computed. Guesses count only once settle() says which of them stand."""
        for run in batch.runs:
            sequence = run.sequence
            sequence.n_computed = run.start + len(run.tokens) - run.n_drafts
            sequence.progress_s = now
            self._kv.pin_if_reached(sequence)

    def settle(self, run: Run, n_accepted: int) -> None:
        """So many guesses of a computed run stand; the cells of the others are taken back."""
        run.sequence.n_computed += n_accepted
        if n_accepted < run.n_drafts:
            self._kv.rewind(run.sequence)

    def revert(self, batch: Batch, *, was_begun: bool = True) -> None:
        """A batch was aborted or failed: nothing of it is in the cache. was_begun off: there was no room for it."""
        for run in batch.runs:
            if self._kv.can_rewind or not was_begun:
                self._kv.undo_growth(run.sequence)
            else:  # what is computed is spoilt: it begins anew
                self._running.remove(run.sequence)
                self._kv.void(run.sequence)
                self._put_outside(run.sequence)

    def isolate(self, batch: Batch) -> None:
        """A batch failed: the next ones hold one of its sequences each, so that only the guilty one fails."""
        self._suspects.extend(run.sequence for run in batch.runs)

    def give_way(self, sequence: Sequence) -> None:
        """Put a running sequence aside; it comes back where it stopped."""
        self._running.remove(sequence)
        self._kv.park(sequence)
        self.n_preemptions += 1
        self._put_outside(sequence)

    def check_integrity(self) -> None:
        """Raise if the books contradict each other; that would be a bug."""
        self._kv.check_integrity()
        if [s.seniority for s in self._running] != sorted(s.seniority for s in self._running):
            raise RuntimeError("the running sequences are not in order")
        for sequence in (*self._running, *self._room):
            sequence.check_integrity()
        if any(sequence.stage is not Stage.RUNNING for sequence in self._running):
            raise RuntimeError("a sequence that does not run is among the running ones")
        if any(sequence.stage in (Stage.RUNNING, Stage.ENDED) for sequence in self._room):
            raise RuntimeError("a running or ended sequence is among those outside")
        if len(self._running) > self._n_slots + SPARE_SLOTS:
            raise RuntimeError(f"{len(self._running)} sequences run in {self._n_slots} slots")

    # -- who comes in ----------------------------------------------------------------------------------------

    def _admit(self) -> None:
        """Bring in the oldest of the highest class that has any, as far as slots and cells allow.

        Asked for only when somebody came or left: a step costs the same however many wait.
        """
        for priority in Priority:
            if priority is Priority.BACKGROUND and not self._background_allowed:
                return
            while (head := self._room.head(priority)) is not None:
                seniors = [sequence for sequence in self._running if sequence.priority <= priority]
                if len(seniors) >= self._n_slots:
                    return
                if self._follows(head):
                    continue
                if (seniors and not self._fits_beside(head, seniors)) or not self._enter(head):
                    break
            if any(sequence.priority == priority for sequence in self._running):
                return  # the classes below stand back

    def _fits_beside(self, head: Sequence, seniors: list[Sequence]) -> bool:
        """Whether the others of its class and above leave the cells that it needs at first."""
        if head.stage is Stage.SWAPPED:
            needed = head.n_computed
        else:
            needed = len(head.tokens) - self._kv.n_resident(head)
        return needed + self._reserve <= self._kv.n_cells - self._kv.n_held(seniors)

    def _enter(self, head: Sequence) -> bool:
        """Give the head of a line a slot; a sequence of a lower class gives way if there is none."""
        while len(self._running) >= self._n_slots and self._running[-1].priority > head.priority:
            self.give_way(self._running[-1])
        return self._bring_in(head)

    def _bring_in(self, sequence: Sequence) -> bool:
        def room(n: int) -> bool:
            return self._room_for(sequence, n)

        swapped = sequence.stage is Stage.SWAPPED
        entered = self._kv.unpark(sequence, room) if swapped else self._kv.attach(sequence, room)
        if entered:
            self._room.leave(sequence)
            insort(self._running, sequence, key=_seniority)
            self._kv.pin_if_reached(sequence)
        return entered

    def _put_outside(self, sequence: Sequence) -> None:
        self._room.put(sequence)
        self._may_admit = True

    def _follows(self, head: Sequence) -> bool:
        """Let a request wait for a prompt that begins alike and is being read right now, rather than read it twice."""
        if head.stage is not Stage.WAITING or not self._kv.can_rewind:
            return False
        n_resident = -1
        for leader in self._running:
            if leader.priority > head.priority or _writes(leader):
                continue
            shared = common_prefix(leader.tokens, head.tokens, min(leader.n_prompt, len(head.tokens)) - 1)
            if shared - leader.n_computed < MIN_AWAITED:
                continue
            n_resident = self._kv.n_resident(head) if n_resident < 0 else n_resident
            if shared - n_resident >= MIN_AWAITED:
                self._room.follow(head, leader, shared)
                return True
        return False

    # -- who gets on -----------------------------------------------------------------------------------------

    def _runs_of_class(self, lead: Priority, left: int) -> list[Run]:
        """The pending tokens of all who write, and chunks of the prompts, the most senior first; at most left."""
        members = [sequence for sequence in self._running if sequence.priority == lead]
        n_writing = sum(sequence.n_pending for sequence in members if _writes(sequence))
        left_to_read = min(self._chunk_tokens(lead, n_writing > 0), max(left - n_writing, 1))
        runs: list[Run] = []
        for sequence in members:
            if sequence.stage is not Stage.RUNNING:
                continue  # it just gave way to a senior one
            writes = _writes(sequence)
            run = self._run_of(sequence, left if writes else min(left, left_to_read))
            if run is not None:
                left -= len(run.tokens)
                left_to_read -= 0 if writes else len(run.tokens)
                runs.append(run)
        return runs

    def _leading_class(self) -> Priority | None:
        if not self._running:
            return None
        lead = self._running[0].priority
        return None if lead is Priority.BACKGROUND and not self._background_allowed else lead

    def _note_lead(self, lead: Priority) -> None:
        if lead < self._lead:
            self.n_preemptions += sum(sequence.priority > lead for sequence in self._running)
        self._lead = lead

    def _run_of(self, sequence: Sequence, limit: int) -> Run | None:
        """The next tokens of a sequence, at most limit, with their cells; None when it must stand back."""
        n = min(sequence.n_pending, limit)
        pin = sequence.pin
        if pin is not None and sequence.n_computed < pin.n_tokens:
            n = min(n, pin.n_tokens - sequence.n_computed)
        if n <= 0 or not self._room_for(sequence, n):
            return None
        start = sequence.n_computed
        tokens = sequence.tokens[start : start + n]
        drafts: list[int] = []
        n_others = len(self._running) - 1  # each may want a cell for its next token in this batch
        room = min(limit - n, self._kv.n_free - n - n_others, self._kv.n_cells - len(sequence.tokens) - 1)
        if room > 0 and _writes(sequence) and n == sequence.n_pending and self._kv.can_rewind:
            drafts = self._draft(sequence, room)[:room]
        self._kv.grow(sequence, n + len(drafts))
        return Run(sequence=sequence, start=start, tokens=tokens + drafts, n_drafts=len(drafts))

    def _room_for(self, sequence: Sequence, n: int) -> bool:
        """Make n cells free: kept prefixes go first, then sequences that are junior to this one."""
        while not self._kv.make_room(n):
            junior = next((other for other in reversed(self._running) if other is not self._protected), None)
            if junior is None or junior.seniority <= sequence.seniority:
                return False
            self.give_way(junior)
        return True

    # -- the ward --------------------------------------------------------------------------------------------

    def _share_for_ward(self, lead: Priority, now: float) -> Run | None:
        """A few tokens for one sequence of a lower class that has made no progress for long."""
        self._protected = None
        ward = self._ward
        if ward is None or ward.priority <= lead or not self._is_allowed(ward):
            ward = self._ward = self._most_neglected(lead, now)
        if ward is None or now - ward.progress_s < SHARE_EVERY_S:
            return None
        if now - ward.progress_s >= PATIENCE_S:
            self._take_room(ward)
        if ward.stage is not Stage.RUNNING and (
            len(self._running) >= self._n_slots + SPARE_SLOTS or not self._bring_in(ward)
        ):
            return None
        return self._run_of(ward, min(SHARE_TOKENS, self._n_batch // 2))

    def _most_neglected(self, lead: Priority, now: float) -> Sequence | None:
        aged = [
            sequence
            for sequence in (*self._running, *self._room.heads())
            if sequence.priority > lead and now - sequence.progress_s >= AGED_S and self._is_allowed(sequence)
        ]
        return min(aged, key=lambda sequence: (sequence.progress_s, sequence.seniority), default=None)

    def _is_allowed(self, sequence: Sequence) -> bool:
        return self._background_allowed or sequence.priority is not Priority.BACKGROUND

    def _take_room(self, ward: Sequence) -> None:
        """The ward's patience is at its end: the most junior ones give way, of whatever class they are."""
        self._protected = ward
        needed = (ward.n_computed if ward.stage is Stage.SWAPPED else 0) + SHARE_TOKENS
        while not self._kv.make_room(needed):
            junior = next((other for other in reversed(self._running) if other is not ward), None)
            if junior is None:
                return
            self.give_way(junior)


def _seniority(sequence: Sequence) -> tuple[int, int]:
    return sequence.seniority


def _writes(sequence: Sequence) -> bool:
    """Whether its prompt is read: what is pending now are its own words."""
    return sequence.n_computed >= sequence.n_prompt
