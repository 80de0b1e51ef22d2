"""The loaded model as the child's loop uses it: its words and template, its context, and a chooser for each request.

Runs in: engine child, engine thread only.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import llama_cpp

from engine.chat_template import ChatTemplate, disarm, special_text_pattern
from engine.core import JsonSchema, Message, Request
from engine.generation import CallReader, TokenChooser
from engine.gguf import check_model_file
from engine.llama.context import LlamaContext
from engine.llama.grammar import GrammarFactory
from engine.llama.library import LlamaLibrary
from engine.llama.loading import KEPT_SEQUENCES, N_BATCH, load_model
from engine.llama.sampler import LlamaChooser
from engine.llama.vocabulary import Vocabulary
from engine.messages import Load, Loaded
from engine.scheduler import SPARE_SLOTS
from engine.snapshots import StateIdentity


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
        self.n_seq_ids = self._loaded.n_seq_max
        self.can_rewind = not (
            llama_cpp.llama_model_is_recurrent(self._model)
            or llama_cpp.llama_model_is_hybrid(self._model)
            or llama_cpp.llama_model_n_swa(self._model) > 0
        )
        self.context = LlamaContext(self._loaded.context, n_batch=N_BATCH, beat=beat, aborted=aborted)
        self._identity = StateIdentity(
            model=check_model_file(Path(load.path)).fingerprint,
            build=library.build,
            kv_type=load.plan.kv_type,
            flash_attention=load.settings.flash_attention,
        )

    def facts(self) -> Loaded:
        """The model in numbers."""
        return self._loaded.facts

    def state_identity(self) -> StateIdentity:
        """What a saved state depends on beside its tokens."""
        return self._identity

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

    def new_chooser(self, request: Request, prompt: Sequence[int]) -> TokenChooser:
        """The sampler of one request. Raises SchemaUnsupported."""
        constraint = request.constraint
        grammar = self._grammars.for_schema(constraint.schema) if isinstance(constraint, JsonSchema) else None
        return LlamaChooser(
            context=self.context.pointer,
            vocabulary=self._vocabulary,
            sampling=request.sampling,
            prompt_tail=prompt,
            grammar=grammar,
        )

    def call_reader(self, request: Request) -> CallReader | None:
        """What takes tool calls out of the answer; None when there can't be any."""
        return None

    def close(self) -> None:
        """Free context and model."""
        self._loaded.close()
