"""Reader of rlog/1: a YAML header between ``---``, then lines by prefix (``u:`` ``a:`` ``t!:`` ``o:`` …).

The format is a summary for people: a text is its first line, cut after some hundred characters, and a call's
id is a piece of the real one, so that several calls may share it. What is cut is marked so; a result that
could be of several calls is left out. A message's tokens stand on each of its lines with no id, so usage is
what the header and the end say of the whole.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Literal

import yaml

from oa_compile.extract.fields import kept, result, text
from oa_compile.extract.lines import Line
from oa_compile.extract.pairing import Pairing
from oa_compile.extract.records import Compacted, Opened, Record, Returned, Used
from oa_compile.extract.session import Message, Outcome, ToolCall, Usage
from oa_compile.extract.tally import Tally

FORMAT = "rlog"
MAX_HEADER_LINES = 100
MAX_HEADER_BYTES = 16 * 1024

_SNIFFED = re.compile(rb"format:\s*[\"']?rlog/")
_LINE = re.compile(r"([a-z]{1,2}[!~]?):\s?(.*)", re.S)
_CALL = re.compile(r"(\S+)\s*(?:id=(\S+)\s*)?(.*)", re.S)
_OBSERVED = re.compile(r"(?:id=(\S+)\s*)?→\s?(.*)", re.S)
_STATUS = re.compile(r"\[(ok|done|error|failed|interrupted|timeout|denied)\]\s?", re.I)
_FINE = frozenset({"ok", "done"})
_EXIT = re.compile(r"Exit code (\d{1,9})\b")
_ARGUMENT = re.compile(r'(\w+)=("[^"]*"|[^"\s]\S*)(?:\s+|$)')
_FIRST_ARGUMENT = re.compile(r"(\w+)=(.*)", re.S)
_FIELD = re.compile(r"(\w+)=(\S+)")
_META = re.compile(
    r"(?:attempt|id|latency_ms|level|model|parent|sig|span|step|tid|tokens_cached|tokens_in|tokens_out|ts)=."
)
_META_WORDS = 16
_HOUSEKEEPING = frozenset({"s", "p", "m", "r", "x", "q", "td", "t~"})
_ABOUT = "a summary: its texts are cut short"


def sniff(_body: Mapping[str, Any], raw: bytes) -> bool:
    """The header's line that names the format."""
    return _SNIFFED.match(raw) is not None


def read(lines: Iterable[Line], *, tally: Tally) -> Iterator[Record]:
    """What each line says. A message waits for the next line, which may go on with it."""
    log = _Log(tally)
    for number, raw in lines:
        try:
            line = raw.decode().rstrip("\r\n")
        except UnicodeDecodeError:
            tally.refuse("invalid UTF-8", number)
            continue
        yield from log.take(number, line)
    yield from log.end()


