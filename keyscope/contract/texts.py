"""Numbers as text that several rooms write alike."""


def shortest(number: float) -> str:
    """The shortest text that reads back as exactly this number: `0`, `0.5`, `0.1234567`."""
    short = f"{number:g}"
    return short if float(short) == number else repr(number)


def duration(seconds: float) -> str:
    """A time as people say it: `4.2 s`, `3 min 20 s`, `2 h 5 min`."""
    if seconds < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"
