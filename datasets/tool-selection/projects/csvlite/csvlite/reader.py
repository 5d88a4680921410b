def split_line(line, separator=","):
    """Fields of a line; a separator inside double quotes does not count."""
    fields, current, quoted = [], "", False
    for char in line:
        if char == '"':
            quoted = not quoted
        elif char == separator and not quoted:
            fields.append(current)
            current = ""
        else:
            current += char
    fields.append(current)
    return fields


def read_rows(text, separator=","):
    """Rows as dicts, named by the first line."""
    lines = [line for line in text.splitlines() if line]
    header = split_line(lines[0], separator)
    return [dict(zip(header, split_line(line, separator))) for line in lines[1:]]
