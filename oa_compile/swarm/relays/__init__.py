"""How it gets there: connections to relays, several as one, and a relay of this machine."""
