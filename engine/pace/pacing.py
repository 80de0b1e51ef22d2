"""How many threads compute the next batch, and how many tokens a chunk of a prompt may have; pure.

Runs in: engine child, engine thread only.

The threads of a batch wait for each other some 500 times a token, so one thread whose core is taken holds up all: beside
one spinning program two threads on two cores fell from 110 to 7 tokens/s on one machine, while one thread kept 57; on
others two threads stayed ahead. The use of the processor does not tell which. So signs (threads that wait for a core, a
sudden loss of speed, free cores) only start a short trial, and what was measured to be faster is kept.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from statistics import median
from typing import Protocol

LOOK_EVERY_S = 0.1
_FRESH_S = 2.0  # after a longer pause, what was measured before it says little
_RECENT_BATCHES = 6
_TRIAL_BATCHES, _TRIAL_S = 6, 0.08
_HOPELESS, _POOR = 2.0, 1.3  # so much slower ends a trial after the first, after the second batch
_MORE_SAVES = 0.96  # more threads must save so much
_FEWER_SAVE = 0.96  # fewer too; in the background they need only be as good, for they leave others a core
_CHANGE = 1.35  # a batch so much slower or faster than usual, twice: the machine is another now
_WAITING, _NOT_WAITING = 0.10, 0.05  # of a thread's time, spent waiting for a core
_FREE, _NOT_FREE = 0.6, 0.3  # cores that nobody uses
_RETRY_S, _RETRY_MAX_S = 0.5, 16.0  # after trials in vain, doubled until something changes
_MORE_WAIT_S, _MORE_WAIT_MAX_S = 0.25, 4.0  # after more threads did not help, doubled each time
_MORE_HELD_S = 2.0  # a step up that was taken back sooner did not help
_TRIAL_SHARE = 0.02  # of the time, for trials that no sign calls for
_CREDIT_S = 0.4  # lost at most to signs that mislead, before they must wait like the others
_ALIKE_BITS = 6  # batches of 32 tokens and more are of one shape: prompts
_USUAL_WEIGHT = 0.05
_LATELY_S = 1.0
_FIRST_CHUNK, _SMALLEST_CHUNK = 64, 8  # tokens
_CHUNK_WEIGHT = 1 / 3
_LEAST_COST_S = 1e-9


@dataclass(frozen=True, kw_only=True)
class MachineLoad:
    """Since the look before; None where the system doesn't tell."""

    free_cpus: float | None = None  # of those that this process may use
    waiting: float | None = None  # seconds that our threads waited for a core, all together, for each second


class Probe(Protocol):
    """Looks at the machine; pace/machine_probe.py has the real one."""

    def look(self) -> MachineLoad:
        """The time since the last look; the first one only begins."""
        ...


@dataclass(kw_only=True)
class _Trial:
    n_threads: int
    reference: float  # seconds a token with the present choice
    costs: list[float] = field(default_factory=list)
    spent_s: float = 0.0
    lost_s: float = 0.0

    def add(self, n_tokens: int, wall_s: float) -> bool:
        """Take a batch; True when the trial has seen enough."""
        self.costs.append(wall_s / n_tokens)
        self.spent_s += wall_s
        self.lost_s += wall_s - self.reference * n_tokens
        slower = median(self.costs) / self.reference
        return (
            slower > (_HOPELESS if len(self.costs) == 1 else _POOR)
            or len(self.costs) >= _TRIAL_BATCHES
            or self.spent_s >= _TRIAL_S
        )


class _Lately:
    """The mean cost of a token over about a second, exceptions and all."""

    def __init__(self) -> None:
        self._spent_s = self._n_tokens = 0.0

    def add(self, n_tokens: int, wall_s: float) -> None:
        kept = math.exp(-wall_s / _LATELY_S)
        self._spent_s = kept * self._spent_s + wall_s
        self._n_tokens = kept * self._n_tokens + n_tokens

    @property
    def mean(self) -> float:
        return self._spent_s / self._n_tokens if self._n_tokens else 0.0


