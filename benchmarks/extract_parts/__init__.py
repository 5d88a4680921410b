"""The parts of benchmarks/extract.py."""
