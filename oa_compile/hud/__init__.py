"""How a run is seen: one reducer over the journal, and the screens that read it."""
