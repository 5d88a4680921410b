"""Scoring: metrics over one example's fields, and the statistics over many scores."""