class _Shape:
    """What is known of one kind of batch. Costs are seconds a token."""

    def __init__(self, n_threads: int, epoch: int, *, background: bool) -> None:
        self.n_threads = n_threads
        self.epoch = epoch
        self._fewer_save = 1.0 if background else _FEWER_SAVE
        self.trial: _Trial | None = None
        self.recent: deque[float] = deque(maxlen=_RECENT_BATCHES)  # with n_threads, since the last change
        self._lately = _Lately()
        self._usual: float | None = None
        self._odd: float | None = None  # the last cost, when it was far from the usual
        self._cost_of_fewer: float | None = None  # before the last step up
        self._measured_s: float | None = None
        self._in_vain: set[int] = set()
        self._seeks = True  # something changed: all neighbours are worth a trial at once
        self._retry_s, self._next_s = _RETRY_S, 0.0
        self._more_wait_s = self._more_from_s = 0.0  # no more threads before that time
        self._stepped_up_s = -math.inf
        # lost in trials and by steps up, less what they gained and the share that trials may have
        self._debt_s = 0.0

    def change(self) -> None:
        """Something is different now: what was in vain may be right."""
        self._in_vain.clear()
        self._seeks, self._retry_s = True, _RETRY_S

    def forget(self) -> None:
        """Nothing is known of the speed any more; the choice stays until there are new measurements."""
        self.recent.clear()
        self._lately = _Lately()
        self._usual = self._odd = self._cost_of_fewer = self.trial = None
        self.change()

    def forget_if_old(self, now: float) -> None:
        if self._measured_s is not None and now - self._measured_s > _FRESH_S:
            self._measured_s = None
            self.recent.clear()
            self._lately = _Lately()
            self._odd = self._cost_of_fewer = self.trial = None
            # it was the right choice before the pause: only a sign calls for a trial at once
            self._seeks, self._next_s = False, now + _RETRY_S

    def touch(self, now: float) -> None:
        """A batch of the kind was computed: what is known of it stays fresh."""
        self._measured_s = now

    def learn(self, n_tokens: int, wall_s: float, now: float) -> None:
        """A batch with n_threads."""
        self._measured_s = now
        cost = wall_s / n_tokens
        self._lately.add(n_tokens, wall_s)
        gain_s = 0.0 if self._cost_of_fewer is None else self._cost_of_fewer * n_tokens - wall_s
        self._debt_s = max(0.0, self._debt_s - gain_s - _TRIAL_SHARE * wall_s)
        usual = self._usual if self._usual is not None else cost
        if 1 / _CHANGE <= cost / usual <= _CHANGE:
            self._odd = None
            self._usual = usual + _USUAL_WEIGHT * (cost - usual)
            self.recent.append(cost)
        elif self._odd is None or (self._odd > usual) != (cost > usual):
            self._odd = cost  # once is chance
        else:
            self.recent = deque((self._odd, cost), maxlen=_RECENT_BATCHES)
            self._lately = _Lately()
            self._usual, self._odd = (self._odd + cost) / 2, None
            self.change()

    def may_try(self, n_tokens: int, now: float) -> bool:
        """Whether a trial can be afforded, and measured."""
        if len(self.recent) < 2:
            return False
        if self._seeks:
            return self._debt_s <= _CREDIT_S + 4 * self.recent[-1] * n_tokens
        return now >= self._next_s and self._debt_s <= 0

    def start(self, candidates: list[int], now: float) -> None:
        """Try the first candidate that was not in vain; with none left, wait longer than the last time."""
        new = [n for n in candidates if n != self.n_threads and n not in self._in_vain]
        left = [n for n in new if n < self.n_threads or now >= self._more_from_s]
        if new and not left:
            return  # more threads are worth a trial, a little later
        if left:
            reference = median(self.recent)
            if left[0] < self.n_threads:  # held up now and then is no chance, and the median doesn't see it
                reference = max(reference, self._lately.mean)
            self.trial = _Trial(n_threads=left[0], reference=reference)
            return
        self._in_vain.clear()
        self._seeks, self._next_s = False, now + self._retry_s
        self._retry_s = min(2 * self._retry_s, _RETRY_MAX_S)

    def judge(self, now: float) -> None:
        """The trial has seen enough: keep what is better."""
        trial, self.trial = self.trial, None
        assert trial is not None
        self._measured_s = now
        more = trial.n_threads > self.n_threads
        if median(trial.costs) <= (_MORE_SAVES if more else self._fewer_save) * trial.reference:
            self._in_vain = {self.n_threads}
            if more:
                self._stepped_up_s = now
            else:
                self._distrust_more(now, helped=now - self._stepped_up_s > _MORE_HELD_S)
                # to try the way back will cost as much again
                self._debt_s = max(self._debt_s, -trial.lost_s / len(trial.costs))
            self._cost_of_fewer = trial.reference if more else None
            self.n_threads = trial.n_threads
            self.recent = deque(trial.costs, maxlen=_RECENT_BATCHES)
            self._usual, self._odd = median(trial.costs), None
            self._lately = _Lately()
            self._seeks, self._retry_s = True, _RETRY_S
            return
        self._in_vain.add(trial.n_threads)
        if more:
            self._distrust_more(now, helped=False)
        self._debt_s += max(0.0, trial.lost_s)
        if not self._seeks:
            self.start([], now)

    def _distrust_more(self, now: float, *, helped: bool) -> None:
        """Where the load comes and goes, each free moment looks like room for more threads and is over too soon."""
        self._more_wait_s = 0.0 if helped else min(max(_MORE_WAIT_S, 2 * self._more_wait_s), _MORE_WAIT_MAX_S)
        self._more_from_s = now + self._more_wait_s


