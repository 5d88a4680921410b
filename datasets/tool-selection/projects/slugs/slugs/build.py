from slugs.clean import words


def slugify(title, limit=40):
    """Words joined by hyphens, cut at a word's end so that it fits the limit."""
    slug = ""
    for word in words(title):
        longer = f"{slug}-{word}" if slug else word
        if len(longer) > limit:
            break
        slug = longer
    return slug


def unique(slug, taken):
    """The slug, with -2, -3 ... when it is taken."""
    if slug not in taken:
        return slug
    number = 2
    while f"{slug}-{number}" in taken:
        number += 1
    return f"{slug}-{number}"
