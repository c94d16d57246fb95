"""Whatever stands where a policy should, the answer is a policy or an error that explains it, and it comes soon."""

import hashlib
import time

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from gate import strictyaml
from gate.errors import PolicyError
from gate.policyfile import compile_policy
from gate.strictyaml import MAX_BYTES
from tests.core.mint import POLICY
from tests.core.mistakes import MISTAKES, edited, refusal

quickly = settings(deadline=None, max_examples=150)

WHOLE = {
    "nothing": b"",
    "white space": b" \n\n",
    "a comment": b"# nothing\n",
    "a word": b"policy",
    "a list": b"- version: 1\n",
    "null": b"~",
    "an empty mapping": b"{}",
    "an empty document": b"---\n",
    "two documents": POLICY.encode() + b"---\n" + POLICY.encode(),
    "an end and more": POLICY.encode() + b"...\n---\nx\n",
    "JSON of something else": b'{"version": 1, "keys": []}',
    "not UTF-8": POLICY.encode().replace(b"audit", b"\xff"),
    "UTF-16": POLICY.encode("utf-16"),
    "a NUL": POLICY.encode() + b"\0",
    "a control character": POLICY.encode() + b"# \x07\n",
    "a surrogate": POLICY.encode() + b"# \xed\xa0\x80\n",
    "random bytes": bytes(range(256)) * 10,
    "300 KiB": POLICY.encode() + b"#" * 300 * 1024,
    "100 MB": b"x" * 100_000_000,
    "an unknown directive": b"%FOO bar\n---\n" + POLICY.encode().replace(b"version: 1", b"version: 2"),
    "a tag directive": b"%TAG ! tag:x,2000:\n---\n!a " + POLICY.encode(),
    "billion laughs": b"a: &a [x,x,x,x,x,x,x,x,x]\n"
    + b"".join(b"%c: &%c [%s]\n" % (96 + n, 96 + n, b",".join([b"*%c" % (95 + n)] * 9)) for n in range(2, 20)),
    "an alias of itself": b"a: &a [*a]\n",
    "quotes that never end": b'"' + b"x\n" * 100_000,
    "keys without end": b"? " * 100_000,
    "flow keys without end": b"{" + b"? a, " * 50_000,
    "dashes": b"- " * 100_000,
    "colons": b": " * 100_000,
    "many members": b"".join(b"a%d: x\n" % number for number in range(20_000)),
    "many anchors": b"".join(b"- &a%d x\n" % number for number in range(20_000)),
    "a long plain scalar": b"version: " + b"x " * 120_000,
    "a long block scalar": b"version: |\n" + b" x\n" * 80_000,
}


@pytest.mark.parametrize("data", [pytest.param(data, id=name) for name, data in WHOLE.items()])
def test_what_is_no_policy_at_all_is_refused_soon(data: bytes) -> None:
    refusal(data)


def test_a_policy_may_be_as_large_as_it_says() -> None:
    data = POLICY.encode()
    filler = b"#" * (MAX_BYTES - len(data))
    assert compile_policy(data + filler)
    assert "too large" in refusal(data + filler + b"#").message


def test_what_is_read_may_be_eight_levels_deep() -> None:
    assert strictyaml.parse(b"[" * 8 + b"]" * 8)
    assert "nested too deeply" in refusal(b"[" * 9 + b"]" * 9).message


def _listed(count: int, text: str = "a%d@x") -> str:
    return ", ".join(text % number for number in range(count))


HUGE = {
    "many teams": ("teams:\n", "teams:\n" + "".join(f"  t{number}: [a]\n" for number in range(16_000))),
    "many people": ("people:\n", "people:\n" + "".join(f"  p{n}: {{github: g{n}}}\n" for n in range(9_000))),
    "many environments": (
        "  pair:\n",
        "".join(f"  e{n}: {{repositories: [a/b], approvers: [{'release, ' * 2}a]}}\n" for n in range(3_000))
        + "  pair:\n",
    ),
    "a large team in many lists": (
        "teams:\n  release: [Bob@example.com, carol@example.com]",
        f"teams:\n  release: [Bob@example.com, carol@example.com, {_listed(490)}]",
        "  pair:\n",
        "".join(f"  e{n}: {{repositories: [a/b], approvers: [{'release, ' * 400}]}}\n" for n in range(60))
        + "  pair:\n",
    ),
    "a large team in many environments": (
        "teams:\n  release: [Bob@example.com, carol@example.com]",
        f"teams:\n  release: [Bob@example.com, carol@example.com, {_listed(490)}]",
        "  pair:\n",
        "".join(f"  e{n}: {{repositories: [a/b], approvers: [release]}}\n" for n in range(4_000)) + "  pair:\n",
    ),
    "many repositories": ("[acme/*]", f"[{_listed(500, 'acme/x%d')}]"),
}