class ThreadChoice(Protocol):
    """Decides the threads of each batch."""

    @property
    def allowed(self) -> int:
        """The most threads that a batch may have now."""
        ...

    def limit(self, max_threads: int | None) -> None:
        """So many at most from now on, such as on battery; None lifts the limit."""
        ...

    def threads_for(self, n_tokens: int, *, background: bool = False) -> int:
        """The threads for the next batch, which has so many tokens."""
        ...

    def observe(self, n_threads: int, n_tokens: int, wall_s: float, *, background: bool = False) -> None:
        """A batch was computed to its end (an aborted one says nothing)."""
        ...


class FixedThreads:
    """Always as many as allowed."""

    def __init__(self, n_threads: int) -> None:
        self._max = self.allowed = n_threads

    def limit(self, max_threads: int | None) -> None:
        """So many at most from now on."""
        self.allowed = min(self._max, max_threads or self._max)

    def threads_for(self, n_tokens: int, *, background: bool = False) -> int:
        """As many as allowed."""
        return self.allowed

    def observe(self, n_threads: int, n_tokens: int, wall_s: float, *, background: bool = False) -> None:
        """Nothing is learnt."""


class ThreadGovernor:
    """Chooses the threads of each batch by what was measured; one for each model. now() is a monotonic clock."""

    def __init__(self, *, max_threads: int, probe: Probe, now: Callable[[], float]) -> None:
        self._max = self._allowed = max_threads
        self._probe = probe
        self._now = now
        self._shapes: dict[tuple[bool, int], _Shape] = {}
        self._n_latest = max_threads
        self._load = MachineLoad()
        self._looked_s = -math.inf
        self._epoch = 0  # counts the times that cores became free or scarce
        self._has_room = self._is_tight = False
        self._disturbed = False  # since the last look by a trial, which makes threads wait or cores free

    @property
    def allowed(self) -> int:
        """The most threads that a batch may have now."""
        return self._allowed

    def limit(self, max_threads: int | None) -> None:
        """So many at most from now on, such as on battery; None lifts the limit."""
        self._allowed = min(self._max, max_threads or self._max)
        self._epoch += 1

    def threads_for(self, n_tokens: int, *, background: bool = False) -> int:
        """The threads for the next batch, which has so many tokens."""
        now = self._now()
        self._look(now)
        shape = self._shape(n_tokens, background)
        if shape.n_threads > self._allowed:
            shape.n_threads = self._allowed
            shape.forget()
        if shape.trial is not None and shape.trial.n_threads > self._allowed:
            shape.trial = None
        shape.forget_if_old(now)
        if shape.epoch != self._epoch:
            shape.epoch = self._epoch
            shape.change()
        if shape.trial is None and shape.may_try(n_tokens, now):
            shape.start(self._candidates(shape.n_threads), now)
        self._n_latest = shape.n_threads
        if shape.trial is None:
            return shape.n_threads
        self._disturbed = True
        return shape.trial.n_threads

    def observe(self, n_threads: int, n_tokens: int, wall_s: float, *, background: bool = False) -> None:
        """A batch was computed to its end (an aborted one says nothing)."""
        shape = self._shape(n_tokens, background)
        now = self._now()
        if shape.trial is not None and n_threads == shape.trial.n_threads:
            shape.touch(now)
            if shape.trial.add(n_tokens, wall_s):
                shape.judge(now)
        elif n_threads == shape.n_threads:
            shape.learn(n_tokens, wall_s, now)

    def _shape(self, n_tokens: int, background: bool) -> _Shape:
        key = (background, min(n_tokens.bit_length(), _ALIKE_BITS))
        if key not in self._shapes:
            self._shapes[key] = _Shape(min(self._n_latest, self._allowed), self._epoch, background=background)
        return self._shapes[key]

    def _look(self, now: float) -> None:
        since_s = now - self._looked_s
        if since_s < LOOK_EVERY_S:
            return
        load = self._probe.look()
        self._looked_s = now
        disturbed, self._disturbed = self._disturbed, False
        if disturbed:
            return
        # a longer time holds a pause, in which cores were free because nothing was asked of us
        self._load = load if since_s < 10 * LOOK_EVERY_S else MachineLoad()
        had_room, was_tight = self._has_room, self._is_tight
        self._has_room = (self._load.free_cpus or 0.0) >= (_NOT_FREE if had_room else _FREE)
        waiting = (self._load.waiting or 0.0) / self._n_latest
        self._is_tight = waiting >= (_NOT_WAITING if was_tight else _WAITING)
        if (self._has_room and not had_room) or (self._is_tight and not was_tight):
            self._epoch += 1

    def _candidates(self, n_threads: int) -> list[int]:
        """Other numbers of threads, the likeliest first."""
        held_up = math.ceil(self._load.waiting or 0.0)
        idle = math.floor((self._load.free_cpus or 0.0) + 0.4)
        fewer = [n_threads - held_up, n_threads - 1, n_threads // 2]
        more = [n_threads + idle, n_threads + 1, 2 * n_threads]
        ordered = more + fewer if self._has_room else fewer + more
        return [min(n, self._allowed) for n in ordered if n >= 1]


class ChunkSizer:
    """How many tokens of a prompt take about a given time, by what such chunks took with as many threads."""

    def __init__(self, *, n_batch: int) -> None:
        self._n_batch = n_batch
        self._costs: dict[tuple[bool, int], float] = {}  # seconds a token

    def tokens_for(self, target_s: float, *, n_threads: int, background: bool = False) -> int:
        """At least 8, at most a whole batch."""
        cost = self._costs.get((background, n_threads))
        if cost is None:
            known = [
                self._costs[lane, n] * n / n_threads
                for lane, n in sorted(self._costs, key=lambda key: (key[0] != background, -key[1]))
            ]
            if not known:
                return min(_FIRST_CHUNK, self._n_batch)
            cost = known[0]
        wanted = min(target_s / cost, self._n_batch)
        # whole tiles of the matrix kernels
        return min(max(_SMALLEST_CHUNK, int(wanted) // _SMALLEST_CHUNK * _SMALLEST_CHUNK), self._n_batch)

    def observe(self, n_tokens: int, wall_s: float, *, n_threads: int, background: bool = False) -> None:
        """A batch took so long; those of a few tokens only say what a batch costs in itself."""
        if n_tokens < _SMALLEST_CHUNK:
            return
        key = (background, n_threads)
        cost = max(wall_s / n_tokens, _LEAST_COST_S)
        known = self._costs.get(key)
        if known is not None:
            # one batch that met a busy moment is an outlier, several are the truth: each may double the cost
            cost = known + _CHUNK_WEIGHT * (min(max(cost, known / 4), known * 4) - known)
        self._costs[key] = cost
