"""A job that ended to wait without a runner is run again, once, when it is approved."""

import re
from typing import Any

from gate.bot.notices import Notice, Undelivered
from gate.forge.rest import Refused, Rest

_RUN_ID = re.compile(r"[1-9][0-9]{0,18}")


def rerun(rest: Rest, notice: Notice) -> None:
    """Run the failed jobs of the run again, if the notice asks for it, and nobody did so before.

    The number of attempts tells whether it was done, also by another bot, or by a try whose answer got lost.

    Raises:
        Undelivered: the run has not ended yet.
        Refused: GitHub does not run it again.
    """
    if notice.news != "approved" or not notice.rerun or not _RUN_ID.fullmatch(notice.run_id):
        return
    path = f"actions/runs/{notice.run_id}"
    run = rest.get(path)
    if _is_done(run, notice):
        return
    if run["status"] != "completed":
        raise Undelivered("The run that is to be run again has not ended yet.", after=10.0)
    try:
        rest.post(f"{path}/rerun-failed-jobs")
    except Refused as error:
        if error.after or error.status != 403 or not _is_done(rest.get(path), notice):
            raise


def _is_done(run: dict[str, Any], notice: Notice) -> bool:
    return bool(run["run_attempt"] > notice.attempt or run["conclusion"] == "success")
