from filltext.tokens import PLACE

FILTERS = {"upper": str.upper, "lower": str.lower, "title": str.title}


class MissingValue(KeyError):
    """The template names a value that was not given."""


def render(template, values):
    """The template with every place filled in."""

    def fill(match):
        name, wanted = match.group(1), match.group(2)
        if name not in values:
            raise MissingValue(name)
        text = str(values[name])
        return FILTERS[wanted](text) if wanted else text

    return PLACE.sub(fill, template)


def render_all(template, rows):
    """One text for each row."""
    return [render(template, row) for row in rows]
