from wrapper.measure import width


def wrap(text, columns):
    """Lines no wider than `columns`; a longer word stands alone."""
    lines, current = [], ""
    for word in text.split():
        candidate = f"{current} {word}".strip()
        if width(candidate) <= columns or not current:
            current = candidate
        else:
            lines.append(current)
            current = word
    if current:
        lines.append(current)
    return lines


def center(text, columns, fill=" "):
    """Text in the middle, extra fill on the right."""
    left = (columns - width(text)) // 2
    right = columns - width(text) - left
    return fill * left + text + fill * right


def indent(text, prefix):
    """Every line that is not empty gets the prefix."""
    return "\n".join(prefix + line if line else line for line in text.split("\n"))
