from routes.pattern import match


class NotFound(LookupError):
    """No route fits."""


class Router:
    """Handlers by pattern; the first that fits is taken."""

    def __init__(self):
        self._routes = []

    def add(self, pattern, handler):
        """Register a handler; returns it, to be used as a decorator."""
        self._routes.append((pattern, handler))
        return handler

    def dispatch(self, path):
        """Call the handler of a path."""
        for pattern, handler in self._routes:
            values = match(pattern, path)
            if values is not None:
                return handler(**values)
        raise NotFound(path)
