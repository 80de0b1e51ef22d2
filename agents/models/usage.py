"""What the engine counted, as the runtime keeps it."""

from __future__ import annotations

from agents.core import StepUsage
from engine.core import Usage


def step_usage(usage: Usage) -> StepUsage:
    """The same numbers as a value that can be stored."""
    return StepUsage(
        prompt_tokens=usage.prompt_tokens,
        completion_tokens=usage.completion_tokens,
        prefill_s=usage.prefill_s,
        decode_s=usage.decode_s,
    )
