"""The URL that a repository was cloned from."""

import re
from urllib.parse import urlsplit

_SCHEMES = {"https", "http", "ssh", "git", "git+ssh", "ssh+git"}
_SCP_LIKE = re.compile(r"(?:[^@:/]+@)?[A-Za-z0-9.-]{2,}:(?P<path>[^:]+)")


def repository_path(url: str) -> str:
    """The path of the repository that `url` names by https, ssh, git or git's short form `host:path`; "" for any other.

    Whether it is well-formed is for `gate.scope` to say.
    """
    if "://" in url:
        try:
            parts = urlsplit(url)
        except ValueError:
            return ""
        path = parts.path if parts.scheme in _SCHEMES and parts.hostname else ""
    else:
        short = _SCP_LIKE.fullmatch(url)
        path = short["path"] if short else ""
    return path.strip("/").removesuffix(".git")
