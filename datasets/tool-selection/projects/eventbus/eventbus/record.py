class Recorder:
    """Keeps the last events it heard."""

    def __init__(self, limit=100):
        self.limit = limit
        self.events = []

    def __call__(self, topic, payload):
        self.events.append((topic, payload))
        self.events = self.events[-self.limit :]

    def topics(self):
        """How often each topic was heard."""
        counts = {}
        for topic, _ in self.events:
            counts[topic] = counts.get(topic, 0) + 1
        return counts


def record(bus, topics, limit=100):
    """A recorder that listens to several topics."""
    recorder = Recorder(limit)
    for topic in topics:
        bus.subscribe(topic, recorder)
    return recorder
