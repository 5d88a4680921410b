"""Language model calls as jobs on Nostr relays, answered by service providers, paid over Lightning.

Owns the customer's and the provider's half of the protocol and every wallet; knows no lane, no DSPy and
no journal.
"""
