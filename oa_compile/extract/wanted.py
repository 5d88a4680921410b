"""What a program asks its example maker for.

Owns the rule that a maker makes no field nobody reads: some cost decoding outputs that nobody would look at.
"""

from __future__ import annotations

from oa_compile.spec.program import ProgramSpec


class Wanted:
    """The maker's fields that a program uses. Without names it is every field."""

    def __init__(self, *names: str) -> None:
        self._names = frozenset(names)

    @classmethod
    def by(cls, spec: ProgramSpec) -> Wanted:
        """What `spec` asks for, by the maker's names; a program without a signature takes all there is."""
        if spec.signature is None:
            return cls()
        fields = (*spec.signature.inputs, *spec.signature.outputs)
        return cls(*(spec.extract.fields.get(field.name, field.name) for field in fields))

    def __contains__(self, name: str) -> bool:
        return not self._names or name in self._names

    def named(self, name: str) -> bool:
        """Whether the program asks for just this field, and does not merely take what there is."""
        return name in self._names
