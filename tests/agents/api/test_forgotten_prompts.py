"""What was computed for an agent's prompts goes when they do."""

from pathlib import Path

from agents.credentials import KeyKind, ResolvedKey
from engine.fakes import ScriptedEngine
from tests.agents.api.test_api import DIGEST, first_choice, root, serving

__all__ = ["root"]  # the fixture


async def test_removing_or_changing_an_agent_forgets_its_prompts(root: Path) -> None:
    engine = ScriptedEngine(first_choice)
    key = ResolvedKey(kind=KeyKind.KEY_FILE, raw=bytes(32), created=True)
    async with serving(root, engine, key) as house:
        await house.choose_folder()
        assert engine.forgotten == [], "its prompts are the same in another folder"
        source = (await house.get(DIGEST))["source"]
        changed = source.rstrip() + "\nAnswer in one sentence.\n"
        body = {"source": changed, "replace": True, "accept": True}
        assert (await house.http.post("/v1/agents", json=body)).status_code in {200, 201}
        names = ["agent-1-part", "agent-1-whole", "agent-1-quoted-whole", "agent-1-write"]
        assert engine.forgotten == names
        assert (await house.http.delete(DIGEST)).status_code == 204
        assert engine.forgotten == names * 2
