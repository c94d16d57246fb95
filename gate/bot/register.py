"""The register: every request as it stands under the policy of now, each change of one a compare-and-set."""

import hashlib
import heapq
import logging
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

from gate.bot.eligibility import check_wanted, counted
from gate.bot.errors import BotError, Conflict, NotFound, Unavailable
from gate.bot.keyring import Keyring
from gate.bot.policysource import PolicySource
from gate.bot.request import ApprovalRequest, Status
from gate.bot.state import Document, State
from gate.canonical import canonical
from gate.errors import Denied
from gate.keys import base64url
from gate.policy import Environment, Policy

KEPT = 24 * 3600  # seconds that a request can still be looked at after it ran out
_TRIES = 20
_LOG = logging.getLogger(__name__)


class Standing(NamedTuple):
    """A request as it stands now, under the policy of now: with those approvals alone that the gate would count."""

    request: ApprovalRequest
    environment: Environment
    policy: Policy
    now: int

    @property
    def status(self) -> Status:
        """`open`, `approved`, `declined` or `expired`."""
        return self.request.status(self.environment.approvals, self.now)

    @property
    def question(self) -> str:
        """What is asked of people, as a text that changes when it does: the generation, and a digest. Approvals and
        facts that come in meanwhile do not change it, nor does what a job can say anew all the time."""
        request = self.request
        asked = request.deployment.as_json() | {
            "actors": sorted(request.deployment.actors),
            "attempt": 0 if "attempt" in request.said else request.attempt,
            "said": list(request.said),
            "life": self.environment.max_age,
        }
        return f"{request.generation}.{base64url(hashlib.sha256(canonical(asked)).digest())}"

    def check_open(self) -> None:
        """Check that people can still decide.

        Raises:
            Conflict: it is over.
        """
        if self.status != "open":
            raise Conflict(f"It is too late: this request is {self.status}.", hint="Look at it again.")

    def check_question(self, shown: str) -> None:
        """Check that a decision is about what its page showed.

        Raises:
            Conflict: something else is asked now.
        """
        if self.question != shown:
            raise _changed()

    def check_generation(self, shown: str) -> None:
        """Check that a decision is about this request at least, whatever the job has added to it.

        Raises:
            Conflict: the run has asked anew.
        """
        if self.question.partition(".")[0] != shown.partition(".")[0]:
            raise _changed()


class Register:
    """The requests in `state`, each sealed by `keyring`: whoever can write the state can take a request away, or put
    an older form of it back, and make none up. `clock` gives epoch seconds."""

    def __init__(
        self, state: State, keyring: Keyring, policy: PolicySource, clock: Callable[[], float] = time.time
    ) -> None:
        self._state = state
        self._keyring = keyring
        self._policy = policy
        self._clock = clock

    @property
    def now(self) -> int:
        """Epoch seconds."""
        return int(self._clock())

    def find(self, key: str) -> Standing:
        """The request called `key`.

        Raises:
            NotFound: there is none, or it ran out long ago, or nobody could ever approve it any more.
        """
        return self._read(key)[0]

    def newest(self, most: int, skip: int = 0) -> tuple[list[Standing], int]:
        """The `most` newest requests of the last day but for the `skip` newest, newest first, and how many older ones
        there are. Those that `find` would not give are left out: one that can't be shown must not keep people from the
        others."""
        self._policy.current()
        total = 0

        def places() -> Iterator[tuple[int, str]]:
            """Not the documents: a day's can be more than there is memory."""
            nonlocal total
            for document in self._state.list("request", self.now):
                total += 1
                yield document.expires_at, document.key

        newest = heapq.nlargest(skip + most, places())[skip:]
        found = filter(None, (self._shown(key) for _, key in newest))
        return sorted(found, key=lambda standing: -standing.request.asked_at), max(total - skip - most, 0)

    def standing(self, request: ApprovalRequest) -> Standing:
        """That request as it stands now.

        Raises:
            NotFound: nobody could ever approve it any more.
            Unavailable: the policy can't be had.
        """
        policy, now = self._policy.current().policy, self.now
        try:
            environment = check_wanted(request.deployment, policy)
        except Denied as denial:
            raise NotFound(f"This request can't be approved any more: {denial.message}", hint=denial.hint) from None
        return Standing(counted(request, policy, now), environment, policy, now)

    def change(self, key: str, change: Callable[[Standing], ApprovalRequest]) -> Standing:
        """The request once `change` has made another of it; `change` may be called again, and may raise.

        Raises:
            NotFound: as `find`.
            Unavailable: others change it all the time, or the state can't be had.
        """
        for _ in range(_TRIES):
            standing, document = self._read(key)
            request = change(standing)
            if self._saved(request, document):
                return standing._replace(request=request, now=self.now)
        raise busy()

    def enter(self, key: str, change: Callable[[ApprovalRequest | None], ApprovalRequest]) -> ApprovalRequest:
        """As `change`, where perhaps there is no request yet; `change` gets it as it was written."""
        for _ in range(_TRIES):
            document = self._state.get("request", key, self.now)
            before = self._opened(document) if document else None
            request = change(before)
            if request is before or self._saved(request, document):
                return request
        raise busy()

    def _shown(self, key: str) -> Standing | None:
        try:
            return self.find(key)
        except NotFound:
            return None
        except Unavailable as error:
            _LOG.warning("a request is left out", extra={"error": error.message})
            return None

    def _read(self, key: str) -> tuple[Standing, Document]:
        document = self._state.get("request", key, self.now)
        if document is None:
            raise NotFound(
                "There is no such request.", hint="It may have run out long ago. A new run of the job asks again."
            )
        return self.standing(self._opened(document)), document

    def _opened(self, document: Document) -> ApprovalRequest:
        sealed = str(document.value.get("sealed", ""))
        value = self._keyring.unseal(f"request {document.key}", sealed, now=self.now)
        return ApprovalRequest.from_json(value or {})

    def _saved(self, request: ApprovalRequest, document: Document | None) -> bool:
        until = request.expires_at + KEPT
        written = self._state.put(
            "request",
            request.id,
            {"sealed": self._keyring.seal(f"request {request.id}", request.as_json(), until=until)},
            expires_at=until,
            expected=document.version if document else 0,
            now=self.now,
        )
        return written is not None


def _changed() -> Conflict:
    return Conflict(
        "The request has changed since you opened the page.", hint="Look at it again, and decide from there."
    )


def busy() -> BotError:
    """What to raise where others were always faster."""
    return Unavailable("Too many people are at this request at once.", hint="Try again in a moment.")
