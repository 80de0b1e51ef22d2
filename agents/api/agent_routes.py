"""The routes about agents: what they are, when they are due, and the switch that stops them all."""

from __future__ import annotations

from typing import Annotated

from fastapi import FastAPI, Header, Query, Request

from agents import contract, views
from agents.api.hook_bodies import read_hook_body
from agents.api.parameters import Limit, Moment
from agents.api.services import Services
from agents.core import OccurrenceStatus

MAX_DUE_TIMES = 10_000  # a week of an agent that is due each minute


def add_agent_routes(app: FastAPI, services: Services) -> None:
    registry = services.registry

    @app.get("/v1/agents")
    async def list_agents() -> list[contract.AgentInfo]:
        return await registry.list_agents()

    @app.post("/v1/agents", status_code=201)
    async def add_agent(body: contract.AgentAdd) -> contract.AgentDetail:
        return await registry.add(body)

    @app.get("/v1/agents/{name}")
    async def show_agent(name: str) -> contract.AgentDetail:
        return await registry.show(name)

    @app.put("/v1/agents/{name}/folders")
    async def choose_folders(name: str, body: contract.FoldersChange) -> contract.AgentDetail:
        return await registry.choose_folders(name, body.folders)

    @app.delete("/v1/agents/{name}", status_code=204)
    async def remove_agent(name: str) -> None:
        await registry.remove(name)

    @app.post("/v1/agents/{name}/pause")
    async def pause_agent(name: str) -> contract.AgentInfo:
        return await registry.pause(name)

    @app.post("/v1/agents/{name}/resume")
    async def resume_agent(name: str) -> contract.AgentInfo:
        return await registry.resume(name)

    @app.post("/v1/agents/{name}/run")
    async def run_agent(name: str, body: contract.RunNow) -> contract.RunsStarted:
        return await registry.run_now(name, body.file)

    @app.get("/v1/agents/{name}/next")
    async def next_due_times(
        name: str,
        n: Annotated[int, Query(ge=1, le=MAX_DUE_TIMES)] = 10,
        start: Moment = None,
        end: Moment = None,
    ) -> list[contract.DueTime]:
        return await registry.due_times(name, n=n, start=start, end=end)

    @app.get("/v1/limits")
    async def show_limits() -> contract.Limits:
        return await services.limits.show()

    @app.patch("/v1/limits")
    async def change_limits(body: contract.LimitsChange) -> contract.Limits:
        return await services.limits.change(body)

    @app.post("/v1/agents-switch")
    async def switch_agents(body: contract.AgentsSwitch) -> contract.AgentsSwitched:
        return await services.switch_agents(body.stopped)


def add_due_time_routes(app: FastAPI, services: Services) -> None:
    schedule = services.store.schedule

    @app.post("/v1/hooks/{hook}", status_code=202)
    async def call_hook(
        hook: str,
        request: Request,
        idempotency_key: Annotated[str | None, Header(min_length=1, max_length=200)] = None,
    ) -> contract.HookTaken:
        return await services.hooks.call(hook, await read_hook_body(request), once=idempotency_key)

    @app.get("/v1/occurrences")
    async def list_occurrences(
        agent: str | None = None,
        status: contract.OccurrenceStatusWord | None = None,
        since: Moment = None,
        until: Moment = None,
        limit: Limit = 50,
        before: contract.RowId | None = None,
    ) -> list[contract.OccurrenceInfo]:
        found = await schedule.list(
            agent=agent,
            status=OccurrenceStatus(status) if status else None,
            since=since,
            until=until,
            limit=limit,
            before=before,
        )
        return [views.occurrence_info(occurrence) for occurrence in found]

    @app.get("/v1/occurrences/{occurrence_id}")
    async def show_occurrence(occurrence_id: contract.RowId) -> contract.OccurrenceDetail:
        occurrence = await schedule.get(occurrence_id)
        return views.occurrence_detail(occurrence, await schedule.gate_rows(occurrence_id))
