"""`file:FOLDER`: an audit log in a folder, for the embedded default and for volumes that several runners share.

A record appears whole or not at all: it is written beside the log, brought to the disk, and linked to its name, which
fails where the name is taken (link(2)). No symbolic link below the folder is ever followed.
"""

import contextlib
import errno
import os
import secrets
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

from gate.audit import MAX_RECORD, NotARecord, Occupied, RecordPath, named, not_the_policy, policy_path
from gate.errors import AuditUnavailable
from gate.files import ADVICE
from gate.models import Finding, Stream
from gate.text import printable
from gate.uris import Uri

_TEMPORARY = "=tmp"  # `=` is in no stream's alphabet
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC  # non-blocking: a FIFO must not hold us up
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC

_ADVICE = ADVICE | {
    errno.EACCES: "Give the user that runs the gate the right to read and write there.",
    errno.EPERM: "Give the user that runs the gate the right to write there, on a file system with hard links.",
    errno.EOPNOTSUPP: "The log needs a file system with hard links.",
}
_IN_THE_WAY = (errno.ELOOP, errno.ENOTDIR, errno.EISDIR, errno.ENXIO)


def open_log(uri: Uri, base: Path | None) -> "Directory":
    """The log in the folder that `uri` names. Nothing is touched yet.

    Raises:
        UsageError: the URI names no path.
    """
    return Directory(uri.path(base))


class Directory:
    """An `AuditLog` in a folder. Folders are made with mode 0700, records with mode 0600."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def put(self, stream: Stream, seq: int, record: bytes) -> str:
        """Write, bring to the disk, link to its name; see `AuditLog.put`."""
        if not self._keep(str(RecordPath(stream, seq)), record):
            raise Occupied(self.uri(stream, seq))
        return self.uri(stream, seq)

    def get(self, stream: Stream, seq: int) -> bytes | None:
        """One record; see `AuditLog.get`."""
        return self._read(str(RecordPath(stream, seq)))

    def archive(self, policy: bytes) -> str:
        """As `put` does with a record; see `AuditLog.archive`."""
        sha256 = named(policy)
        if not self._keep(policy_path(sha256), policy):
            raise not_the_policy(self.policy_uri(sha256))
        return self.policy_uri(sha256)

    def archived(self, sha256: str) -> bytes | None:
        """One policy; see `AuditLog.archived`."""
        return self._read(policy_path(sha256))

    def read(self, places: Iterable[RecordPath]) -> Iterator[bytes | NotARecord | None]:
        """The records one after the other; see `AuditLog.read`."""
        for place in places:
            try:
                found: bytes | NotARecord | None = self.get(*place)
            except NotARecord as error:
                found = error
            yield found

    def listing(self) -> Iterator[str]:
        """The path of everything below the folder that is not a folder; see `AuditLog.listing`."""
        pending = [""]
        with _explained("read", self._root):
            while pending:
                below = pending.pop()
                with _scan(self._root / below) as entries:
                    for entry in entries:
                        path = f"{below}{entry.name}"
                        if not entry.is_dir(follow_symlinks=False):
                            yield path
                        elif path != _TEMPORARY:
                            pending.append(f"{path}/")

    def uri(self, stream: Stream, seq: int) -> str:
        """`file:///…`; see `AuditLog.uri`."""
        return self._uri(str(RecordPath(stream, seq)))

    def policy_uri(self, sha256: str) -> str:
        """`file:///…`; see `AuditLog.policy_uri`."""
        return self._uri(policy_path(sha256))

    def diagnose(self) -> Iterator[Finding]:
        """Whether the folder can be written, and by whom."""
        subject = f"audit log {printable(str(self._root))}"
        try:
            with _explained("written", self._root):
                _make_root(self._root)
                with self._temporary(os.urandom(MAX_RECORD)) as (outside, name):  # a full disk takes an empty one
                    _link(outside, name, outside, f"{name}.link")
                    os.unlink(f"{name}.link", dir_fd=outside)
                mode = self._root.stat().st_mode
        except AuditUnavailable as error:
            yield Finding("error", subject, error.message, error.hint)
            return
        yield Finding("ok", subject, "can be written")
        if mode & (stat.S_IWGRP | stat.S_IWOTH):
            fix = f"chmod go-w {printable(str(self._root))}"
            yield Finding("warning", subject, "others than its owner can write there", fix)

    def _uri(self, path: str) -> str:
        return f"file://{quote(str(self._root.absolute()))}/{path}"

    def _keep(self, path: str, data: bytes) -> bool:
        """Write a file unless there is one; False if other bytes stand there."""
        above, _, last = path.rpartition("/")
        with _explained("written", self._root):
            _make_root(self._root)
            with self._folder(above, create=True) as folder:
                with self._temporary(data) as (outside, name):
                    taken = not _link(outside, name, folder, last)
                os.fsync(folder)
                return not taken or _read(folder, last) == data

    def _read(self, path: str) -> bytes | None:
        above, _, last = path.rpartition("/")
        with _explained("read", self._root):
            try:
                with self._folder(above, create=False) as folder:
                    return _read(folder, last)
            except FileNotFoundError:
                return None

    @contextmanager
    def _folder(self, path: str, *, create: bool) -> Iterator[int]:
        """An open folder, reached from the root step by step, so that no symbolic link can lead elsewhere."""
        with contextlib.ExitStack() as opened:
            folder = _opened(opened, os.open(self._root, _FOLDER & ~os.O_NOFOLLOW))
            for segment in filter(None, path.split("/")):
                if create:
                    _make(folder, segment)
                folder = _opened(opened, os.open(segment, _FOLDER, dir_fd=folder))
            yield folder

    @contextmanager
    def _temporary(self, data: bytes) -> Iterator[tuple[int, str]]:
        """A file on the disk that holds `data`, as its folder and its name; gone afterwards."""
        with contextlib.ExitStack() as opened:
            root = _opened(opened, os.open(self._root, _FOLDER & ~os.O_NOFOLLOW))
            _make(root, _TEMPORARY)
            folder = _opened(opened, os.open(_TEMPORARY, _FOLDER, dir_fd=root))
            name = secrets.token_hex(16)
            try:
                _write(os.open(name, _CREATE, 0o600, dir_fd=folder), data)
                yield folder, name
            finally:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(name, dir_fd=folder)


def _opened(stack: contextlib.ExitStack, descriptor: int) -> int:
    stack.callback(os.close, descriptor)
    return descriptor


def _make_root(root: Path) -> None:
    """Make the log's folder and those above it, where they are missing, and bring their entries to the disk."""
    for folder in reversed([folder for folder in (root, *root.parents) if not folder.exists()]):
        above = os.open(folder.parent, _FOLDER & ~os.O_NOFOLLOW)
        try:
            _make(above, folder.name)
        finally:
            os.close(above)


