"""The search: a driver, and one file an optimizer behind one Protocol."""
