import re


def strip_accents(text):
    """Replace the accented letters we know."""
    table = str.maketrans("äöüéèàç", "aoueeac")
    return text.translate(table)


def words(text):
    """Lower-case words of letters and digits."""
    return re.findall(r"[a-z0-9]+", strip_accents(text.lower()))
