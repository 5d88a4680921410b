from durations.units import SECONDS


def format_duration(seconds):
    """`1h30m` of seconds; `0s` for nothing."""
    text = ""
    for unit in ("d", "h", "m", "s"):
        count, seconds = divmod(seconds, SECONDS[unit])
        if count:
            text += f"{count}{unit}"
    return text or "0s"


def clock(seconds):
    """`HH:MM:SS`."""
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02}:{minutes:02}:{seconds:02}"
