"""DuckDB's readers of JSON, selecting tool calls on one thread."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

_OBJECTS = "read_json_objects($files, format = 'newline_delimited', maximum_object_size = 67108864)"
# What read_json is fastest with: the columns are typed, and lines that are of other types are let go.
_TYPED = """read_json($files, maximum_object_size = 67108864, ignore_errors = true,
  format = 'newline_delimited',
  columns = {
    message: 'STRUCT(content STRUCT(type VARCHAR, id VARCHAR, name VARCHAR, input JSON)[])'})"""
QUERIES = {
    "read_json": f"""
with blocks as (select unnest(message.content) as block from {_TYPED})
select block.name, count(distinct block.id), sum(length(block.input))
from blocks where block.type = 'tool_use' group by 1
""",
    "read_json_objects": f"""
with blocks as (select unnest(json_extract(json, '$.message.content[*]')) as block from {_OBJECTS})
select block->>'$.name', count(distinct block->>'$.id'), sum(length(block->'$.input'))
from blocks where block->>'$.type' = 'tool_use' group by 1
""",
    "with results": f"""
with blocks as (select unnest(json_extract(json, '$.message.content[*]')) as block from {_OBJECTS}),
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
""",
}


def select(files: Sequence[str], *, query: str) -> Callable[[], Mapping[str, Any]]:
    """Name, id and input of every tool call, each once by id; `query` is one of `QUERIES`."""
    import duckdb

    connection = duckdb.connect()
    connection.execute("set threads = 1")

    def work() -> Mapping[str, Any]:
        rows = connection.execute(QUERIES[query], {"files": list(files)}).fetchall()
        return {"calls": {row[0]: row[1] for row in rows}}

    return work
