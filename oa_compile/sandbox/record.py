"""A job and what became of it in the shape of OpenAgents' ``oa.sandbox_run.v1`` (request and response).

Source: OpenAgents' compute jobs. Outputs are there by digest, with a preview.
"""

from __future__ import annotations

from typing import Any

from oa_compile.digest import digest_bytes, digest_json
from oa_compile.sandbox.sandbox import Job, SandboxRun

JOB_TYPE = "oa.sandbox_run.v1"

PREVIEW = 1_000
"""Characters of an output that a record shows."""


def sandbox_record(job: Job, run: SandboxRun, *, provider: str, image: str = "") -> dict[str, Any]:
    """``{job_type, job_hash, payload, response}``; job_hash is the digest of the payload."""
    limits = job.limits
    payload = {
        "sandbox": {
            "provider": provider,
            "image_digest": image,
            "network_policy": "none",
            "resources": {
                "memory_mb": limits.memory >> 20,
                "cpus": 1,
                "timeout_secs": round(limits.seconds),
                "disk_mb": limits.disk >> 20,
            },
        },
        "files": {name: digest_bytes(data) for name, data in sorted(job.files.items())},
        "commands": [{"cmd": list(job.argv), "continue_on_fail": False}],
    }
    failed = {"error": f"ended at its limit of {run.exceeded}"} if run.exceeded else {}
    return {
        "job_type": JOB_TYPE,
        "schema_version": 1,
        "job_hash": digest_json(payload),
        "payload": payload,
        "response": {
            "runs": [
                {
                    "cmd": list(run.argv),
                    "exit_code": run.exit_code,
                    "duration_ms": round(1000 * run.seconds),
                    "stdout_sha256": digest_bytes(run.stdout),
                    "stderr_sha256": digest_bytes(run.stderr),
                    "stdout_preview": _preview(run.stdout),
                    "stderr_preview": _preview(run.stderr),
                    "truncated": run.cut,
                }
            ],
            "artifacts": [],
            "status": run.status,
            **failed,
        },
    }


def _preview(output: bytes) -> str:
    return output[: 4 * PREVIEW].decode(errors="replace")[:PREVIEW]
