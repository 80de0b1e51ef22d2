"""A pinned prefix outlives the child, lies encrypted on disk, and goes when it is forgotten, with a child or without."""

from pathlib import Path

from engine.core import Finished, Message, PinnedPrefix, Request, SamplingParams, Usage
from engine.model import CacheSpec
from engine.supervisor import EngineSupervisor
from tests.real.engine.conftest import Make

NAME = "agent-1-whole"
SYSTEM = "You are careful and you keep secrets. " * 30


async def ask(engine: EngineSupervisor, question: str) -> Usage:
    request = Request(
        id=question,
        messages=(Message(role="system", content=SYSTEM), Message(role="user", content=question)),
        sampling=SamplingParams(max_tokens=4, temperature=0.0),
        prefix=PinnedPrefix(name=NAME),
    )
    async for event in engine.stream(request):
        if isinstance(event, Finished):
            return event.usage
    raise AssertionError("no end")


async def test_a_pinned_prefix_saves_its_computing_after_a_restart_until_it_is_forgotten(
    make: Make, tmp_path: Path
) -> None:
    cache = CacheSpec(folder=tmp_path / "prefixes", key="ab" * 32)
    first = make(cache=cache)
    assert (await ask(first, "One?")).cached_tokens == 0
    await first.stop()
    (file,) = (tmp_path / "prefixes").iterdir()
    data = file.read_bytes()
    assert not any(word in data for word in (b"secret", b"careful", NAME.encode()))

    second = make(cache=cache)
    usage = await ask(second, "Two, then?")
    assert usage.prompt_tokens - 32 < usage.cached_tokens < usage.prompt_tokens
    await second.forget_prefix(NAME)
    assert list((tmp_path / "prefixes").iterdir()) == []
    await second.stop()

    third = make(cache=cache)
    assert (await ask(third, "Three?")).cached_tokens == 0
    await third.stop()
    assert len(list((tmp_path / "prefixes").iterdir())) == 1
    await third.forget_prefix(NAME)
    assert list((tmp_path / "prefixes").iterdir()) == [], "no child is needed to forget"
