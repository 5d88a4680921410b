"""The command line: the only code that prints, reads argv or picks an exit code."""
