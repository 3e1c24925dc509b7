"""What holds the trainable weights: this process, or several that share them."""

from harness.learner.base import Grads, Learner
from harness.learner.make import check_training, make_learner
from harness.learner.passes import Passes

__all__ = ["Grads", "Learner", "Passes", "check_training", "make_learner"]
