"""JMESPath in a spec: an expression that is known to be one when the file is read, not when it is used.

Owns what is wrong with one, in words. https://jmespath.org
"""

from __future__ import annotations

from typing import Annotated, Any

import jmespath
from jmespath.exceptions import JMESPathError, LexerError, ParseError
from jmespath.functions import Functions
from pydantic import AfterValidator, Field


def _compiles(expression: str) -> str:
    """The expression itself. Raises ValueError when it is none, or asks for a function there is not."""
    try:
        _check_functions(jmespath.compile(expression).parsed)
    except RecursionError:
        problem = "it is nested too deeply"
    except LexerError as error:
        problem = f"{error.message} at column {error.lexer_position + 1}"
    except ParseError as error:
        at = error.lex_position
        problem = f"it breaks at column {at + 1}" if at < len(expression) else "it ends too early"
    except JMESPathError as error:
        problem = str(error)
    else:
        return expression
    raise ValueError(f"no JMESPath expression: {problem}")


def _check_functions(syntax: Any) -> None:
    """The library looks a function up only when it is called."""
    for part in syntax["children"]:
        if isinstance(part, dict):
            _check_functions(part)
    if syntax["type"] != "function_expression":
        return
    name, given = syntax["value"], len(syntax["children"])
    known = Functions.FUNCTION_TABLE.get(name)
    if known is None:
        raise JMESPathError(f"there is no function `{name}`")
    wanted = known["signature"]
    if given < len(wanted) or (given > len(wanted) and not wanted[-1].get("variadic", False)):
        raise JMESPathError(f"`{name}` takes {len(wanted)} values, not {given}")


JmesPath = Annotated[str, Field(min_length=1), AfterValidator(_compiles)]
"""A JMESPath expression; a fixed word in it is written ``'word'``, in quotes of its own."""
