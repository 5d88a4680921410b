"""The service provider's half: any answering function behind a price."""
