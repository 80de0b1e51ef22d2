"""What a model file says about text: its vocabulary, its chat template and its way to write tool calls.

Runs in: engine child, engine thread only.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import llama_cpp

from engine.core import Request
from engine.llama.grammar import GrammarFactory
from engine.llama.sampler import LlamaChooser
from engine.llama.vocabulary import Vocabulary
from engine.text.chat_template import ChatTemplate, disarm, special_text_pattern
from engine.text.generation import CallReader, TokenChooser
from engine.text.tool_calls import MARKS, CallStyle, CallTextReader, may_call
from engine.text.tool_turns import changed_message, changed_tool


class Language:
    """From requests to tokens and from logits to text, for one loaded model. Raises ModelInvalid."""

    def __init__(self, model: Any) -> None:
        self.vocabulary = Vocabulary(llama_cpp.llama_model_get_vocab(model))
        source = llama_cpp.llama_model_chat_template(model, None)
        self._template = ChatTemplate(
            source.decode("utf-8", "replace") if source is not None else None,
            bos=self.vocabulary.bos_text,
            eos=self.vocabulary.eos_text,
        )
        self._style = self._template.style or CallStyle.HERMES
        control = self.vocabulary.control_tokens()
        marks = (self._style.format.begin, self._style.format.between)
        self.vocabulary.reveal(control[mark] for mark in marks if mark in control)
        self._forgeries = special_text_pattern([*control, *MARKS])
        self._grammars = GrammarFactory(self.vocabulary)

    def prompt_tokens(self, request: Request) -> list[int]:
        """The conversation as tokens, ready for the answer, or the raw prompt.

        Content of messages, calls, results and tools can't forge control tokens; in a raw prompt they count.
        """
        if request.prompt is not None:
            return self.vocabulary.tokenize_prompt(request.prompt) or self.vocabulary.opening()
        messages = [changed_message(message, self._disarmed) for message in request.messages]
        tools = [changed_tool(tool, self._disarmed) for tool in request.tools]
        return self.vocabulary.tokenize_prompt(self._template.render(messages, tools))

    def new_chooser(self, request: Request, prompt: Sequence[int], *, context: Any) -> TokenChooser:
        """What chooses the answer's tokens from the context's logits. Raises RequestError."""
        return LlamaChooser(
            context=context,
            vocabulary=self.vocabulary,
            sampling=request.sampling,
            prompt_tail=prompt,
            grammar=self._grammars.for_request(request, self._style),
        )

    def call_reader(self, request: Request) -> CallReader | None:
        """What takes tool calls out of the answer; None when there can't be any."""
        return CallTextReader(self._style) if may_call(request) else None

    def close(self) -> None:
        """To be called before the model is freed."""
        self._grammars.close()

    def _disarmed(self, text: str) -> str:
        return disarm(text, self._forgeries)
