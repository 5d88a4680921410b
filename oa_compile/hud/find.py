"""Finding a candidate of a run by what people type."""

from __future__ import annotations

import difflib
from collections.abc import Mapping

from oa_compile.digest import PREFIX
from oa_compile.errors import UsageError
from oa_compile.hud.record import CandidateView
from oa_compile.hud.view import RunView

BASELINE, BEST = "baseline", "best"


def find_candidate(view: RunView, name: str) -> CandidateView:
    """The candidate that `name` means: ``baseline``, ``best``, or a prefix of one id.

    Raises UsageError, with the near ones, when it means none or several.
    """
    wanted = name.strip().lower()
    special = {BASELINE: view.baseline, BEST: view.best}
    if wanted in special:
        found = special[wanted]
        if found is None:
            raise UsageError(
                f"this run has no {wanted} candidate yet",
                hint="a candidate is best once it has a valid score on the whole split",
            )
        return found
    bare = wanted.removeprefix(PREFIX)
    ids = {candidate: candidate.removeprefix(PREFIX) for candidate in view.candidates}
    matches = [candidate for candidate, text in ids.items() if bare and text.lower().startswith(bare)]
    exact = [candidate for candidate in matches if ids[candidate].lower() == bare]
    if len(matches) == 1 or len(exact) == 1:
        return view.candidates[(exact or matches)[0]]
    if matches:
        several = ", ".join(view.name(candidate) for candidate in matches[:5])
        raise UsageError(f"`{name}` means {len(matches)} candidates: {several}", hint="write more of the id")
    raise UsageError(f"no candidate `{name}` in this run", hint=_near(view, bare, ids))


def _near(view: RunView, bare: str, ids: Mapping[str, str]) -> str:
    heads = {text[: max(len(bare), 1)].lower(): candidate for candidate, text in ids.items()}
    close = difflib.get_close_matches(bare, [*heads, BASELINE, BEST], n=3, cutoff=0.5)
    near = [view.name(heads[head]) if head in heads else head for head in close]
    if near:
        return f"did you mean {' or '.join(near)}?"
    known = [view.name(candidate) for candidate in list(ids)[:5]]
    return f"candidates are {', '.join([BASELINE, BEST, *known])}{' …' if len(ids) > 5 else ''}"
