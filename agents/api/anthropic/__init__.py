"""The Anthropic-compatible API: bodies turned into engine requests, and answers turned back."""
