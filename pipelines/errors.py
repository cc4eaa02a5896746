"""The one error that a user is meant to read."""


class CorpusError(Exception):
    """What a user can mend: the message says which file, what is wrong, and what to do."""
