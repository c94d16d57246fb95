"""What Redis, its library and the network say when something is wrong, and what that means."""

import re
from typing import NamedTuple


class Trouble(NamedTuple):
    """An error in words that are safe to show: what the store does, and what to do next."""

    message: str
    hint: str
    passes: bool = False


SENSELESS = Trouble("gave no answer that makes sense", "Check the host and port in its URI: is that a Redis server?")
FOREIGN = Trouble(
    "holds a value that no gate wrote", "Give the gate a database of its own, that nothing else writes to."
)
_UNREACHED = Trouble(
    "did not answer in time, or can't be reached",
    "Check the network, and host, port and TLS (redis: or rediss:) in its URI.",
    passes=True,
)
# By the codes that Redis answers with, and by the classes of exceptions; an earlier line goes first.
_TROUBLES = {
    name: trouble
    for names, trouble in {
        "WRONGPASS NOAUTH AuthenticationError AuthenticationWrongNumberOfArgsError": Trouble(
            "does not accept this user and password", "Check password_file, and the user, in its URI."
        ),
        "NOPERM NoPermissionError": Trouble(
            "does not let this user do what the gate needs", "Grant it the commands and keys of docs/operations.md."
        ),
        "OOM OutOfMemoryError": Trouble("is full", "Raise its maxmemory, but never let it evict keys."),
        "MISCONF": Trouble("can't write to its disk", "Make room on its disk; its log says more."),
        "READONLY ReadOnlyError": Trouble("is a replica", "Name the primary server in its URI."),
        "NOREPLICAS": Trouble("has too few replicas at hand", "Bring them back, or lower min-replicas-to-write."),
        "LOADING BUSY ASK TRYAGAIN CLUSTERDOWN MASTERDOWN MOVED BusyLoadingError ClusterDownError AskError "
        "MasterDownError TryAgainError": Trouble(
            "is starting, busy, or moving its data", "Try again in a moment.", passes=True
        ),
        "WRONGTYPE user_script": FOREIGN,
        "Untrusted": Trouble(
            "does not prove that it is the server that its URI names",
            "Check the host in its URI; name the CA of its certificate: ?ca=/path/to/ca.pem",
        ),
        "Unsynced": Trouble(
            "did not get a use onto its disk in time", "Set appendfsync always or everysec; see how busy its disk is."
        ),
        "ResponseError": Trouble(
            "answered with an error", "It has to be Redis 5 or newer, and have that database; its log may say more."
        ),
        "ConnectionError TimeoutError OSError": _UNREACHED,
    }.items()
    for name in names.split()
}


def explain(error: BaseException) -> Trouble:
    """Put any exception of the library into words. Nothing of its own text is shown: it names users and addresses."""
    names = [base.__name__ for base in type(error).__mro__]
    if names[0] == "ResponseError":  # the library has no class for it
        names = [*re.findall(r"\b[A-Z]{3,}\b", str(error)), *re.findall("user_script", str(error)), *names]
    return next((_TROUBLES[name] for name in names if name in _TROUBLES), SENSELESS)
