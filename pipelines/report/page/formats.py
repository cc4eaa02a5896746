"""Formats of numbers in the report."""

import math

_PREFIXES = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))


def whole(number: int) -> str:
    """Return a count with thousands separators.

    >>> whole(8300000)
    '8,300,000'
    """
    return f"{number:,}"


def share(part: int, of: int) -> str:
    """Return a part as a percentage, as 0 % or 100 % only where it is exact.

    >>> share(1, 3), share(1, 100000), share(99999, 100000), share(0, 0)
    ('33.3 %', '<0.1 %', '>99.9 %', '-')
    """
    if not of:
        return "-"
    percent = 100 * part / of
    if 0 < percent < 0.1:
        return "<0.1 %"
    if 99.9 < percent < 100:
        return ">99.9 %"
    return f"{percent:.1f} %" if 0 < part < of else f"{percent:.0f} %"


def value(number: float) -> str:
    """Return a measured value in 3 digits, or as an integer from 1,000 on.

    >>> value(512), value(0.98765), value(12345.6), value(-0.0), value(True)
    ('512', '0.988', '12,346', '0', 'yes')
    """
    if isinstance(number, bool):
        return "yes" if number else "no"
    if not math.isfinite(number):
        return str(number)
    if float(number).is_integer() or abs(number) >= 1000:
        return f"{round(number):,}"  # as an integer, zero has no sign
    return f"{number:.3g}"


def short(number: float) -> str:
    """Return the label of a tick in few characters.

    >>> short(16384), short(0.25), short(134217728)
    ('16.4k', '0.25', '134M')
    """
    for size, prefix in _PREFIXES:
        if abs(number) >= size:
            return f"{number / size:.3g}{prefix}"
    return f"{number:.3g}"


def size(number: int) -> str:
    """Return a number of bytes in decimal units.

    >>> size(999), size(12345678)
    ('999 B', '12.3 MB')
    """
    return f"{short(number).rstrip('kMGT')} {short(number).lstrip('0123456789.')}B"


def duration(seconds: float) -> str:
    """Return a duration in seconds, minutes or hours.

    >>> duration(1.26), duration(61), duration(7384)
    ('1.3 s', '1 min 01 s', '2 h 03 min')
    """
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, left = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {left:02} s"
    return f"{minutes // 60:,} h {minutes % 60:02} min"