class _Log:
    """One log while it is read: the header's lines, the message that may go on, the calls that wait."""

    def __init__(self, tally: Tally) -> None:
        self._tally = tally
        self._header: list[tuple[int, str]] | None = None
        self._header_line = 0
        self._header_bytes = 0
        self._session = ""
        self._totals = Usage()
        self._message: Message | None = None
        self._pairing = Pairing()

    def take(self, number: int, line: str) -> Iterator[Record]:
        """What one line adds."""
        if self._header is not None:
            yield from self._take_header(number, line)
            return
        if line.startswith(("  ", "\t")) and line.strip():
            if self._message is not None:
                self._message.text = kept(f"{self._message.text}\n{line.strip()}", tally=self._tally)
            else:
                self._tally.count("continuation_lines_passed_over")
            return
        yield from self._said()
        if line.rstrip() == "---":
            self._header, self._header_line, self._header_bytes = [], number, 0
        elif not line.strip():
            self._tally.count("blank_lines")
        elif line.startswith("@"):
            yield from self._lifecycle(number, line)
        elif line.startswith("#"):
            if line.startswith("# status: Compacting"):
                yield Compacted(number)
        elif match := _LINE.match(line):
            yield from self._event(number, match[1], match[2])
        else:
            self._tally.refuse("not an rlog line", number)

    def end(self) -> Iterator[Record]:
        """The log is over."""
        if self._header is not None:
            yield from self._no_header()
        yield from self._said()

    def _said(self) -> Iterator[Record]:
        if self._message is not None:
            yield self._message
            self._message = None

    def _take_header(self, number: int, line: str) -> Iterator[Record]:
        header = self._header or []
        if line.rstrip() == "---":
            self._header = None
            yield from self._opened(_fields("\n".join(words for _, words in header)))
            return
        header.append((number, line))
        self._header = header
        self._header_bytes += len(line)
        if len(header) > MAX_HEADER_LINES or self._header_bytes > MAX_HEADER_BYTES:
            yield from self._no_header()

    def _no_header(self) -> Iterator[Record]:
        """No header goes on for so long: its end is missing, and these are the log's lines."""
        lines, self._header = self._header or [], None
        self._tally.refuse("header without an end", self._header_line)
        yield from self._opened({})
        for number, line in lines:
            if not _SNIFFED.match(line.encode()):
                yield from self.take(number, line)

    def _opened(self, fields: Mapping[str, Any] | None) -> Iterator[Record]:
        if fields is None:
            self._tally.refuse("header that is no YAML", self._header_line)
            fields = {}
        self._session, self._pairing = text(fields.get("id")), Pairing()
        agent = " ".join(filter(None, (text(fields.get("agent")), text(fields.get("version")))))
        yield Opened(
            self._header_line,
            id=self._session,
            cwd=text(fields.get("cwd")),
            agent=text(fields.get("model")),
            about=f"{_ABOUT} ({agent})" if agent else _ABOUT,
            repository=text(fields.get("repo")).rstrip("/").rsplit("/", 1)[-1],
            branch=text(fields.get("branch")),
        )
        self._totals = Usage(
            _number(fields.get("tokens_total_in")),
            _number(fields.get("tokens_total_out")),
            _number(fields.get("tokens_cached")),
            _number(fields.get("tokens_cache_create")),
        )
        if self._totals != Usage():
            yield self._used()

    def _lifecycle(self, number: int, line: str) -> Iterator[Record]:
        fields = dict(_FIELD.findall(line[:MAX_HEADER_BYTES]))
        if line.startswith("@init"):
            yield Opened(number, id=self._session, agent=fields.get("model", ""))
        elif line.startswith("@end"):
            if "tokens_in" in fields or "tokens_out" in fields:
                told = self._totals
                self._totals = Usage(
                    _number(fields.get("tokens_in")) or told.input_tokens,
                    _number(fields.get("tokens_out")) or told.output_tokens,
                    told.cache_read_tokens,
                    told.cache_write_tokens,
                )
                yield self._used()
            yield Outcome("ended", is_error=False, line=number, cost_usd=_price(fields.get("cost_usd")))

    def _event(self, number: int, prefix: str, rest: str) -> Iterator[Record]:
        if prefix in {"u", "a"}:
            words = kept(_without_meta(rest), tally=self._tally)
            who: Literal["user", "assistant"] = "user" if prefix == "u" else "assistant"
            self._message = Message(who, words, self._own(number), number)
        elif prefix in {"t", "t!", "c"}:
            yield from self._call(number, prefix, rest)
        elif prefix == "o":
            yield from self._observation(number, rest)
        elif prefix == "th":
            self._tally.count("thinking_blocks_passed_over")
        elif prefix in _HOUSEKEEPING:
            self._tally.count("housekeeping_lines_passed_over")
        else:
            self._tally.leave_out("unknown line type", number)

    def _call(self, number: int, prefix: str, rest: str) -> Iterator[Record]:
        # A call's command may hold an arrow of its own, and a finished call's result may.
        asked, arrow, answer = rest.rpartition(" → ") if prefix == "t!" else rest.partition(" → ")
        match = _CALL.match(asked if arrow else _without_meta(rest))
        if match is None:
            self._tally.leave_out("tool call without id, name or input", number)
            return
        call_id = self._own(number)
        yield ToolCall(call_id, match[1], _arguments(match[3].strip()), call_id, number)
        if match[2]:
            self._pairing.called(match[2], call_id)
        elif arrow and prefix != "t!":
            yield self._returned(call_id, answer, number)

    def _observation(self, number: int, rest: str) -> Iterator[Record]:
        match = _OBSERVED.match(rest)
        call_id = self._pairing.returned(match[1]) if match is not None and match[1] else None
        if match is None or call_id is None:
            self._tally.leave_out("tool result whose call cannot be told", number)
        else:
            yield self._returned(call_id, match[2], number)

    def _returned(self, call_id: str, answer: str, number: int) -> Returned:
        status = _STATUS.match(answer)
        words = _without_meta(answer[status.end() :] if status else answer)
        exit_code = _EXIT.match(words)
        return Returned(
            call_id,
            result(
                words,
                number,
                is_error=status is not None and status[1].lower() not in _FINE,
                tally=self._tally,
                exit_code=int(exit_code[1]) if exit_code else None,
                passed_over=True,
            ),
        )

    def _own(self, number: int) -> str:
        """A name that no other line has, in this log or another: ids are cut, and so may repeat."""
        return f"{self._session}:{number}"

    def _used(self) -> Used:
        return Used(f"{self._session}:totals", self._totals)


def _fields(header: str) -> dict[str, Any] | None:
    """The header's fields as texts; None when it is no YAML mapping. The base loader makes texts, lists and
    mappings only, so nothing is run, and a commit of digits stays what it is.
    """
    try:
        fields = yaml.load(header, Loader=yaml.BaseLoader)
    except (yaml.YAMLError, RecursionError):
        return None
    return fields if isinstance(fields, dict) else None


def _without_meta(words: str) -> str:
    """A text without the fields at its end."""
    pieces = words.split(" ") if len(words) < 4096 else words.rsplit(" ", _META_WORDS)
    fields = 0
    for piece in reversed(pieces):
        if not _META.match(piece):
            break
        fields += 1
    if all(piece.startswith("id=") for piece in pieces[len(pieces) - fields :]):
        return words.rstrip()  # nothing but an id: the text may well be of one
    return " ".join(pieces[: len(pieces) - fields]).rstrip()


def _arguments(words: str) -> dict[str, Any]:
    """A call's arguments as far as they are written: quotes within quotes are not marked, so what is not
    plainly a row of ``key=value`` is one argument up to the end.
    """
    if not words or len(words) > MAX_HEADER_BYTES:
        return {}
    found, at = {}, 0
    while match := _ARGUMENT.match(words, at):
        found[match[1]], at = match[2].strip('"'), match.end()
    if at == len(words):
        return found
    if first := _FIRST_ARGUMENT.match(words):
        value = first[2]
        quoted = len(value) > 1 and value[0] == value[-1] == '"'
        return {first[1]: value[1:-1] if quoted else value}
    return {"input": words}


def _number(value: object) -> int:
    words = text(value)
    return int(words) if words.isascii() and words.isdigit() and len(words) < 19 else 0


def _price(value: object) -> float:
    words = text(value)
    return float(words) if re.fullmatch(r"\d{1,12}(?:\.\d{1,12})?", words) else 0.0
