"""What goes wrong in the operating world, named by what the caller can do.

    ControllerError
    ├── StoreUnavailable    nothing was written: keep the state in hand and try again later
    ├── StoreInUse          another controller has the store: stop, or take another folder
    └── StoreUnreadable     a person must act: the message names the file and what to do

Expected outcomes (a refused document, a missing measurement) are values, not these.
"""


class ControllerError(Exception):
    """Anything below; the text says what, which object, and what to do."""


class StoreUnavailable(ControllerError):
    """The store could not be read or written now (disk full, input/output error); nothing was half-written."""


class StoreInUse(ControllerError):
    """Another process is the writer of this store."""


class StoreUnreadable(ControllerError):
    """The store is there but cannot be trusted: damaged, of a newer release, or not ours. It was left as it is."""
