"""The errors that a user is meant to read."""


class CorpusError(Exception):
    """What a user can mend: the message says which file, what is wrong, and what to do."""


class StoreError(CorpusError):
    """A store that cannot be asked: no access, no credentials, no bucket, or no answer."""


class NotLookedError(CorpusError):
    """There is nothing here that could be verified."""
