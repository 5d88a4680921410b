"""The process: argv in, exit code out. The one place where errors end.

Owns turning every way a command can end into an exit code and a message.
"""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import typer

from oa_compile.cli import app, output
from oa_compile.errors import ExitCode, Interrupted, OacompileError, StopRun, UsageError

_LIBRARIES = {
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",  # or it fetches its price table as it is imported
    "LITELLM_MODE": "PRODUCTION",  # or it reads a .env file of the folder it stands in
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code. A command may return one, or nothing for 0."""
    args = list(sys.argv[1:] if argv is None else argv)
    for name, value in _LIBRARIES.items():
        os.environ.setdefault(name, value)
    try:
        code = _run(args)
        if sys.stdout is not None:
            sys.stdout.flush()
    except BrokenPipeError:
        # The reader had enough. Python would complain once more when it closes stdout at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return ExitCode.OK
    return code


def _run(args: list[str]) -> int:
    try:
        root = app.group()
        with root.make_context("oacompile", args) as ctx:
            result = root.invoke(ctx)
        return int(result) if isinstance(result, int) else ExitCode.OK
    except typer.Exit as stop:
        return stop.exit_code
    except BrokenPipeError:
        raise
    except StopRun as stop:
        return _tell(stop.error, args)
    except OacompileError as error:
        return _tell(error, args)
    except typer.TyperException as error:
        return _tell(_usage(error, args), args)
    except (KeyboardInterrupt, typer.Abort):
        return _tell(Interrupted("interrupted"), args)
    except Exception as error:  # noqa: BLE001  # the boundary: nothing leaves as exit code 1, "gate missed"
        return _tell(_bug(error, args), args)


def _tell(error: OacompileError, args: list[str]) -> int:
    from oa_compile.cli import errors

    errors.render(error, output=output.errors(), json=wants_json(args))
    return int(error.exit_code)


def wants_json(args: Sequence[str]) -> bool:
    """Whether the command line asks for JSON, judged before it is parsed: its errors are JSON too."""
    asked = args[: args.index("--")] if "--" in args else args
    pairs = pairwise(asked)
    return "--json" in asked or "--output-format=json" in asked or ("--output-format", "json") in pairs


def _usage(error: typer.TyperException, args: list[str]) -> UsageError:
    """typer's complaint in our form, with an example of the command that was meant."""
    ctx: Any = getattr(error, "ctx", None)
    path = ctx.command_path if ctx is not None else "oacompile"
    message = error.format_message().strip().rstrip(".").replace("Value error, ", "")
    entry = next((app.ENTRIES[arg] for arg in args if arg in app.ENTRIES), None)
    example = f"for example `{entry.example}`; " if entry is not None else ""
    return UsageError(message[:1].lower() + message[1:], hint=f"{example}`{path} --help` says more")


def _bug(error: Exception, args: list[str]) -> OacompileError:
    where = _keep_traceback(error, args)
    return OacompileError(
        f"this is a bug of ours: {type(error).__name__}: {error}",
        hint=f"the traceback is in {where}; please report it with that file",
    )


def _keep_traceback(error: Exception, args: list[str]) -> str:
    import tempfile
    import time

    import platformdirs

    text = "".join(traceback.format_exception(error))
    name = f"crash-{time.strftime('%Y%m%dT%H%M%S')}-{os.getpid()}.txt"
    for folder in (platformdirs.user_log_path("oacompile"), Path(tempfile.gettempdir())):
        path = folder / name
        try:
            folder.mkdir(parents=True, exist_ok=True)
            path.write_text(f"oacompile {' '.join(args)}\n\n{text}", encoding="utf-8")
        except OSError:
            continue
        return str(path)
    sys.stderr.write(text)
    return "the lines above"
