"""What may leave: names and secrets replaced, and put back into the answer."""
