"""Runs that follow their agent's instructions and write a text."""

from agents.runs.write.workflow import write_text

__all__ = ["write_text"]
