class ParseError(ValueError):
    """A line is neither a section, a setting nor a comment."""


def parse(text):
    """Settings by section; settings before any section are under ""."""
    result, section = {"": {}}, ""
    for number, line in enumerate(text.splitlines(), start=1):
        line = line.strip()
        if not line or line.startswith("#"):
            continue
        if line.startswith("[") and line.endswith("]"):
            section = line[1:-1]
            result.setdefault(section, {})
        elif "=" in line:
            key, value = line.split("=", 1)
            result[section][key.strip()] = value.strip()
        else:
            raise ParseError(f"line {number}: {line}")
    return result
