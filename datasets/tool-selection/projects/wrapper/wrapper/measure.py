def width(text, tab=4):
    """Columns a text takes, tabs counted as `tab`."""
    return len(text.replace("\t", " " * tab))
