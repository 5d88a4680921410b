"""Replay: a whole compile again, from its bundle."""
