"""Maker of build-analyzer examples: the output of a build that failed, and what kind of error it was.

The kind is read from the compiler's own codes and phrases (`extract.compiler_errors`), and only of builds
that were made to pass later: then `fixes` and `fix_order` are what was really changed. Where the errors are
of several kinds, the kind of most of them is the label, and their share its confidence.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from oa_compile.extract.compiler_errors import errors_in
from oa_compile.extract.context import cut
from oa_compile.extract.drafts import Draft
from oa_compile.extract.repairs import Repair, Repairs
from oa_compile.extract.tally import Tally
from oa_compile.extract.walk import Moment, Scene
from oa_compile.extract.wanted import Wanted
from oa_compile.spec.extract import ExtractSpec

OUTPUT_CHARS = 6_000
_CLEAR, _UNCLEAR = 0.95, 0.7
"""How sure a kind is when every error's code tells it, and when some errors are of no kind."""


class BuildAnalyzer:
    """One draft for each build that failed with errors of a known kind and passed later."""

    def __init__(self, spec: ExtractSpec, tally: Tally, wanted: Wanted) -> None:
        del spec, wanted
        self._tally = tally
        self._repairs = Repairs(tally)

    def take(self, scene: Scene, moment: Moment) -> Iterator[Draft]:
        """A failed build waits until it passes."""
        for repair in self._repairs.take(scene, moment):
            if (draft := self._draft(scene, repair)) is not None:
                yield draft

    def _draft(self, scene: Scene, repair: Repair) -> Draft | None:
        errors = errors_in(repair.output)
        kinds = Counter(error.category for error in errors if error.category is not None)
        if not kinds:
            reason = (
                "failed check without a compiler's error" if not errors else "compiler error of another kind"
            )
            self._tally.leave_out(reason, repair.failed_at)
            return None
        (category, count), *rest = kinds.most_common()
        if rest and rest[0][1] == count:
            self._tally.leave_out("build that failed in two ways alike", repair.failed_at)
            return None
        clear = _CLEAR if sum(kinds.values()) == len(errors) else _UNCLEAR
        return Draft(
            inputs={"build_output": cut(repair.output.strip(), OUTPUT_CHARS)},
            outputs={
                "error_category": category,
                "errors": [str(error) for error in errors],
                "fixes": repair.fixes,
                "fix_order": repair.files,
            },
            line=repair.passed_at,
            evidence=repair.evidence(scene.session),
            confidence=round(clear * count / sum(kinds.values()), 2),
        )
