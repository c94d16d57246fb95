"""Reason codes and events in words for somebody who has never seen one."""

from gate.errors import ReasonCode
from gate.record import EventKind

WORDS: dict[ReasonCode, str] = {
    "allowed": "Allowed",
    "token.missing": "No approval was handed in",
    "token.malformed": "The approval was damaged, or was none",
    "token.too_large": "The approval was too large to be one",
    "key.unknown": "The approval was signed with a key that the policy does not list",
    "key.outside_window": "The approval was signed when its key was not trusted",
    "key.not_authorized": "The key may not sign for that approver",
    "signature.invalid": "The approval's signature was wrong: it was changed or forged",
    "token.expired": "The approval had expired",
    "token.not_yet_valid": "The approval was not valid yet: a clock was wrong",
    "token.too_long_lived": "The approval would have lived longer than the policy allows",
    "audience.mismatch": "The approval was meant for another gate",
    "repository.mismatch": "The approval was for another repository",
    "repository.not_allowed": "The policy does not let this repository be deployed there",
    "sha.mismatch": "The approval was for another version of the code",
    "environment.mismatch": "The approval was for another environment",
    "environment.unknown": "The policy does not know the environment",
    "run.mismatch": "The approval was for another run of the pipeline",
    "approver.not_allowed": "The approver may not approve this",
    "approver.is_author": "The approver wrote some of the code, or that could not be ruled out",
    "approver.is_actor": "The approver started the deployment, or that could not be ruled out",
    "approvals.insufficient": "Too few people had approved",
    "approval.declined": "Somebody who may approve declined",
    "passkey.missing": "The approval lacked the passkey that the policy asks for",
    "passkey.invalid": "The approval's passkey proof was wrong",
    "replay.used": "The approval had been used before",
    "replay.unavailable": "Whether the approval had been used could not be checked",
    "audit.unavailable": "The audit log could not be written",
    "clock.mismatch": "A clock was wrong, so that what had been used or had expired could not be told",
    "checkout.mismatch": "The code in place was not the code that was approved",
    "bot.unavailable": "The deploy-bot could not be asked for an approval",
    "policy.invalid": "The policy was not usable",
    "usage.invalid": "The gate was called wrongly",
    "internal.error": "The gate met a bug of its own",
    "dry_run": "Nothing was decided",
}

EVENTS: dict[EventKind, str] = {
    "approval": "An engineer approved on the page",
    "refusal": "An engineer declined",
    "enrolment": "A passkey was enrolled",
    "sign_in_failure": "A sign-in failed",
}
