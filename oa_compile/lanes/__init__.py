"""Lanes: where an LM call runs. `engine` is what DSPy calls; every other file is one kind of lane."""