@pytest.mark.parametrize("edits", [pytest.param(edits, id=name) for name, edits in HUGE.items()])
def test_a_policy_that_multiplies_is_compiled_soon(edits: tuple[str, ...]) -> None:
    text = POLICY
    for old, new in zip(edits[::2], edits[1::2], strict=True):
        assert old in text
        text = text.replace(old, new, 1)
    assert len(text) < MAX_BYTES
    started = time.process_time()
    compile_policy(text.encode())
    assert time.process_time() - started < 10


def test_the_reader_that_is_pure_python_refuses_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where PyYAML came without its C extension, the same policies are refused, on the same lines."""
    quick = [mistake for mistake in MISTAKES if len(mistake[1][1]) < 1000]
    expected = [refusal(edited(*edit)).message.partition("(")[0] for _, edit, *_ in quick]
    monkeypatch.setattr(strictyaml, "_Loader", yaml.SafeLoader)
    assert [refusal(edited(*edit)).message.partition("(")[0] for _, edit, *_ in quick] == expected
    assert compile_policy(POLICY.encode()).sha256 == hashlib.sha256(POLICY.encode()).hexdigest()


def _compiles(data: bytes) -> bool:
    try:
        policy = compile_policy(data)
    except PolicyError as error:
        assert error.message.isprintable()
        return False
    assert policy.keys
    assert all(environment.approvers and environment.repositories for environment in policy.environments.values())
    return True


@quickly
@given(st.binary(max_size=300))
def test_any_bytes_are_a_policy_or_a_policy_error(data: bytes) -> None:
    _compiles(data)


SCRAPS = [
    "version: 1", "audience:", "replay: memory:", "keys:", "  - kid: x", "    alg: Ed25519", "    approvers: [a]",
    "teams:", "people: {}", "environments:", "  p:", "  repositories: ['*/*']", "  passkey: required", "- ", "? ", ": ",
    "&a", "*a", "<<: *a", "!!str x", "---", "...", "%YAML 1.2", "{", "}", "[", "]", '"', "'", "|", ">-", "#", "\t",
    "\u2028", "\ufeff", "@", "`", "\x85", "null", "yes", "0x10", "\U0001f600",
]  # fmt: skip


@quickly
@given(st.lists(st.sampled_from(SCRAPS) | st.text(max_size=10), max_size=25), st.sampled_from(["\n", " ", "\n  ", ""]))
def test_any_scraps_of_yaml_are_a_policy_or_a_policy_error(scraps: list[str], joined_by: str) -> None:
    _compiles(joined_by.join(scraps).encode("utf-8", "surrogatepass"))


LINES = POLICY.splitlines()


@quickly
@given(
    st.lists(
        st.tuples(st.integers(0, len(LINES) - 1), st.sampled_from(SCRAPS + LINES), st.booleans()),
        min_size=1,
        max_size=4,
    )
)
def test_a_policy_with_changed_lines_is_a_policy_or_a_policy_error(changes: list[tuple[int, str, bool]]) -> None:
    lines = list(LINES)
    for number, text, replaces in changes:
        lines[number : number + replaces] = [text]
    _compiles("\n".join(lines).encode())


@quickly
@given(st.integers(0, len(POLICY) - 1), st.integers(0, len(POLICY) - 1), st.text(max_size=3))
def test_a_policy_cut_anywhere_is_a_policy_or_a_policy_error(start: int, end: int, text: str) -> None:
    _compiles((POLICY[:start] + text + POLICY[end:]).encode("utf-8", "surrogatepass"))
