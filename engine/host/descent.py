"""Which plan and which safe setting are tried next, after a load had no room or crashed; pure.

No room: the next smaller plan, with the same settings. A crash with layers on the GPU: the driver is the first suspect,
so the processor alone is tried, if the user did not insist on the GPU. Any other crash: the next more careful
settings, beginning with the plan that got as far as crashing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from engine.plans import LoadPlan
from engine.safe_settings import SafeMode


@dataclass(frozen=True, kw_only=True)
class Rung:
    """What a load is tried with."""

    plan: LoadPlan
    mode: SafeMode


class Descent:
    """Goes down both ladders; `rung` is None when nothing is left, and `ran_out_of_room` says why."""

    def __init__(self, plans: Sequence[LoadPlan]) -> None:
        self._plans = list(plans)
        self._modes = list(SafeMode)
        self.ran_out_of_room = False
        self.host_was_short = False  # for the computer's own memory, which may be free again later

    @property
    def rung(self) -> Rung | None:
        """What to try now."""
        if not self._plans or not self._modes:
            return None
        return Rung(plan=self._plans[0], mode=self._modes[0])

    def no_room(self) -> None:
        """The rung did not fit."""
        self.host_was_short |= self._plans[0].n_gpu_layers == 0
        del self._plans[0]
        self.ran_out_of_room = not self._plans

    def crashed(self) -> None:
        """The child died under the rung, or what it computed can't be used."""
        on_processor = [plan for plan in self._plans if plan.n_gpu_layers == 0]
        if self._plans[0].n_gpu_layers != 0 and on_processor:
            self._plans = on_processor
        else:
            del self._modes[0]
