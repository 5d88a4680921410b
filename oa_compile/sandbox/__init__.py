"""Where model-written code runs: no network, no home, a read-only system, and limits on everything."""
