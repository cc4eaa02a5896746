"""Errors for the user."""


class UserError(Exception):
    """An error that the user can fix; a command prints it as one line and exits with 1.

    The message has the file or setting, what is wrong, and what to do.
    """


class CorpusError(UserError):
    """A corpus, a source or a folder that cannot be used."""


class StoreError(CorpusError):
    """A store that cannot be used: no access, no credentials, no bucket, or no answer."""


class NotLookedError(CorpusError):
    """A place without anything to verify."""


class SettingsError(UserError, ValueError):
    """Settings that are out of range, or do not fit each other or the model."""
