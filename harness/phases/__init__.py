"""The phases of one iteration, in the order of `harness.coevolution`."""
