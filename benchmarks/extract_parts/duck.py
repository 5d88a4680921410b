"""DuckDB's readers of JSON, selecting tool calls on one thread."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

# Both ways lead to the same; which one is faster differs from release to release.
SOURCES = {
    "read_json": "select json_extract(message, '$.content[*]') as blocks from read_json("
    "$files, format = 'newline_delimited', columns = {message: 'JSON'}, maximum_object_size = 67108864)",
    "read_json_objects": "select json_extract(json, '$.message.content[*]') as blocks from read_json_objects("
    "$files, format = 'newline_delimited', maximum_object_size = 67108864)",
}
_CALLS = """
with blocks as (select unnest(blocks) as block from ({source}))
select block->>'$.name', count(distinct block->>'$.id'), sum(length(block->'$.input'))
from blocks where block->>'$.type' = 'tool_use' group by 1
"""


def select(files: Sequence[str], *, way: str) -> Callable[[], Mapping[str, Any]]:
    """Name, id and input of every tool call; calls counted once by id."""
    import duckdb

    connection = duckdb.connect()
    connection.execute("set threads = 1")

    def work() -> Mapping[str, Any]:
        rows = connection.execute(_CALLS.format(source=SOURCES[way]), {"files": list(files)}).fetchall()
        return {"calls": {name: count for name, count, _ in rows}}

    return work
