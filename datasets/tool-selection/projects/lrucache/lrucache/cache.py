from collections import OrderedDict


class Cache:
    """Keeps the entries used last."""

    def __init__(self, size):
        self.size = size
        self._entries = OrderedDict()
        self.hits = 0
        self.misses = 0

    def lookup(self, key, default=None):
        """The value, which now counts as used."""
        if key not in self._entries:
            self.misses += 1
            return default
        self.hits += 1
        self._entries.move_to_end(key)
        return self._entries[key]

    def store(self, key, value):
        """Keep a value; the entry used longest ago goes."""
        self._entries[key] = value
        self._entries.move_to_end(key)
        if len(self._entries) > self.size:
            self._entries.popitem(last=False)
