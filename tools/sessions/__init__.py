"""Generates the shipped sessions: a scripted agent really works on small broken projects.

Run ``python -m tools.sessions`` from the repository root.
"""
