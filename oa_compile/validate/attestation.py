"""The in-toto statement of a validation (``test-result.intoto.json``): predicate test-result v0.1.

Owns the mapping; the shape is https://github.com/in-toto/attestation/blob/main/spec/predicates/test-result.md
on Statement v1. Unsigned: signing and writing are others'.
"""

from __future__ import annotations

from typing import Any

from oa_compile.digest import PREFIX
from oa_compile.errors import LaneError
from oa_compile.validate.verdict import Validation

STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE = "https://in-toto.io/attestation/test-result/v0.1"


def statement(validation: Validation, *, url: str = "") -> dict[str, Any]:
    """The statement about the artifact; the tests are the gates, by name. `url` links to the run.

    WARNED means every gate passed, one with a reservation, or that no gate was set: nothing asked is
    nothing passed. Raises LaneError for a run that was not
    judged: there is no result to attest.
    """
    if validation.unjudged:
        raise LaneError(
            f"nothing to attest, the artifact could not be judged: {validation.unjudged}",
            hint="validate again when the lane is back",
        )
    subject = validation.subject
    names: dict[str, list[str]] = {"ok": [], "warning": [], "error": []}
    for gate in validation.gates:
        names[gate.severity].append(gate.name)
    sound = bool(validation.gates) and not names["warning"]
    predicate: dict[str, Any] = {
        "result": "FAILED" if names["error"] else "PASSED" if sound else "WARNED",
        "configuration": [
            descriptor(name, digest)
            for name, digest in (
                ("config", subject.config),
                ("testset", subject.testset),
                ("metric", subject.metric),
                ("parent", subject.parent),
            )
            if digest
        ],
        "passedTests": names["ok"],
        "warnedTests": names["warning"],
        "failedTests": names["error"],
    }
    if validation.scorings > 1:
        predicate["configuration"].append({"name": "scorings", "annotations": {"n": validation.scorings}})
    if url:
        predicate["url"] = url
    return {
        "_type": STATEMENT_TYPE,
        "subject": [descriptor(subject.program, subject.artifact)],
        "predicateType": PREDICATE_TYPE,
        "predicate": predicate,
    }


def descriptor(name: str, digest: str) -> dict[str, Any]:
    """A ResourceDescriptor of something known by its digest. Raises ValueError for another algorithm."""
    if not digest.startswith(PREFIX):
        raise ValueError(f"not a sha256 digest: {digest!r}")
    return {"name": name, "digest": {"sha256": digest.removeprefix(PREFIX)}}
