"""The loaded model as the child's loop uses it: its words and template, its context, and a chooser for each request.

Runs in: engine child, engine thread only.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import llama_cpp

from engine.core import Request
from engine.errors import ModelError
from engine.host.gguf import check_model_file
from engine.llama.context import LlamaContext
from engine.llama.draft import DraftModel
from engine.llama.language import Language
from engine.llama.library import LlamaLibrary
from engine.llama.loading import KEPT_SEQUENCES, N_BATCH, load_model
from engine.messages import Load, Loaded
from engine.pace.speculation import DraftSource
from engine.schedule.scheduler import SPARE_SLOTS
from engine.states.snapshots import StateIdentity
from engine.text.generation import CallReader, TokenChooser


class LlamaRunner:
    """One model with one context for many sequences. Raises ModelInvalid when it can't be loaded."""

    def __init__(
        self,
        load: Load,
        *,
        library: LlamaLibrary,
        beat: Callable[[], None],
        aborted: Callable[[], bool],
        on_progress: Callable[[float], None] = lambda _: None,
    ) -> None:
        self._loaded = load_model(
            load,
            library=library,
            beat=beat,
            on_progress=on_progress,
            n_seq_max=load.n_slots + SPARE_SLOTS + KEPT_SEQUENCES,
        )
        self._model = self._loaded.model
        self._language = Language(self._model)
        self.n_batch = N_BATCH
        self.n_ctx = self._loaded.facts.n_ctx
        self.n_seq_ids = self._loaded.n_seq_max
        self.can_rewind = not (
            llama_cpp.llama_model_is_recurrent(self._model)
            or llama_cpp.llama_model_is_hybrid(self._model)
            or llama_cpp.llama_model_n_swa(self._model) > 0
        )
        self.context = LlamaContext(
            self._loaded.context, n_batch=N_BATCH, beat=beat, aborted=aborted, hush=library.hush
        )
        self._identity = StateIdentity(
            model=check_model_file(Path(load.path)).fingerprint,
            build=library.build,
            kv_type=load.plan.kv_type,
            flash_attention=load.settings.flash_attention,
            n_ctx=self.n_ctx,
        )
        self._draft = self._load_draft(load, library, beat)

    @property
    def draft_source(self) -> Callable[[], DraftSource] | None:
        """Makes the guesses of a second model for one sequence; None without such a model."""
        return self._draft.source if self._draft is not None else None

    def facts(self) -> Loaded:
        """The model in numbers."""
        return self._loaded.facts

    def state_identity(self) -> StateIdentity:
        """What a saved state depends on beside its tokens."""
        return self._identity

    def prompt_tokens(self, request: Request) -> list[int]:
        """The conversation as tokens, ready for the answer, or the raw prompt.

        Content of messages, calls, results and tools can't forge control tokens; in a raw prompt they count.
        """
        return self._language.prompt_tokens(request)

    def count_tokens(self, text: str) -> int:
        """How many tokens a plain text has."""
        return len(self._language.vocabulary.tokenize_text(text))

    def tokenize(self, text: str) -> list[int]:
        """Tokens of plain text."""
        return self._language.vocabulary.tokenize_text(text)

    def piece(self, token: int) -> bytes:
        """The bytes of a token."""
        return self._language.vocabulary.piece(token)

    def new_chooser(self, request: Request, prompt: Sequence[int]) -> TokenChooser:
        """The sampler of one request. Raises RequestError before any token is spent."""
        return self._language.new_chooser(request, prompt, context=self.context.pointer)

    def call_reader(self, request: Request) -> CallReader | None:
        """What takes tool calls out of the answer; None when there can't be any."""
        return self._language.call_reader(request)

    def close(self) -> None:
        """Free contexts and models."""
        if self._draft is not None:
            self._draft.close()
        self._language.close()
        self._loaded.close()

    def _load_draft(self, load: Load, library: LlamaLibrary, beat: Callable[[], None]) -> DraftModel | None:
        """The second model. Without it answers are the same, only slower: what is wrong with it is a note in the log."""
        if load.draft_path is None or not load.speculate or not self.can_rewind:
            return None
        try:
            return DraftModel(
                load,
                target=self._language.vocabulary.pointer,
                library=library,
                beat=beat,
                n_sequences=load.n_slots,
                threads=lambda: self.context.n_threads,
            )
        except ModelError as error:
            sys.stderr.write(f"engine: {error}\n")
            return None
