"""Benchmarks: one lm-eval YAML per task, and the embedded world `tasks.ladder`."""
