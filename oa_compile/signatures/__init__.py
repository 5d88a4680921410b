"""From a program spec to a DSPy program: signatures, modules, and which parts an optimizer may touch."""
