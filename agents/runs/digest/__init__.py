"""The document digest: a file becomes a title, a summary, action items and a category."""

from agents.runs.digest.workflow import digest_document

__all__ = ["digest_document"]
