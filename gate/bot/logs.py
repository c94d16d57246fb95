"""Logs as JSON, one object a line, each with the id of the HTTP request that it belongs to. No secret, no query string
and no header is ever put into one."""

import json
import logging
import time
from contextvars import ContextVar
from pathlib import Path
from traceback import extract_tb
from types import TracebackType

REQUEST_ID: ContextVar[str] = ContextVar("request_id", default="")
_FIELDS = ("method", "route", "status", "ms", "channel", "part", "error")


class JsonFormatter(logging.Formatter):
    """One JSON object: time, level, message, request_id, and those known fields that the call gave as `extra`."""

    def format(self, record: logging.LogRecord) -> str:
        """See `logging.Formatter.format`. A traceback's message would show values: told are the exception's class
        and where it came from."""
        told = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(record.created)),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            "request_id": REQUEST_ID.get(),
        }
        told |= {name: getattr(record, name) for name in _FIELDS if hasattr(record, name)}
        if record.exc_info and record.exc_info[0]:
            told["exception"] = record.exc_info[0].__name__
            told["where"] = _where(record.exc_info[2])
        return json.dumps({name: value for name, value in told.items() if value != ""})


def _where(trace: TracebackType | None) -> str:
    """The lines of code that an exception came through, the innermost last."""
    return " ".join(f"{Path(frame.filename).name}:{frame.lineno}" for frame in extract_tb(trace)[-4:])


def configure() -> None:
    """Log to stderr in this form, and nothing of the libraries' below a warning."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonFormatter())
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    logging.getLogger("gate").setLevel(logging.INFO)
