"""Judges an artifact by its scores on the testset: gates, the verdict, and how it is told."""
