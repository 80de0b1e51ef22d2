"""Loads the built-in model twice, lets one guess for the other, and prints what happened as JSON."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import llama_cpp
import numpy as np

from engine.builtin import built_in_embedder, built_in_model
from engine.errors import ModelInvalid
from engine.llama.draft import CATCH_UP_TOKENS, DraftModel, DraftSequence
from engine.llama.library import LlamaLibrary
from engine.llama.loading import load_model
from engine.messages import Load
from engine.model import CacheSpec
from engine.plans import LoadPlan
from engine.safe_settings import LoadSettings

PATH = str(built_in_model().path)
LOAD = Load(
    path=PATH,
    plan=LoadPlan(n_ctx=2048),
    settings=LoadSettings(),
    n_slots=1,
    n_threads=2,
    draft_path=PATH,
    speculate=True,
    cache=CacheSpec(),
    self_test=False,
)
N_WRITTEN = 48


def nothing(*_: object) -> None:
    """Signs of life go nowhere."""


class Target:
    """The model that is guessed for: greedy, one sequence."""

    def __init__(self, library: LlamaLibrary) -> None:
        self.loaded = load_model(replace(LOAD, draft_path=None), library=library, beat=nothing)
        self.vocab = llama_cpp.llama_model_get_vocab(self.loaded.model)
        self.memory = llama_cpp.llama_get_memory(self.loaded.context)
        self.batch = llama_cpp.llama_batch_init(512, 0, 1)

    def tokenize(self, text: str) -> list[int]:
        data = text.encode()
        tokens = (llama_cpp.llama_token * (len(data) + 8))()
        n_tokens = llama_cpp.llama_tokenize(self.vocab, data, len(data), tokens, len(tokens), True, False)
        return list(tokens[:n_tokens])

    def choose(self, tokens: Sequence[int], start: int) -> list[int]:
        """Compute tokens; the likeliest next one behind each of them."""
        llama_cpp.llama_memory_seq_rm(self.memory, 0, start, -1)
        batch = self.batch
        batch.n_tokens = len(tokens)
        for index, token in enumerate(tokens):
            batch.token[index], batch.pos[index] = token, start + index
            batch.n_seq_id[index], batch.seq_id[index][0] = 1, 0
            batch.logits[index] = True
        assert llama_cpp.llama_decode(self.loaded.context, batch) == 0
        shape = (self.loaded.facts.n_vocab,)
        return [
            int(
                np.ctypeslib.as_array(
                    llama_cpp.llama_get_logits_ith(self.loaded.context, row), shape=shape
                ).argmax()
            )
            for row in range(len(tokens))
        ]

    def write(self, prompt: list[int], source: DraftSequence | None) -> tuple[list[int], int, int]:
        """An answer, the guesses, and those that stood."""
        tokens, n_drafted, n_accepted = list(prompt), 0, 0
        next_token = self.choose(tokens, 0)[-1]
        while len(tokens) - len(prompt) < N_WRITTEN:
            tokens.append(next_token)
            drafts: list[int] = []
            if source is not None and source.look(tokens) is not None:
                drafts = source.take(4)
            chosen = self.choose([tokens[-1], *drafts], len(tokens) - 1)
            n_stood = next((n for n, token in enumerate(drafts) if token != chosen[n]), len(drafts))
            tokens += drafts[:n_stood]
            next_token = chosen[n_stood]
            n_drafted += len(drafts)
            n_accepted += n_stood
        return tokens[: len(prompt) + N_WRITTEN], n_drafted, n_accepted


def refusal(make: Any) -> str | None:
    try:
        make().close()
    except ModelInvalid as error:
        return str(error)
    return None


def main() -> None:
    library = LlamaLibrary()
    target = Target(library)
    common: dict[str, Any] = {"library": library, "beat": nothing, "n_sequences": 1, "threads": lambda: 2}
    model = DraftModel(LOAD, target=target.vocab, **common)
    prompt = target.tokenize("The three most important things about a garden are")
    plain, _, _ = target.write(prompt, None)
    source = model.source()
    written, n_drafted, n_accepted = target.write(prompt, source)
    no_place = model.source()
    # the text went on otherwise than it was guessed: what the small model holds must be in step all the same
    other = [*prompt, *target.tokenize(" The garden is never red." * 6 + " The garden")]
    source.look(other)
    after_rejection = source.take(4)
    source.close()
    fresh = model.source()
    fresh.look(other)
    from_the_start = fresh.take(4)
    long_text = target.tokenize("One more line about the garden. " * 100 + "One more line about")
    fresh.look(long_text)
    long_steps = [len(fresh.take(4)) for _ in range(1 + (len(long_text) - 1) // CATCH_UP_TOKENS)]
    fresh.look([1] * 5000)
    fresh.close()
    embedding = str(built_in_embedder().path)
    strangers = load_model(
        replace(LOAD, path=embedding, plan=LoadPlan(n_ctx=None)),
        library=library,
        beat=nothing,
        embedding=True,
    )
    facts = {
        "same_text": plain == written,
        "n_drafted": n_drafted,
        "n_accepted": n_accepted,
        "token_s": model.token_s,
        "no_place": no_place.look(prompt) is None,
        "after_rejection": after_rejection,
        "from_the_start": from_the_start,
        "long_text": len(long_text),
        "long_steps": long_steps,
        "other_kind": refusal(
            lambda: DraftModel(replace(LOAD, draft_path=embedding), target=target.vocab, **common)
        ),
        "other_vocabulary": refusal(
            lambda: DraftModel(LOAD, target=llama_cpp.llama_model_get_vocab(strangers.model), **common)
        ),
    }
    model.close()
    strangers.close()
    target.loaded.close()
    json.dump(facts, sys.stdout)


if __name__ == "__main__":
    main()
