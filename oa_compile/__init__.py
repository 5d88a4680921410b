"""oacompile: the compiler layer for agent behaviour.

The library never prints, reads argv or picks an exit code; :mod:`oa_compile.cli` does.
"""

__version__ = "0.1.0"
