"""Hot paths with a plain twin: each function here has a formula beside it that says what it is."""

from harness.kernels.lm_head import PLAIN, Keep, linear_logprob, plain_linear_logprob

__all__ = ["PLAIN", "Keep", "linear_logprob", "plain_linear_logprob"]
