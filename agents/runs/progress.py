"""How far an answer has come: counted as it streams, told a few times a second, never stored."""

from __future__ import annotations

import time

from agents import contract
from agents.events import EventBus

PROGRESS_INTERVAL_S = 0.25


class Progress:
    """Counts a stream's tokens and tells about them a few times a second."""

    def __init__(self, bus: EventBus, run_id: int, seq: int) -> None:
        self._bus = bus
        self._run_id = run_id
        self._seq = seq
        self._prompt = (0, 0)
        self._first_token_at: float | None = None
        self._told_at = 0.0
        self.completion_tokens = 0

    @property
    def prompt_tokens(self) -> int:
        """Read so far."""
        return self._prompt[0]

    def read(self, done_tokens: int, total_tokens: int) -> None:
        self._prompt = (done_tokens, total_tokens)
        self._tell()

    def wrote(self, tokens: int) -> None:
        if self._first_token_at is None:
            self._first_token_at = time.monotonic()
        self.completion_tokens += tokens
        self._tell()

    def _tell(self) -> None:
        now = time.monotonic()
        if now - self._told_at < PROGRESS_INTERVAL_S:
            return
        self._told_at = now
        elapsed_s = now - self._first_token_at if self._first_token_at is not None else 0.0
        self._bus.publish(
            contract.RunProgress(
                run_id=self._run_id,
                seq=self._seq,
                done_prompt_tokens=self._prompt[0],
                total_prompt_tokens=self._prompt[1],
                completion_tokens=self.completion_tokens,
                tokens_per_s=round(self.completion_tokens / elapsed_s, 1) if elapsed_s > 0.2 else None,
            )
        )
