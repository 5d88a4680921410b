class Node:
    """A file with a size, or a folder with children."""

    def __init__(self, name, size=0, children=()):
        self.name = name
        self.size = size
        self.children = list(children)

    def total(self):
        """Size of the node and everything below."""
        return self.size + sum(child.total() for child in self.children)

    def depth(self):
        """Levels below, 1 for a leaf."""
        return 1 + max((child.depth() for child in self.children), default=0)
