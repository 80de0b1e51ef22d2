"""A model is needed when the earliest armed due time of its agents comes."""

from datetime import timedelta
from pathlib import Path

from agents.core import Agent, NewOccurrence
from agents.scheduling.models_due import models_due
from agents.storage import Store
from agents.triggers import TriggerKind
from tests.agents.conftest import FakeClock, definition_of


async def test_each_model_is_needed_at_its_earliest_due_time(
    store: Store, agent: Agent, clock: FakeClock, folder: Path
) -> None:
    large = await store.agents.add(definition_of(folder, name="Large", model="/models/large.gguf"), "source")
    now = clock.now()
    rows = [
        NewOccurrence(
            agent_id=owner.id,
            trigger=TriggerKind.INTERVAL,
            trigger_key=f"interval:{number}",
            key=str(number),
            due_at=now + timedelta(seconds=in_s),
        )
        for number, (owner, in_s) in enumerate(((agent, 90), (agent, 30), (large, -5), (large, 400)))
    ]
    await store.schedule.plan(rows)
    armed = await store.schedule.armed()

    agents = {each.id: each for each in (agent, large)}
    assert models_due(armed, agents, now=now) == {"built-in": 30.0, "/models/large.gguf": 0.0}
    assert models_due(armed, {agent.id: agent}, now=now) == {"built-in": 30.0}, "others are gone"
