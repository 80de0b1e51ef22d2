"""What can end or delay a run beside trouble with its document or its model; each is one sentence for the user.

HearthError
├── BudgetSpent      a limit of the agent, or of all agents together, does not allow the next step (not tried again)
├── OutOfTime        the whole run took longer than it may (not tried again)
├── StepOutOfTime    one step did (tried again)
├── EffectRefused    what was to be changed outside of Hearth may not be, or can't be (not tried again)
├── EffectTrouble    it can't be just now: the disk is full, a drive does not answer (tried again)
└── Unverified       nobody can tell whether it happened: the run ends with its result, and with this sentence
"""

from __future__ import annotations

from agents.errors import HearthError


class BudgetSpent(HearthError):
    code = "budget"


class OutOfTime(HearthError):
    code = "run_timeout"


class StepOutOfTime(HearthError):
    code = "step_timeout"


class EffectRefused(HearthError):
    code = "effect_refused"


class EffectTrouble(HearthError):
    code = "effect_trouble"


class Unverified(HearthError):
    code = "unverified"
