class Bus:
    """Listeners by topic."""

    def __init__(self):
        self._listeners = {}

    def subscribe(self, topic, listener):
        """Listen; returns a function that stops it."""
        self._listeners.setdefault(topic, []).append(listener)

        def stop():
            self._listeners[topic].remove(listener)

        return stop

    def publish(self, topic, payload):
        """Tell every listener; returns how many there were."""
        listeners = list(self._listeners.get(topic, ()))
        for listener in listeners:
            listener(topic, payload)
        return len(listeners)
