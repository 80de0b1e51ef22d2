"""The real child, which looks through its books after every step, and compares them with llama.cpp's own."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import llama_cpp

from engine.__main__ import main
from engine.child import server
from engine.child.batch_loop import BatchLoop


class CheckedLoop(BatchLoop):
    """Ends the child, as any bug of the loop does, at the first step that leaves something wrong behind."""

    def step(self) -> bool:
        """One step, and a look at everything."""
        has_worked = super().step()
        self.check_integrity()
        self._compare_with_llama_cpp()
        return has_worked

    def _compare_with_llama_cpp(self) -> None:
        context: Any = self._runner.context
        memory = llama_cpp.llama_get_memory(context.pointer)
        length: Callable[[int], int] = self._kv._cells.length
        for seq_id in range(self._runner.n_seq_ids):
            n_native = llama_cpp.llama_memory_seq_pos_max(memory, seq_id) + 1
            if n_native != length(seq_id):
                raise RuntimeError("the books and llama.cpp disagree about the length of a sequence")


if __name__ == "__main__":
    vars(server)["BatchLoop"] = CheckedLoop
    sys.exit(main())
