"""The sandbox that a config names, or a refusal that says what to do: never the bare machine."""

from __future__ import annotations

from oa_compile.sandbox.bubblewrap import Bubblewrap
from oa_compile.sandbox.container import Container
from oa_compile.sandbox.sandbox import Limits, Sandbox
from oa_compile.spec.sandbox import SandboxSpec


def sandbox_from(spec: SandboxSpec) -> Sandbox:
    """The sandbox of a config, tried once. Raises UsageError when this machine cannot have it."""
    if spec.kind == "bubblewrap":
        return Bubblewrap()
    return Container(spec.kind, spec.image)


def limits_from(spec: SandboxSpec) -> Limits:
    """A config's limits, in bytes and seconds."""
    return Limits(
        seconds=spec.seconds,
        cpu_seconds=spec.cpu_seconds,
        memory=spec.memory_mb << 20,
        processes=spec.processes,
        file=spec.file_mb << 20,
        disk=spec.disk_mb << 20,
        output=spec.output_kb << 10,
    )
