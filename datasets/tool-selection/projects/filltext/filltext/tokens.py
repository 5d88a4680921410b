import re

PLACE = re.compile(r"\{\{\s*(\w+)(?:\|(\w+))?\s*\}\}")


def places(template):
    """Names and filters of all places, in order."""
    return [(m.group(1), m.group(2)) for m in PLACE.finditer(template)]
