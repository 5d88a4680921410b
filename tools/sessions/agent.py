"""The scripted agent: looks around, finds a failing test, reads, searches, edits, and checks.

Owns the order of its steps, drawn from a seed. Every step is carried out in the workshop and recorded
with what really came back; the only thing it knows beforehand is the change that mends the bug.
"""

from __future__ import annotations

import itertools
import random
import re
from collections.abc import Callable
from pathlib import PurePosixPath

from tools.sessions.project import Bug, Project
from tools.sessions.recorder import Recorder
from tools.sessions.voice import thought
from tools.sessions.workshop import Output, Workshop

_FAILED = re.compile(r"^(?:FAILED|ERROR) (\S+?)(?:::(\w+))?(?: - (.*))?$", re.M)
_SILENT = 0.1
"""Share of steps the agent takes without a word, as real ones do."""


class Agent:
    """One session of work on one broken project."""

    def __init__(
        self, project: Project, bug: Bug, *, workshop: Workshop, recorder: Recorder, rng: random.Random
    ) -> None:
        self._project, self._bug = project, bug
        self._workshop, self._recorder, self._rng = workshop, recorder, rng
        self._situation = "start"
        self._package = PurePosixPath(bug.path).parts[0]
        self._home = project.home_of(bug.function)
        callers = project.callers_of(bug.function)
        self._caller = callers[0] if callers else ""
        self._node = self._tfile = project.test_file_of(bug.function)
        self._test = ""
        self._word = bug.function
        self._facts = {
            "name": project.name,
            "subject": project.subject,
            "fn": bug.function,
            "path": bug.path,
            "file": PurePosixPath(bug.path).name,
            "caller": PurePosixPath(self._caller).name,
            "cause": bug.cause,
            "tfile": PurePosixPath(self._tfile).name,
        }

    def work(self) -> None:
        """From the first look to the last green run. Raises RuntimeError when the tests do not pass then."""
        for action in self._rng.sample([self._list, self._files, self._readme, self._read_test], k=2)[
            : self._rng.choice((0, 1, 1, 2))
        ]:
            action()
        self._first_run()
        self._situation = "failing"
        for action in self._investigation():
            action()
        self._fix()
        self._situation = "edited"
        self._check(f"python -m pytest {self._node} 2>&1 | tail -15", "run_check")
        self._situation = "green"
        for action in self._aftercare():
            action()
        final = self._check("python -m pytest 2>&1 | tail -6", "run_final")
        if "failed" in final.text or "error" in final.text or " passed" not in final.text:
            raise RuntimeError(f"{self._project.name}: still broken after the fix: {final.text}")
        self._recorder.finish(f"`{self._bug.function}` {self._bug.cause}; that is fixed and all tests pass.")

    def _investigation(self) -> list[Callable[[], None]]:
        looks = [self._definition, self._usages, self._find_tests, self._error_word]
        pool = [self._run_one, self._read_test, *looks]
        if self._caller:
            pool.append(self._read_caller)
        chosen = self._rng.sample(pool, k=self._rng.choice((1, 2, 2, 3)))
        chosen.insert(self._rng.randrange(len(chosen) + 1), self._read_source)
        return chosen

    def _aftercare(self) -> list[Callable[[], None]]:
        pool = [self._similar, self._usages, self._reread, self._snippet, self._compile]
        notes = [self._docstring, self._comment, self._changes, self._test_note]
        chosen = self._rng.sample(pool, k=self._rng.choice((1, 1, 2)))
        chosen += self._rng.sample(notes, k=self._rng.choice((1, 1, 2)))
        self._rng.shuffle(chosen)
        return chosen

    # what it does, one method a step ------------------------------------------------------------------

    def _do(self, intent: str, tool: str, arguments: dict[str, str], output: Output) -> Output:
        silent = self._rng.random() < _SILENT
        words = "" if silent else thought(intent, self._situation, facts=self._facts, rng=self._rng)
        self._recorder.step(words, tool=tool, arguments=arguments, output=output)
        return output

    def _read(self, path: str, intent: str) -> None:
        self._do(intent, "Read", {"file_path": f"{self._workshop.home}/{path}"}, self._workshop.read(path))

    def _edit(self, path: str, old: str, new: str, intent: str) -> None:
        arguments = {"file_path": f"{self._workshop.home}/{path}", "old_string": old, "new_string": new}
        if self._do(intent, "Edit", arguments, self._workshop.edit(path, old, new)).is_error:
            raise RuntimeError(f"{self._project.name}: the edit of {path} does not fit")

    def _check(self, command: str, intent: str) -> Output:
        return self._do(intent, "Bash", {"command": command}, self._workshop.bash(command))

    def _grep(self, pattern: str, folder: str, intent: str) -> None:
        arguments = {"pattern": pattern, "path": folder, "output_mode": "content"}
        self._do(intent, "Grep", arguments, self._workshop.grep(pattern, folder))

    def _first_run(self) -> None:
        output = self._check("python -m pytest 2>&1 | tail -30", "run_suite")
        failures = _FAILED.findall(output.text)
        if not failures:
            raise RuntimeError(f"{self._project.name}: {self._bug.function} is not broken: {output.text}")
        self._tfile, self._test, error = failures[0]
        self._node = f"{self._tfile}::{self._test}" if self._test else self._tfile
        name = PurePosixPath(self._tfile).name
        words = re.findall(r"[A-Z]\w+(?:Error|Exception)|[A-Z]\w{3,}", error)
        self._word = words[0] if words else self._bug.function
        self._facts |= {
            "tfile": name,
            "test": self._test or name,
            "err": error[:60].strip() or "a failed assertion",
            "n": f"{len(failures)} {'test' if len(failures) == 1 else 'tests'}",
            "word": self._word,
        }

    def _list(self) -> None:
        self._check("ls -R . && wc -l */*.py", "run_list")

    def _files(self) -> None:
        pattern = "**/*.py"
        self._do("search_files", "Glob", {"pattern": pattern}, self._workshop.glob(pattern))

    def _readme(self) -> None:
        self._read("README.md", "read_readme")

    def _read_test(self) -> None:
        self._facts.setdefault("test", self._facts["tfile"])
        self._read(self._tfile, "read_test")

    def _read_source(self) -> None:
        self._read(self._bug.path, "read_source")
        self._situation = "read"

    def _read_caller(self) -> None:
        self._read(self._caller, "read_caller")

    def _reread(self) -> None:
        self._read(self._bug.path, "read_again")

    def _run_one(self) -> None:
        self._check(f"python -m pytest {self._node} -vv --tb=long 2>&1 | tail -40", "run_one")

    def _definition(self) -> None:
        self._grep(f"def {self._bug.function}\\b", ".", "search_definition")

    def _usages(self) -> None:
        self._grep(f"\\b{self._bug.function}\\b", ".", "search_callers")

    def _find_tests(self) -> None:
        self._grep(f"\\b{self._bug.function}\\b", "tests", "search_tests")

    def _error_word(self) -> None:
        self._grep(self._word, ".", "search_error")

    def _similar(self) -> None:
        token = max(re.findall(r"\w+", self._bug.right), key=len)
        self._grep(f"\\b{token}\\b", self._package, "search_similar")

    def _snippet(self) -> None:
        module = self._bug.path.removesuffix(".py").replace("/", ".")
        code = f"import {module} as m; print(m.__name__, [n for n in dir(m) if n[0] != '_'])"
        self._check(f'python -c "{code}"', "run_snippet")

    def _compile(self) -> None:
        check = "python -c \"import ast, sys; ast.parse(sys.stdin.read()); print('ok')\""
        self._check(f'for f in {self._package}/*.py; do echo "$f"; {check} < "$f"; done', "run_compile")

    def _fix(self) -> None:
        path = self._bug.path
        old, new = _hunk(self._workshop.text(path), self._project.files[path])
        self._edit(path, old, new, "edit_fix")

    def _docstring(self) -> None:
        source = self._workshop.text(self._home)
        match = re.search(rf'def {self._bug.function}\(.*?\).*?:\n\s+"""[^"]*', source)
        if match is None:
            self._comment()
            return
        note = f"{match[0].rstrip()} It once did this: {self._bug.cause}."
        self._edit(self._home, match[0], note, "edit_docstring")

    def _comment(self) -> None:
        line = f"def {self._bug.function}("
        source = self._workshop.text(self._home)
        start = source.index(line)
        indent = source[source.rfind("\n", 0, start) + 1 : start]
        remark = f"{indent}# Regression: {self._bug.cause}."
        self._edit(self._home, f"{indent}{line}", f"{remark}\n{indent}{line}", "edit_comment")

    def _changes(self) -> None:
        text = f"# Changes\n\n- `{self._bug.function}` no longer fails: it {self._bug.cause}.\n"
        arguments = {"file_path": f"{self._workshop.home}/CHANGES.md", "content": text}
        self._do("edit_changes", "Write", arguments, self._workshop.write("CHANGES.md", text))

    def _test_note(self) -> None:
        if not self._test:
            self._changes()
            return
        line = f"def {self._test}():\n"
        note = f'    """Guards against: `{self._bug.function}` {self._bug.cause}."""\n'
        self._edit(self._tfile, line, line + note, "edit_test")


def _hunk(broken: str, mended: str) -> tuple[str, str]:
    """The lines that differ, with as many lines around them as make the broken ones unique."""
    old, new = broken.splitlines(keepends=True), mended.splitlines(keepends=True)
    start = _common(old, new)
    end = _common(old[start:][::-1], new[start:][::-1])
    while True:
        before, after = "".join(old[start : len(old) - end]), "".join(new[start : len(new) - end])
        if before and broken.count(before) == 1:
            return before, after
        start, end = max(0, start - 1), max(0, end - 1)


def _common(first: list[str], second: list[str]) -> int:
    """Length of the common beginning."""
    pairs = zip(first, second, strict=False)
    return len(list(itertools.takewhile(lambda pair: pair[0] == pair[1], pairs)))
