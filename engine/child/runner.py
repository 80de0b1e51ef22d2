"""What the child's loop needs of a loaded model; llama/runner.py has the real one, the tests a small one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np

from engine.core import Request
from engine.messages import Loaded
from engine.pace.speculation import DraftSource
from engine.schedule.batch import Batch, Outcome
from engine.schedule.kv_cache import SequenceMemory
from engine.states.snapshots import StateIdentity
from engine.text.generation import CallReader, TokenChooser


class Context(SequenceMemory, Protocol):
    """Where batches are computed and the states of sequences live."""

    @property
    def native_s(self) -> float:
        """Time spent inside llama.cpp so far."""
        ...

    @property
    def n_threads(self) -> int:
        """Threads of the last batch."""
        ...

    def decode(self, batch: Batch) -> Outcome:
        """Compute a batch. Raises EngineError; then nothing of it is in the cache."""
        ...

    def logits(self, row: int) -> np.ndarray[Any, Any]:
        """A copy of the logits in a row of the last batch."""
        ...

    def set_threads(self, n_threads: int) -> None:
        """Compute with so many threads from the next batch on."""


class Runner(Protocol):
    """A model with its words and its context."""

    @property
    def n_batch(self) -> int:
        """Tokens that one batch can hold."""
        ...

    @property
    def n_ctx(self) -> int:
        """Cells, shared by all sequences."""
        ...

    @property
    def n_seq_ids(self) -> int:
        """Sequences that the context has room for."""
        ...

    @property
    def can_rewind(self) -> bool:
        """Whether the end of a sequence can be taken back."""
        ...

    @property
    def context(self) -> Context:
        """Computes."""
        ...

    @property
    def draft_source(self) -> Callable[[], DraftSource] | None:
        """Makes the guesses of a second model for one sequence; None without such a model."""
        ...

    def facts(self) -> Loaded:
        """The model in numbers."""
        ...

    def state_identity(self) -> StateIdentity:
        """What a saved state depends on beside its tokens."""
        ...

    def prompt_tokens(self, request: Request) -> list[int]:
        """The conversation, or the raw prompt, as tokens."""
        ...

    def count_tokens(self, text: str) -> int:
        """Tokens of plain text, counted."""
        ...

    def tokenize(self, text: str) -> list[int]:
        """Tokens of plain text."""
        ...

    def piece(self, token: int) -> bytes:
        """The bytes of a token."""
        ...

    def new_chooser(self, request: Request, prompt: list[int]) -> TokenChooser:
        """The sampler of one request."""
        ...

    def call_reader(self, request: Request) -> CallReader | None:
        """What takes tool calls out of the answer; None when there can't be any."""
        ...

    def close(self) -> None:
        """Free native memory."""
