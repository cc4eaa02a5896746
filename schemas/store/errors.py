"""The errors that a user is meant to read."""


class UserError(Exception):
    """What the user can mend; a command prints it as one line and exits with 1.

    The message says which file or setting, what is wrong, and what to do.
    """


class CorpusError(UserError):
    """A corpus, a source or a folder that cannot be used."""


class StoreError(CorpusError):
    """A store that cannot be asked: no access, no credentials, no bucket, or no answer."""


class NotLookedError(CorpusError):
    """There is nothing here that could be verified."""


class SettingsError(UserError, ValueError):
    """Settings out of their range, or that do not fit each other or the model."""
