"""What runs have reserved and used up, by run, agent and day."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

from sqlite_utils import Database

from agents.clock import Clock
from agents.errors import NotFound
from agents.runs.budget import Amount, Limit, Refused, Scope, refusal
from agents.storage.driver import insert, row
from agents.storage.values import to_us
from agents.storage.writer import Writer

_SUMS = """
    SELECT coalesce(sum(tokens), 0) AS tokens, coalesce(sum(seconds), 0.0) AS seconds, coalesce(sum(wh), 0.0) AS wh,
        coalesce(sum(usd), 0.0) AS usd, coalesce(sum(tool_calls), 0) AS tool_calls
    FROM reservations
"""
_NO_DAY = ""


class BudgetStore:
    """Looking and reserving are one transaction, so steps side by side can't go over a limit together."""

    def __init__(self, writer: Writer, clock: Clock) -> None:
        self._writer = writer
        self._clock = clock

    async def reserve(
        self, run_id: int, agent_id: int, day: date, amount: Amount, limits: Sequence[Limit]
    ) -> int | Refused:
        """The reservation's id, or the first limit that does not allow it. Until it is settled it counts in full."""
        now_us = to_us(self._clock.now())

        def job(db: Database) -> int | Refused:
            used = {
                Scope.RUN: _used_by_run(db, run_id),
                Scope.AGENT_DAY: _used(db, agent_id, day),
                Scope.HOUSE_DAY: _used(db, None, day),
            }
            refused = refusal(limits, used, amount)
            if refused is not None:
                return refused
            values = {"run_id": run_id, "agent_id": agent_id, "day": day.isoformat(), "created_us": now_us}
            return insert(db, "reservations", values | _columns(amount))

        return await self._writer.write(job)

    async def settle(self, reservation_id: int, used: Amount) -> None:
        """Puts what was used in the place of what was reserved."""

        def job(db: Database) -> None:
            cursor = db.execute(
                """
                UPDATE reservations SET tokens = :tokens, seconds = :seconds, wh = :wh, usd = :usd, tool_calls = :tool_calls,
                    is_settled = 1
                WHERE id = :id
                """,
                _columns(used) | {"id": reservation_id},
            )
            if cursor.rowcount == 0:
                raise NotFound(f"There is no reservation {reservation_id}; it was released.")

        await self._writer.write(job)

    async def used(self, agent_id: int | None, day: date) -> Amount:
        """Used and reserved on that day, by one agent or by all."""
        return await self._writer.read(lambda db: _used(db, agent_id, day))

    async def used_by_run(self, run_id: int) -> Amount:
        """Used and reserved by one run, over all of its attempts."""
        return await self._writer.read(lambda db: _used_by_run(db, run_id))

    async def release_all(self, run_id: int) -> None:
        """Drops what a run has reserved and not settled: the work was not begun."""

        def job(db: Database) -> None:
            db.execute("DELETE FROM reservations WHERE run_id = ? AND is_settled = 0", (run_id,))

        await self._writer.write(job)


def settle_lost(db: Database, run_id: int) -> None:
    """Of a run whose runtime died nobody knows what it used: what it had reserved counts as used on its day, for agent and house.

    The run does that work anew. For its own limits a counter-entry of no day takes it back, or a few crashes would use them up.
    """
    db.execute(
        """
        INSERT INTO reservations (run_id, agent_id, day, tokens, seconds, wh, usd, tool_calls, is_settled, created_us)
        SELECT run_id, agent_id, ?, -tokens, -seconds, -wh, -usd, -tool_calls, 1, created_us FROM reservations
        WHERE run_id = ? AND is_settled = 0
        """,
        (_NO_DAY, run_id),
    )
    db.execute("UPDATE reservations SET is_settled = 1 WHERE run_id = ?", (run_id,))


def _used(db: Database, agent_id: int | None, day: date) -> Amount:
    mine = "" if agent_id is None else " AND agent_id = :agent"
    return _sum(db, f" WHERE day = :day{mine}", {"day": day.isoformat(), "agent": agent_id})


def _used_by_run(db: Database, run_id: int) -> Amount:
    return _sum(db, " WHERE run_id = :run", {"run": run_id})


def _sum(db: Database, where: str, values: dict[str, object]) -> Amount:
    found = row(db, _SUMS + where, values)
    assert found is not None  # sums of nothing are a row too
    return Amount(**found)


def _columns(amount: Amount) -> dict[str, object]:
    return {
        "tokens": amount.tokens,
        "seconds": float(amount.seconds),
        "wh": float(amount.wh),
        "usd": float(amount.usd),
        "tool_calls": amount.tool_calls,
    }
