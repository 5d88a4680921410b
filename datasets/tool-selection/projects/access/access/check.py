from access.roles import permissions


def may(user, action, owner=None):
    """Whether a user may act; owners may always write their own."""
    if action == "write" and owner is not None and owner == user["name"]:
        return True
    return action in permissions(user["roles"])


def require(user, *actions):
    """Raises PermissionError naming what is missing."""
    missing = [action for action in actions if not may(user, action)]
    if missing:
        raise PermissionError(", ".join(missing))


def visible(user, documents):
    """Documents that are public or the user's own; all for those who may delete."""
    if may(user, "delete"):
        return list(documents)
    return [d for d in documents if d["public"] or d["owner"] == user["name"]]
