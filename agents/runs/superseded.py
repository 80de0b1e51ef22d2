"""The signal that a run's work became pointless."""

from __future__ import annotations


class Superseded(Exception):
    """str() is one sentence for the user."""
