"""The loaded model and its context: computes batches, keeps the last prompt's prefix, makes choosers.

Runs in: engine child, engine thread only.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import llama_cpp
import numpy as np

from engine.chat_template import ChatTemplate, disarm, special_text_pattern
from engine.core import JsonSchema, Message, Request
from engine.errors import EngineError
from engine.generation import CallReader, TokenChooser
from engine.llama.grammar import GrammarFactory
from engine.llama.library import LlamaLibrary
from engine.llama.loading import N_BATCH, load_model
from engine.llama.sampler import LlamaChooser
from engine.llama.vocabulary import Vocabulary
from engine.messages import Load, Loaded
from engine.scheduler import common_prefix

_SEQ_ID = 0
_DECODE_OK, _DECODE_ABORTED = 0, 2


class LlamaRunner:
    """One model with one context of one sequence. Raises ModelInvalid when it can't be loaded."""

    def __init__(
        self,
        load: Load,
        *,
        library: LlamaLibrary,
        beat: Callable[[], None],
        aborted: Callable[[], bool],
        on_progress: Callable[[float], None] = lambda _: None,
    ) -> None:
        self._beat = beat
        self._aborted = aborted
        self._cached: list[int] = []
        self._loaded = load_model(load, library=library, beat=beat, on_progress=on_progress)
        self._model, self._context = self._loaded.model, self._loaded.context
        self._vocabulary = Vocabulary(llama_cpp.llama_model_get_vocab(self._model))
        template = llama_cpp.llama_model_chat_template(self._model, None)
        self._template = ChatTemplate(
            template.decode("utf-8", "replace") if template is not None else None,
            bos=self._vocabulary.bos_text,
            eos=self._vocabulary.eos_text,
        )
        self._special_texts = special_text_pattern(self._vocabulary.special_texts())
        self._grammars = GrammarFactory(self._vocabulary)
        self.n_batch = N_BATCH
        self.n_ctx = self._loaded.facts.n_ctx
        self._memory = llama_cpp.llama_get_memory(self._context)
        self._batch = llama_cpp.llama_batch_init(N_BATCH, 0, 1)
        # kept for as long as the context, which calls them
        self._abort_callback = llama_cpp.ggml_abort_callback(self._on_abort_check)
        self._no_callback = llama_cpp.ggml_abort_callback()
        self._abort_is_watched = False

    def facts(self) -> Loaded:
        """The model in numbers."""
        return self._loaded.facts

    def prompt_tokens(self, request: Request) -> list[int]:
        """The conversation as tokens, ready for the answer, or the raw prompt.

        Content of messages can't forge control tokens; in a raw prompt they count.
        """
        if request.prompt is not None:
            return self._vocabulary.tokenize_prompt(request.prompt)
        safe = [
            Message(role=message.role, content=disarm(message.content, self._special_texts))
            for message in request.messages
        ]
        return self._vocabulary.tokenize_prompt(self._template.render(safe))

    def count_tokens(self, text: str) -> int:
        """How many tokens a plain text has."""
        return len(self._vocabulary.tokenize_text(text))

    def tokenize(self, text: str) -> list[int]:
        """Tokens of plain text."""
        return self._vocabulary.tokenize_text(text)

    def piece(self, token: int) -> bytes:
        """The bytes of a token."""
        return self._vocabulary.piece(token)

    def reuse_prefix(self, tokens: list[int]) -> int:
        """Keep what the context shares with a new prompt; returns how many tokens need no computing.

        At least the last token is computed again, because its logits are wanted.
        """
        shared = min(common_prefix(self._cached, tokens), len(tokens) - 1)
        # a sliding window has dropped its oldest positions: what is left can't serve an earlier place
        has_start = llama_cpp.llama_memory_seq_pos_min(self._memory, _SEQ_ID) == 0
        if not has_start or not llama_cpp.llama_memory_seq_rm(self._memory, _SEQ_ID, shared, -1):
            shared = 0
            llama_cpp.llama_memory_clear(self._memory, True)
        self._cached = self._cached[:shared]
        return shared

    def decode(self, tokens: list[int], start: int) -> bool:
        """Compute up to n_batch tokens at the given position; the last one's logits are kept. False: aborted."""
        self._beat()
        batch = self._batch
        batch.n_tokens = len(tokens)
        for index, token in enumerate(tokens):
            batch.token[index] = token
            batch.pos[index] = start + index
            batch.n_seq_id[index] = 1
            batch.seq_id[index][0] = _SEQ_ID
            batch.logits[index] = index == len(tokens) - 1
        self._watch_abort(watch=len(tokens) > 1)
        status = llama_cpp.llama_decode(self._context, batch)
        if status == _DECODE_OK:
            self._cached[start:] = tokens
            return True
        self._drop_from(start)
        if status == _DECODE_ABORTED:
            return False
        raise EngineError(
            f"The engine could not compute this request (llama_decode gave {status}); try it again."
        )

    def new_chooser(self, request: Request, prompt: Sequence[int]) -> TokenChooser:
        """The sampler of one request. Raises SchemaUnsupported."""
        constraint = request.constraint
        grammar = self._grammars.for_schema(constraint.schema) if isinstance(constraint, JsonSchema) else None
        return LlamaChooser(
            context=self._context,
            vocabulary=self._vocabulary,
            sampling=request.sampling,
            prompt_tail=prompt,
            grammar=grammar,
        )

    def call_reader(self, request: Request) -> CallReader | None:
        """What takes tool calls out of the answer; None when there can't be any."""
        return None

    def logits_are_finite(self) -> bool:
        """Whether the last batch gave usable numbers."""
        pointer = llama_cpp.llama_get_logits_ith(self._context, -1)
        return bool(np.isfinite(np.ctypeslib.as_array(pointer, shape=(self._vocabulary.size,))).all())

    def close(self) -> None:
        """Free batch, context and model."""
        llama_cpp.llama_batch_free(self._batch)
        self._loaded.close()

    def _watch_abort(self, *, watch: bool) -> None:
        # the check costs a call into Python for each graph node: worth it in a long batch, not for single tokens
        if watch is not self._abort_is_watched:
            callback = self._abort_callback if watch else self._no_callback
            llama_cpp.llama_set_abort_callback(self._context, callback, None)
            self._abort_is_watched = watch

    def _drop_from(self, start: int) -> None:
        if not llama_cpp.llama_memory_seq_rm(self._memory, _SEQ_ID, start, -1):
            llama_cpp.llama_memory_clear(self._memory, True)
            start = 0
        self._cached = self._cached[:start]

    def _on_abort_check(self, _data: int | None) -> bool:
        self._beat()
        return self._aborted()
