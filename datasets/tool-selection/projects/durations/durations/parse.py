import re

from durations.units import SECONDS

PART = re.compile(r"(\d+)([smhd])")


def parse_duration(text):
    """Seconds of `1h30m`. Raises ValueError for anything else."""
    parts = PART.findall(text)
    if not parts or "".join(n + u for n, u in parts) != text:
        raise ValueError(f"not a duration: {text!r}")
    return sum(int(number) * SECONDS[unit] for number, unit in parts)
