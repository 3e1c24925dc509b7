"""Engines that sample from a causal language model."""

from harness.engines.base import Engine, LogitsRule, Rollouts, SamplingParams

__all__ = ["Engine", "LogitsRule", "Rollouts", "SamplingParams"]
