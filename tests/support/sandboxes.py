"""The sandboxes a test can have here. In CI bubblewrap must be among them."""

from __future__ import annotations

import os
from functools import cache

import pytest

from oa_compile.errors import UsageError
from oa_compile.sandbox.choose import sandbox_from
from oa_compile.sandbox.sandbox import Sandbox
from oa_compile.spec.sandbox import SandboxSpec

REQUIRED = "OACOMPILE_REQUIRE_SANDBOX"
"""Set in CI: a machine without bubblewrap fails its tests there instead of skipping them."""

IMAGE = "OACOMPILE_TEST_IMAGE"
"""Name of an image with Python that docker or podman has here."""

KINDS = ("bubblewrap", "docker", "podman")


@cache
def _tried(kind: str) -> Sandbox | str:
    image = "" if kind == "bubblewrap" else os.environ.get(IMAGE, "python:3.11-slim")
    try:
        return sandbox_from(SandboxSpec.model_validate({"kind": kind, "image": image}))
    except UsageError as error:
        return error.message


def sandbox(kind: str) -> Sandbox:
    """That sandbox; skips the test when this machine has none, unless it must."""
    found = _tried(kind)
    if isinstance(found, str):
        if kind == "bubblewrap" and os.environ.get(REQUIRED):
            pytest.fail(f"{REQUIRED} is set, and there is no sandbox: {found}")
        pytest.skip(f"no {kind} here: {found}")
    return found
