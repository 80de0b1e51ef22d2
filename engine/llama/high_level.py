"""The `Llama` class of llama-cpp-python as a peer of the benchmark: one JSON line in, one out.

Runs in: a process of its own that the benchmark starts; never in the engine child.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any

from llama_cpp import Llama
from llama_cpp.llama_grammar import LlamaGrammar


def main(arguments: list[str]) -> int:
    """MODEL N_CTX N_THREADS; says {} when the model is loaded, then answers requests until stdin ends."""
    path, n_ctx, n_threads = arguments[0], int(arguments[1]), int(arguments[2])
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # whatever native code prints lands in the log
    llama = Llama(path, n_ctx=n_ctx, n_threads=n_threads, n_threads_batch=n_threads, verbose=False)
    _tell(answers, {})
    for line in sys.stdin:
        _tell(answers, _answer(llama, json.loads(line)))
    return 0


def _tell(answers: Any, value: dict[str, Any]) -> None:
    answers.write(json.dumps(value) + "\n")
    answers.flush()


def _answer(llama: Any, asked: dict[str, Any]) -> dict[str, Any]:
    """The reply in OpenAI's form; its text and token count are what the benchmark reads."""
    sampling: dict[str, Any] = {"max_tokens": asked["max_tokens"], "temperature": asked["temperature"]}
    if asked["schema"] is not None:
        grammar = LlamaGrammar.from_json_schema(json.dumps(asked["schema"]), verbose=False)
        sampling["grammar"] = grammar
    if asked["prompt"] is not None:
        reply = llama.create_completion(asked["prompt"], **sampling)
        text = reply["choices"][0]["text"]
    else:
        reply = llama.create_chat_completion(asked["messages"], **sampling)
        text = reply["choices"][0]["message"]["content"]
    return {
        "text": text or "",
        "tokens": reply["usage"]["completion_tokens"],
        "cut": reply["choices"][0]["finish_reason"] == "length",
    }


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
