"""Errors that a user can cause and mend; the command line prints them without a traceback."""

FULL_DISK = 74  # exit status, as sysexits.h has it


class UserError(Exception):
    """Base class: the message names the thing, its value and the way out. Exit status 3."""

    exit_code = 3


class SettingsError(UserError):
    """params.yaml or the command line cannot be used. Exit status 2."""

    exit_code = 2


class InputError(UserError):
    """A file, an image or a data set is missing or cannot be used. Exit status 3."""


class TrackingError(UserError):
    """The MLflow server cannot be reached. Exit status 3."""


class BusyError(UserError):
    """Another process does the same work in the same folder. Exit status 75."""

    exit_code = 75


def first_line(error: Exception) -> str:
    """Return the first line of what another library's error says, or its kind where it says nothing."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
