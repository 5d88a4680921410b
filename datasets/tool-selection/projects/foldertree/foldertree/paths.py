from foldertree.node import Node


def paths(node, prefix=""):
    """All paths, folders before their children."""
    path = f"{prefix}/{node.name}"
    found = [path]
    for child in sorted(node.children, key=lambda c: c.name):
        found += paths(child, path)
    return found


def find(node, path):
    """The node at a path such as `a/b`, or None."""
    head, _, rest = path.partition("/")
    if node.name != head:
        return None
    if not rest:
        return node
    hits = (find(child, rest) for child in node.children)
    return next((hit for hit in hits if hit), None)


def from_paths(root, sizes):
    """A tree of `{"a/b": size}`."""
    top = Node(root)
    for path, size in sizes.items():
        node = top
        for part in path.split("/"):
            match = [c for c in node.children if c.name == part]
            if not match:
                match = [Node(part)]
                node.children += match
            node = match[0]
        node.size = size
    return top
