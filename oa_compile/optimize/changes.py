"""What a candidate changed, in a few words: its origin, as people read it."""

from __future__ import annotations

from oa_compile.signatures.state import State


def changes(base: State, state: State) -> str:
    """What `state` has that `base`, the program as written, has not. Both are of the same predictors."""
    words = []
    for name, part in state.items():
        before = base[name]
        where = "" if len(state) == 1 else f"{name}: "
        if part["instruction"] != before["instruction"]:
            words.append(f"{where}new instruction")
        if part["demos"] != before["demos"]:
            own = sum(1 for demo in part["demos"] if demo.get("augmented"))
            labeled = len(part["demos"]) - own
            words.append(f"{where}{labeled} labeled and {own} bootstrapped demos")
    return ", ".join(words) or "the program as written"
