"""The artifact's in-toto statement: SLSA provenance v1 of one compile.

Holds what differs between runs that make the same program: times, run name, calls, money.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from oa_compile.artifact.manifest import MANIFEST, Manifest
from oa_compile.digest import PREFIX

BUILD_TYPE = "urn:oacompile:build:optimize:1"
BUILDER = "urn:oacompile:builder"


def statement(
    manifest: Manifest,
    *,
    run: str,
    started_ms: int,
    finished_ms: int,
    config: Mapping[str, Any],
    byproducts: Mapping[str, Any],
) -> dict[str, Any]:
    """The statement as JSON. Times are Unix milliseconds."""
    # The testset is named in the manifest, but it is no material: the compile never opens it.
    read = {name: digest for name, digest in manifest.dataset.items() if name != "test"}
    materials = {"program": manifest.program.digest, **manifest.program.files, **read}
    return {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"name": MANIFEST, "digest": _sha256(manifest.digest)}],
        "predicateType": "https://slsa.dev/provenance/v1",
        "predicate": {
            "buildDefinition": {
                "buildType": BUILD_TYPE,
                "externalParameters": {
                    "program": manifest.program.name,
                    "optimizer": manifest.search.optimizer,
                    "seed": manifest.search.seed,
                },
                "internalParameters": {"config": dict(config), "versions": manifest.versions},
                "resolvedDependencies": [
                    {"name": name, "digest": _sha256(digest)} for name, digest in sorted(materials.items())
                ]
                + [
                    {"name": f"model/{role}", "uri": f"urn:oacompile:model:{identity}"}
                    for role, identity in sorted(manifest.models.items())
                ],
            },
            "runDetails": {
                "builder": {"id": BUILDER, "version": {"oacompile": manifest.versions["oa-compile"]}},
                "metadata": {
                    "invocationId": run,
                    "startedOn": _rfc3339(started_ms),
                    "finishedOn": _rfc3339(finished_ms),
                },
                "byproducts": [
                    {"name": name, "annotations": {"value": value}} for name, value in byproducts.items()
                ],
            },
        },
    }


def _sha256(digest: str) -> dict[str, str]:
    return {"sha256": digest.removeprefix(PREFIX)}


def _rfc3339(milliseconds: int) -> str:
    from datetime import UTC, datetime

    return (
        datetime.fromtimestamp(milliseconds / 1000, tz=UTC)
        .isoformat(timespec="milliseconds")
        .replace("+00:00", "Z")
    )
