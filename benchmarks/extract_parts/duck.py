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
_CALLS_WITH_RESULTS = """
with blocks as (select unnest(blocks) as block from ({source})),
kinds as (select block->>'$.type' as kind, block from blocks),
calls as (
  select block->>'$.id' as id, any_value(block->>'$.name') as name, any_value(block->'$.input') as input
  from kinds where kind = 'tool_use' group by 1
),
results as (
  select block->>'$.tool_use_id' as id, any_value(block->'$.content') as body,
    any_value(block->'$.is_error') as bad
  from kinds where kind = 'tool_result' group by 1
)
select name, count(*), sum(length(input)), sum(length(body)), count(bad)
from calls left join results using (id) group by 1
"""


def select(files: Sequence[str], *, way: str, results: bool) -> Callable[[], Mapping[str, Any]]:
    """Name, id and input of every tool call, each once by id; with its result where `results` are wanted."""
    import duckdb

    query = _CALLS_WITH_RESULTS if results else _CALLS

    connection = duckdb.connect()
    connection.execute("set threads = 1")

    def work() -> Mapping[str, Any]:
        rows = connection.execute(query.format(source=SOURCES[way]), {"files": list(files)}).fetchall()
        return {"calls": {row[0]: row[1] for row in rows}}

    return work
