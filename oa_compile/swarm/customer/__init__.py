"""The customer's half: calls, attempts, payments, tabs."""
