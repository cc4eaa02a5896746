"""Numbers of things in messages."""


def counted(number: int, noun: str) -> str:
    """Say how many there are.

    >>> counted(1, "row"), counted(1200, "row")
    ('1 row', '1,200 rows')
    """
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
