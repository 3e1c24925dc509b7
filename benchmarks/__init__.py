"""Measurements: speed, memory, coverage. Never part of the tests."""
