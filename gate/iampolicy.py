"""IAM policies, as far as the doctor reads them: members that are one value or several, and patterns."""

import re
from typing import Any


def listed(value: Any) -> list[Any]:
    """A member of a statement as a list: a single value stands for a list of one."""
    return value if isinstance(value, list) else [value]


def matches(pattern: str, text: str) -> bool:
    """Whether `text` is of the `pattern`: `*` stands for any characters, `?` for one."""
    expression = "".join({"*": ".*", "?": "."}.get(character, re.escape(character)) for character in pattern)
    return re.fullmatch(expression, text, re.DOTALL) is not None
