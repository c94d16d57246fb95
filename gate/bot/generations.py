"""Generations: what a run gets that asks. The request that is there, or, once that is over, a new one in its place."""

from dataclasses import replace
from typing import TYPE_CHECKING

from gate.bot.errors import BotError
from gate.bot.request import ApprovalRequest

if TYPE_CHECKING:
    from gate.bot.asked import Asked

_SAME_ANSWER = 60  # seconds
_MOST_ACTORS = 16  # of a deployment


class AnotherWorkflow(Exception):
    """The run has asked already, for another workflow of its own."""


def check_workflow(before: ApprovalRequest | None, asked: "Asked") -> None:
    """Check that a job that asks is of the workflow that the page names, as far as both are known: what was approved
    for one is not handed to another. A no to the first is one to all that ask after it.

    Raises:
        AnotherWorkflow: it is not.
    """
    if before and not before.declined and before.workflow and asked.job.workflow not in ("", before.workflow):
        raise AnotherWorkflow


def is_over(request: ApprovalRequest, needed: int, asked: "Asked", held: str, now: int) -> bool:
    """Whether a run that asks needs a new request. The same attempt gets the same answer again, and so does the same
    delivery (`held`) of GitHub's, and any other delivery is another question: no answer to one job starts the next. Of
    jobs that GitHub did not hold, an approval that none has come for yet is lost to none. Where nobody proves which
    attempt it is, a no stays one for that run, and any other answer stays for a while."""
    status = request.status(needed, now)
    if status == "open":
        return False
    if held:
        return request.held != held
    unused = not request.held and request.awaits_its_job(needed, now)
    if request.held and request.declined:
        return False  # GitHub holds the next attempt too, and says so
    if "attempt" in asked.job.proved:
        return request.attempt < asked.job.attempt and not unused
    return not request.declined and now >= _ended_at(request, status) + _SAME_ANSWER


def joined(request: ApprovalRequest, asked: "Asked", held: str) -> ApprovalRequest:
    """The request with what a run adds that asks for it again: who re-ran it is one of its actors, too, and what
    GitHub's webhook did not tell.

    Raises:
        BotError: those are more actors than a deployment can have; none is forgotten for another.
    """
    actors = tuple(dict.fromkeys((*asked.deployment.actors, *request.deployment.actors)))
    if len(actors) > _MOST_ACTORS:
        raise BotError("Too many people have had a hand in this run.", expected=f"at most {_MOST_ACTORS} actors")
    job = asked.job
    return replace(
        request,
        deployment=replace(request.deployment, actors=actors),
        attempt=max(request.attempt, job.attempt),
        run_url=request.run_url or job.run_url,
        ref=request.ref or job.ref,
        workflow=request.workflow or job.workflow,
        event=request.event or job.event,
        said=tuple(sorted({*request.said, *asked.said})),
        rerun=request.rerun or asked.rerun,
        held=held or request.held,
        ci_environment=request.ci_environment or job.ci_environment,
        waits=request.waits if held else asked.waits,
    )


def begun(
    key: str, asked: "Asked", before: ApprovalRequest | None, *, held: str, now: int, life: int
) -> ApprovalRequest:
    """A new request, the one after `before`."""
    job = asked.job
    return ApprovalRequest(
        deployment=replace(asked.deployment, request_id=key),
        generation=before.generation + 1 if before else 1,
        attempt=job.attempt,
        asked_at=now,
        expires_at=now + life,
        asker=job.issuer,
        run_url=job.run_url,
        run_sha=job.sha,
        ref=job.ref,
        workflow=job.workflow,
        event=job.event,
        forge=job.forge,
        said=tuple(sorted(asked.said)),
        rerun=asked.rerun,
        held=held,
        ci_environment=job.ci_environment,
        waits=asked.waits,
        declined_before=(before.declined or before.declined_before) if before else None,
    )


def _ended_at(request: ApprovalRequest, status: str) -> int:
    return request.expires_at if status == "expired" else max(given.expires_at for given in request.approvals)
