from jobqueue.queue import Empty


def drain(queue, handle):
    """Handle every job; returns the results in order."""
    results = []
    while True:
        try:
            results.append(handle(queue.pop()))
        except Empty:
            return results


def drain_some(queue, handle, limit):
    """Like drain, for at most `limit` jobs."""
    return [handle(queue.pop()) for _ in range(min(limit, len(queue)))]
