"""A benchmark and evaluation harness for diversity interventions in LLM co-evolution."""

__version__ = "0.1.0"
