"""The one error a user sees: a line that says what is wrong, where, and how to mend it."""


class UserError(Exception):
    """A mistake of the user's. The command line prints its one line and exits with code 2."""
