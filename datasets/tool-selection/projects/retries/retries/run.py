from retries.backoff import delay


class GaveUp(Exception):
    """Every attempt failed."""


def retry(action, attempts, sleep, retry_on=(OSError,)):
    """Call `action` until it works; other errors pass straight through."""
    for attempt in range(1, attempts + 1):
        try:
            return action()
        except retry_on as error:
            if attempt == attempts:
                raise GaveUp(attempts) from error
            sleep(delay(attempt))
