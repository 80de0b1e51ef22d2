"""The agents that ship with Hearth, as the same Markdown files that a user would write."""

from __future__ import annotations

from importlib import resources

from agents.errors import NotFound

DOCUMENT_DIGEST = "document-digest"


def builtin_names() -> tuple[str, ...]:
    """The names that builtin_source knows."""
    files = resources.files(__name__).iterdir()
    return tuple(sorted(file.name.removesuffix(".md") for file in files if file.name.endswith(".md")))


def builtin_source(name: str) -> str:
    """The Markdown of an agent that ships. No folder is chosen in it: parse it as a template, then with_folders."""
    if name not in builtin_names():
        raise NotFound(f"No agent named {name} ships with Hearth; there is {', '.join(builtin_names())}.")
    return resources.files(__name__).joinpath(f"{name}.md").read_text(encoding="utf-8")
