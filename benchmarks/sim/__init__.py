"""A simulated swarm: virtual time, service providers, relays and Lightning, all drawn from a seed."""
