"""A declared warm start: supervised fine-tuning of both role formats on a training set.

A model too weak to hold the proposer's format gives co-evolution nothing to reward. A few steps on
problems with solutions teach both formats: propose (a problem in the profile's question tags, with
its boxed answer where the profile asks for one) and solve (the solution, its answer boxed). The
result is an ordinary checkpoint that declares what it was made from (`harness.base.RECORD`), so
that no table calls it zero-data.
"""

from harness.warmstart.examples import make_examples, proposal_text, solution_text
from harness.warmstart.fit import Settings, Step, fit, held_out_loss
from harness.warmstart.make import warm_start
from harness.warmstart.probe import probe

__all__ = [
    "Settings",
    "Step",
    "fit",
    "held_out_loss",
    "make_examples",
    "probe",
    "proposal_text",
    "solution_text",
    "warm_start",
]
