"""The URL that a repository was cloned from, whichever forge it is at: one repository has one name."""

import re
from urllib.parse import unquote, urlsplit

_SCHEMES = {"https", "http", "ssh", "git", "git+ssh", "ssh+git"}
_SCP_LIKE = re.compile(r"(?:[^@:/]+@)?(?P<host>[A-Za-z0-9.-]{2,}):(?P<path>[^:]+)")
_NO_BITBUCKET_SERVER = {"github.com", "gitlab.com", "bitbucket.org"}


def repository_path(url: str) -> str:
    """The path of the repository that `url` names by https, ssh, git or git's short form `host:path`; "" for any other.

    What only some addresses of it hold is left out: Bitbucket Server's `/scm/`, Azure's `_git` and `v3`, percent signs.
    Whether it is well-formed is for `gate.scope` to say.
    """
    if "://" in url:
        try:
            parts = urlsplit(url)
        except ValueError:
            return ""
        scheme, host, path = parts.scheme, parts.hostname, parts.path if parts.scheme in _SCHEMES else ""
    else:
        short = _SCP_LIKE.fullmatch(url)
        scheme, host, path = ("ssh", short["host"].lower(), short["path"]) if short else ("", "", "")
    if not host:
        return ""
    segments = [_decoded(segment) for segment in path.strip("/").removesuffix(".git").split("/")]
    if host == "dev.azure.com" or host.endswith((".dev.azure.com", ".visualstudio.com")):
        segments = _azure(host, segments)
    elif scheme in ("https", "http") and host not in _NO_BITBUCKET_SERVER and segments[-3:-2] == ["scm"]:
        segments = segments[-2:]
    return "/".join(segments)


def _decoded(segment: str) -> str:
    text = unquote(segment)
    return segment if "/" in text else text


def _azure(host: str, segments: list[str]) -> list[str]:
    """Organisation, project and repository; the project may be left out where the repository is called the same."""
    if segments[0] == "v3":
        return segments[1:]
    if host.endswith(".visualstudio.com"):
        segments = [host.partition(".")[0], *segments]
    if "_git" not in segments[1:-1]:
        return segments
    mark = segments.index("_git", 1)
    owner = [segments[0], *(segment for segment in segments[1:mark] if segment != "DefaultCollection")]
    return [*owner, *(segments[mark + 1 :] * (3 - len(owner)))]
