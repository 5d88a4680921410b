def match(pattern, path):
    """Values of `/users/<id>` in a path, or None."""
    wanted, given = pattern.strip("/").split("/"), path.strip("/").split("/")
    if len(wanted) != len(given):
        return None
    values = {}
    for want, have in zip(wanted, given):
        if want.startswith("<") and want.endswith(">"):
            values[want[1:-1]] = have
        elif want != have:
            return None
    return values
