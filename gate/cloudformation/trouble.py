"""What goes wrong with a stack, in words that are safe to show."""

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from gate import aws
from gate.errors import UsageError
from gate.text import printable

if TYPE_CHECKING:
    from gate.cloudformation import Step

_NOT_FOR_SHOW = re.compile(r"arn:[^\s,;)\]]+|(?<!\d)\d{12}(?!\d)|\((?:Service|RequestToken): .*", re.S)


def fit(reason: str) -> str:
    """A reason of CloudFormation's without ARNs, account ids and request ids.

    CloudFormation has no codes for what went wrong: its sentences are all there is to go by.
    """
    return printable(_NOT_FOR_SHOW.sub("…", reason).strip())


def failure(what: str, failed: "Sequence[Step]", status: str) -> UsageError:
    """A stack that came to a bad end. The first resource that failed says why; others were only cancelled with it."""
    if not failed:
        return UsageError(f"{what} ended as {printable(status)}.", hint="Look at its events in the AWS console.")
    first = failed[0]
    return UsageError(
        f"{what} could not be made, and was rolled back: {first.resource} ({first.type}) failed.",
        actual=first.why,
        hint="Correct that, and try again; docs/aws.md lists what deploying needs.",
    )


def stuck(what: str, name: str, status: str) -> UsageError:
    """A stack that can't be changed as it is."""
    if status.endswith("_IN_PROGRESS"):
        return UsageError(f"{what} is being changed right now.", actual=status, hint="Try again when that has ended.")
    hint = f"Look at its events. If it holds nothing: aws cloudformation delete-stack --stack-name {name}"
    return UsageError(f"{what} is left over from an attempt that failed.", actual=status, hint=hint)


def refused(error: BaseException, what: str) -> UsageError:
    """A call that AWS did not answer as it should."""
    code = aws.code(error)
    if code == "ValidationError":
        said = fit(str(error).partition(" operation: ")[2])
        return UsageError(f"AWS does not take what {what[0].lower()}{what[1:]} is to be.", actual=said)
    trouble = aws.explain(error, what)
    if aws.is_denied(error):
        return UsageError(trouble.message, hint="Deploy as somebody who may; docs/aws.md lists what it takes.")
    return UsageError(trouble.message, hint=trouble.hint)
