"""What is about to ship."""

from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

from gate.errors import UsageError
from gate.models import Stream
from gate.scope import Scope, parse_environment, parse_repository, parse_sha

_MAX_TEXT = 254
_MAX_ACTORS = 16


@dataclass(frozen=True)
class Deployment:
    """One repository at one commit into one environment, and who and which run asks for it.

    `actors` are whoever triggered the run, and whoever triggered its re-run, each as the text of an identity: an e-mail
    address, a login such as `github:alice`, or `github:alice#4711`, which says that the CI attests that account's id.
    `run_id`, `repository_id` and `request_id` are "" where they are not known; an approval that names one of them is
    good for nothing else (docs/token.md).

    Raises:
        UsageError: the repository, the sha, the environment or one of the texts is not what it must be.
    """

    repository: str
    sha: str
    environment: str
    actors: tuple[str, ...] = ()
    run_id: str = ""
    repository_id: str = ""
    request_id: str = ""

    def __post_init__(self) -> None:
        for name in ("repository", "sha", "environment", "run_id", "repository_id", "request_id"):
            _check_text(name, getattr(self, name))
        if not isinstance(self.actors, tuple) or len(self.actors) > _MAX_ACTORS:
            raise UsageError(f"The deployment's actors are not a tuple of at most {_MAX_ACTORS} strings.")
        for actor in self.actors:
            _check_text("actor", actor)
        object.__setattr__(self, "repository", parse_repository(self.repository))
        parse_sha(self.sha)
        parse_environment(self.environment)

    @cached_property
    def scope(self) -> Scope:
        """What an approval for this deployment is scoped to."""
        return Scope(self.repository, self.sha)

    @property
    def stream(self) -> Stream:
        """The audit stream that this deployment's decisions are recorded in."""
        return Stream(self.repository, self.environment)

    def as_json(self) -> dict[str, Any]:
        """Its members as plain JSON values."""
        return {**asdict(self), "actors": list(self.actors)}


def _check_text(name: str, value: object) -> None:
    if not isinstance(value, str) or not value.isprintable() or len(value) > _MAX_TEXT:
        raise UsageError(
            f"The deployment's {name} is not a text of printable characters.",
            expected=f"at most {_MAX_TEXT} printable characters",
            actual=ascii(value)[:100],
        )