def _make(parent: int, name: str) -> None:
    """Make a folder unless it is there, and bring its entry to the disk."""
    try:
        os.mkdir(name, 0o700, dir_fd=parent)
    except FileExistsError:
        return
    os.fsync(parent)


def _write(descriptor: int, data: bytes) -> None:
    with open(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(descriptor)


def _read(folder: int, name: str) -> bytes:
    with open(os.open(name, _READ, dir_fd=folder), "rb") as file:  # noqa: PTH123 (a descriptor)
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise OSError(errno.ENXIO, "Not a regular file")
        return file.read(MAX_RECORD + 1)


def _link(source: int, source_name: str, folder: int, name: str) -> bool:
    """Give a file its second name, which must not exist yet; False if it does."""
    try:
        os.link(source_name, name, src_dir_fd=source, dst_dir_fd=folder, follow_symlinks=False)
    except FileExistsError:
        return False
    return True


@contextmanager
def _scan(folder: Path) -> Iterator[Iterator[os.DirEntry[str]]]:
    try:
        entries = os.scandir(folder)
    except FileNotFoundError:
        yield iter(())
        return
    with entries:
        yield entries


@contextmanager
def _explained(verb: str, root: Path) -> Iterator[None]:
    """Turn what the operating system says into what people can act on."""
    try:
        yield
    except OSError as error:
        why = (error.strerror or "input/output error").lower()
        message = f"The audit log {printable(str(root))} can't be {verb} ({why})."
        if error.errno in _IN_THE_WAY:
            hint = "A link, a pipe or a folder stands where a record or a folder of records belongs: move it away."
            raise NotARecord(message, hint=hint) from None
        raise AuditUnavailable(message, hint=_ADVICE.get(error.errno or 0, "Check the folder and its disk.")) from None
