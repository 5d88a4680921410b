"""The ``[sandbox]`` of a config: where model-written code runs, and what it may take."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from oa_compile.spec.base import MisfitError, SpecModel


class SandboxSpec(SpecModel):
    """One sandbox a run of code; nothing in it outlives that run."""

    kind: Literal["bubblewrap", "docker", "podman"] = "bubblewrap"
    image: str = ""
    """The container engine's image, with its digest where runs must be the same (``name@sha256:…``)."""
    seconds: float = Field(default=30.0, gt=0, le=3600)
    """Wall time."""
    cpu_seconds: int = Field(default=30, ge=1, le=3600)
    """CPU time of one process."""
    memory_mb: int = Field(default=1024, ge=16)
    """Memory of all its processes together, MiB."""
    processes: int = Field(default=64, ge=4, le=4096)
    """Processes and threads at one time."""
    file_mb: int = Field(default=32, ge=1)
    """Size of one file, MiB."""
    disk_mb: int = Field(default=128, ge=1)
    """Size of its working folder, and of its /tmp, MiB each. They lie in memory."""
    output_kb: int = Field(default=256, ge=1)
    """What is kept of stdout, and of stderr, KiB each; a program that writes four times as much is ended."""

    @model_validator(mode="after")
    def _container_has_an_image(self) -> Self:
        if self.kind != "bubblewrap" and not self.image:
            raise MisfitError(f"a sandbox of kind `{self.kind}` needs `image`", at=("image",))
        return self
