"""The routes about runs: finding, showing, cancelling and doing them again, and what they handed over."""

from __future__ import annotations

from fastapi import FastAPI

from agents import contract, views
from agents.api.parameters import Limit, Moment
from agents.api.services import Services
from agents.core import RunStatus
from agents.errors import UsageProblem
from agents.triggers import TriggerKind, trigger_key


def add_run_routes(app: FastAPI, services: Services) -> None:
    store, schedule = services.store, services.store.schedule

    @app.get("/v1/runs")
    async def list_runs(
        agent: str | None = None,
        status: contract.RunStatusWord | None = None,
        trigger: contract.TriggerWord | None = None,
        search: str | None = None,
        since: Moment = None,
        until: Moment = None,
        limit: Limit = 50,
        before: contract.RowId | None = None,
    ) -> list[contract.RunInfo]:
        runs = await store.runs.search(
            text=search,
            agent=agent,
            status=RunStatus(status) if status else None,
            trigger=TriggerKind(trigger) if trigger else None,
            since=since,
            until=until,
            limit=limit,
            before=before,
        )
        return [views.run_info(run) for run in runs]

    @app.get("/v1/timeline")
    async def timeline(
        since: Moment = None, until: Moment = None, limit: Limit = 500
    ) -> list[contract.RunInfo]:
        if since is None or until is None:
            raise UsageProblem("A timeline needs 'since' and 'until'; give both.")
        return [views.run_info(run) for run in await store.runs.timeline(since, until, limit)]

    @app.get("/v1/runs/{run_id}")
    async def show_run(run_id: contract.RowId) -> contract.RunDetail:
        run = await store.runs.get(run_id)
        revision = await store.agents.revision(run.revision_id)
        occurrence = await store.runs.occurrence_of(run_id)
        definition = await store.agents.definition(run.revision_id)
        made_due = (each for each in definition.triggers if trigger_key(each) == occurrence.trigger_key)
        return views.run_detail(
            run,
            revision=revision.number,
            steps=await store.runs.steps(run_id),
            result=await store.runs.result_of(run_id),
            occurrence=views.occurrence_detail(occurrence, await schedule.gate_rows(occurrence.id)),
            trigger=next(made_due, None),
        )

    @app.post("/v1/runs/{run_id}/cancel")
    async def cancel_run(run_id: contract.RowId) -> contract.RunInfo:
        return views.run_info(await services.runs.cancel(run_id))

    @app.post("/v1/runs/{run_id}/retry", status_code=201)
    async def retry_run(run_id: contract.RowId) -> contract.RunInfo:
        return await _told(services, views.run_info(await services.repeater.retry(run_id)))

    @app.post("/v1/runs/{run_id}/replay", status_code=201)
    async def replay_run(run_id: contract.RowId, body: contract.Replay) -> contract.RunInfo:
        run = await services.repeater.replay(run_id, model=body.model, revision=body.revision)
        return await _told(services, views.run_info(run))

    @app.get("/v1/results")
    async def list_results(
        agent: str | None = None, limit: Limit = 50, before: contract.RowId | None = None
    ) -> list[contract.ResultInfo]:
        results = await store.runs.results(agent=agent, limit=limit, before=before)
        return [views.result_info(result) for result in results]


async def _told(services: Services, run: contract.RunInfo) -> contract.RunInfo:
    services.bus.publish(contract.RunChanged(run=run))
    await services.registry.tell(run.agent)
    return run
