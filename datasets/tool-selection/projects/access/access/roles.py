ROLES = {
    "guest": {"read"},
    "author": {"read", "write"},
    "admin": {"read", "write", "delete"},
}


def permissions(names):
    """Everything that a user with these roles may do."""
    allowed = set()
    for name in names:
        allowed |= ROLES.get(name, set())
    return allowed
