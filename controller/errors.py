"""What goes wrong in the operating world, named by what the caller can do.

    ControllerError
    ├── StoreUnavailable    nothing was written: keep the state in hand and try again later
    │   └── StoreRefused    not before a person mends the object
    ├── NotSeenYet          what a decision needs is being looked at: decide when it was seen, in a moment
    ├── StoreConflict       somebody else wrote first: read again and decide anew, now
    ├── NotLeader           another controller may be writing: write nothing, publish nothing
    ├── NotTakenHere        this store takes that from people only: the message says how
    ├── StoreInUse          another controller has the store: stop, or take another folder
    └── StoreUnreadable     a person must act: the message names the file and what to do

Expected outcomes (a refused document, a missing measurement) are values, not these.
"""


class ControllerError(Exception):
    """Anything below; the text says what, which object, and what to do."""


class StoreUnavailable(ControllerError):
    """The store could not be read or written now (disk full, input/output error); nothing was half-written."""


class StoreRefused(StoreUnavailable):
    """What a person wrote is such that nothing can be written beside it: it has to be mended; trying soon is no use."""


class NotSeenYet(ControllerError):
    """What a decision needs is looked at for the first time in this life; who asked is told when it was seen."""


class StoreConflict(ControllerError):
    """What was read is not what is there any more; nothing was written, and what is there now can be read."""


class NotLeader(ControllerError):
    """This controller does not lead (any more); nothing was written."""


class NotTakenHere(ControllerError):
    """People write that themselves, with their own credentials; the controller does not do it for them."""


class StoreInUse(ControllerError):
    """Another process is the writer of this store."""


class StoreUnreadable(ControllerError):
    """The store is there but cannot be trusted: damaged, of a newer release, or not ours. It was left as it is."""
