"""What can go wrong, as one tree.

    Exception
    └── DiffgridError          everything diffgrid raises on purpose
        ├── BadInput           a value the user gave is not allowed (also a ValueError)
        ├── ModelError         weights cannot be found or loaded
        ├── StoreError         what is stored, or its directory, cannot be used
        │   ├── Damaged        stored bytes are broken: nobody wrote them so
        │   └── OtherVersion   stored bytes are whole, but this version cannot tell what they mean
        ├── NotFinite          a model made NaN or infinity, which no picture can be drawn of
        ├── Busy               more was asked for than fits the queue
        └── Cancelled          somebody asked the work to stop

Every message is one plain sentence that names the field, its value, what is allowed and what to do:
the command line prints it as it is.
"""


class DiffgridError(Exception):
    """Everything diffgrid raises on purpose."""


class BadInput(DiffgridError, ValueError):
    """A value the user gave is not allowed."""


class ModelError(DiffgridError):
    """Weights that cannot be found or loaded."""


class StoreError(DiffgridError):
    """What is stored, or the directory it is stored in, cannot be used."""


class Damaged(StoreError):
    """Stored bytes that are broken: the checksum is wrong, or the layout makes no sense."""


class OtherVersion(StoreError):
    """Stored bytes that are whole, but mean nothing to this version: another one may need them."""


class NotFinite(DiffgridError):
    """A model made NaN or infinity of what it was given: there is no picture of that."""


class Busy(DiffgridError):
    """Too much is waiting already; nothing was started."""


class Cancelled(DiffgridError):
    """The work was stopped because somebody asked for it."""


def reason_of(error: Exception) -> str:
    """What a library's error says, in one line that can be quoted."""
    return str(error).strip().split("\n")[0].rstrip(".") or type(error).__name__
