from csvlite.reader import read_rows


def column(text, name):
    """All values of one column."""
    return [row[name] for row in read_rows(text)]


def numbers(text, name):
    """A column as floats; empty cells are None."""
    return [float(value) if value else None for value in column(text, name)]
