"""A format described in a spec, with a rule of each kind."""

from __future__ import annotations

from oa_compile.extract.readers.mapped import Mapped
from oa_compile.spec.log_format import LogFormatSpec

MAPPED = Mapped(
    LogFormatSpec.model_validate(
        {
            "session": "run.id",
            "cwd": "run.dir",
            "message": [{"when": "kind == 'say'", "role": "who", "text": "body.text"}],
            "call": [
                {"when": "tool", "id": "tool.id", "name": "tool.name", "arguments": "tool.args"},
                {"when": "tools", "each": "tools[]", "id": "id", "name": "name", "arguments": "args"},
            ],
            "result": [
                {
                    "when": "kind == 'done'",
                    "call": "of",
                    "text": "out",
                    "error": "contains(flags, 'bad')",
                    "exit_code": "to_number(code)",
                }
            ],
            "task": [{"when": "kind == 'task'", "title": "title", "description": "about", "key": "nr"}],
            "finished": [{"when": "kind == 'end'", "success": "ok"}],
            "event": [
                {
                    "when": "kind == 'event'",
                    "type": "join('.', [kind, name])",
                    "success": "ok",
                    "context": "{given: given}",
                    "output": "gave",
                }
            ],
        }
    )
)
