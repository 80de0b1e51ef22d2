"""The rows by name, in the order in which they are measured and shown."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping

from engine.bench.core import Row
from engine.bench.rows.decode import decode_1, decode_8, decode_contended
from engine.bench.rows.embed import embed
from engine.bench.rows.first_token import ttft_busy, ttft_warm_prefix
from engine.bench.rows.neighbour import neighbour
from engine.bench.rows.own_cost import python_share, queue_cost, speculation
from engine.bench.rows.roofline import roofline
from engine.bench.rows.tool_call import tool_call
from engine.bench.stage import Stage

Measure = Callable[[Stage], Awaitable[list[Row]]]

ROWS: Mapping[str, Measure] = {
    measure.__name__: measure
    for measure in (
        decode_1,
        decode_8,
        ttft_busy,
        ttft_warm_prefix,
        tool_call,
        decode_contended,
        neighbour,
        python_share,
        queue_cost,
        speculation,
        embed,
        roofline,
    )
}
