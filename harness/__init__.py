"""A benchmark and evaluation harness for diversity interventions in LLM co-evolution."""

__version__ = "0.2.0"
