import heapq


class Empty(Exception):
    """There is no job."""


class JobQueue:
    """Jobs by priority (small first), then in order of arrival."""

    def __init__(self):
        self._heap = []
        self._arrivals = 0

    def push(self, job, priority=10):
        """Add a job."""
        heapq.heappush(self._heap, (priority, self._arrivals, job))
        self._arrivals += 1

    def pop(self):
        """The next job. Raises Empty."""
        if not self._heap:
            raise Empty
        return heapq.heappop(self._heap)[2]

    def __len__(self):
        return len(self._heap)
