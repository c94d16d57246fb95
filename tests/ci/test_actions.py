"""What GitHub is told of a decision, and that nothing from outside can tell it anything else."""

import io
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gate.actions import announce, announce_request, hide
from gate.deployment import Deployment
from gate.errors import GateError, ReasonCode
from gate.models import Check, Decision

STOP = "0123456789abcdef" * 2
ALLOW = Decision(
    reason="allowed",
    message="alice@example.com approved acme/shop at 0123456789ab for production.",
    hint="",
    deployment={
        "repository": "acme/shop",
        "sha": "0123456789abcdef0123456789abcdef01234567",
        "environment": "production",
        "actors": ["deploy-bot"],
    },
    approvals=(
        {"approver": "alice@example.com", "jti": "J1", "kid": "k", "issued_at": 1796000000, "expires_at": 1796000600},
        {"approver": "bob", "jti": "J2", "kid": "k", "issued_at": 1796000060, "expires_at": 1796000660},
    ),
    record="file:///audit/acme/shop/production/1.json",
    checks=(Check("signature", "pass", "k", "k"), Check("passkey", "skip")),
)

HOSTILE = [
    "\n::set-output name=decision::allow",
    "\r\n::error::forged",
    "##[set-output name=decision]allow",
    "</code></td></tr></table><h1>APPROVED</h1>",
    '<img src=x onerror="alert(1)">',
    "[click](https://evil.example)",
    "![x](https://evil.example/x.png)",
    "https://evil.example www.evil.example",
    "@octocat @acme/team #1 GH-1 :tada: deadbeef1234",
    "a|b|c\n|---|",
    "`code` $(touch canary) ${{ github.token }} <!-- -->",
    "\u202eecilA \u2066 \x1b[31m \ud800",
    "x" * 5000,
]


def told(decision: Decision, folder: Path, **more: str) -> tuple[dict[str, str], str, str]:
    """`(outputs, summary, stdout)` after announcing `decision`."""
    output, summary, stdout = folder / "output", folder / "summary", io.StringIO()
    for file in (output, summary):
        file.unlink(missing_ok=True)
    announce(decision, {"GITHUB_OUTPUT": str(output), "GITHUB_STEP_SUMMARY": str(summary), **more}, stdout)
    return read_outputs(output.read_text("utf-8")), summary.read_text("utf-8"), stdout.getvalue()


def read_outputs(text: str) -> dict[str, str]:
    """`text` as the runner reads a file command: NAME<<DELIMITER, lines up to the delimiter."""
    values: dict[str, str] = {}
    lines = iter(text.split("\n")[:-1])
    for line in lines:
        name, _, delimiter = line.partition("<<")
        assert name not in values
        assert name.replace("-", "_").isidentifier()
        value = []
        for inner in lines:
            if inner == delimiter:
                break
            value.append(inner)
        values[name] = "\n".join(value)
    return values


class _Page(HTMLParser):
    """Collects what a summary shows, and fails on markup that the gate does not write."""

    TAGS = ("h2", "p", "table", "tr", "th", "td", "b", "code", "details", "summary")

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.code = ""
        self.prose = ""
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag == "br" or tag in self.TAGS
        assert attrs in ([], [("align", "left")])
        if tag != "br":
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "code" in self.open:
            self.code += data + "\n"
        else:
            self.prose += data

    def handle_comment(self, data: str) -> None:
        pytest.fail("a comment in the summary")


def with_text(text: str, reason: ReasonCode = "approver.not_allowed") -> Decision:
    """A decision that shows `text` wherever a decision shows text."""
    return Decision(
        reason=reason,
        message=text,
        hint=text,
        deployment={"repository": text, "sha": text, "environment": text, "actors": [text, text]},
        approvals=({"approver": text, "jti": text, "kid": text, "issued_at": 10**30, "expires_at": None},),
        record=text,
        checks=(Check("environment", "fail", text, text),),
    )


def test_an_allowed_deployment_sets_every_output_and_says_nothing_else(tmp_path: Path) -> None:
    outputs, summary, stdout = told(ALLOW, tmp_path)
    assert outputs == {
        "decision": "allow",
        "reason": "allowed",
        "approvers": "alice@example.com,bob",
        "jti": "J1,J2",
        "record": "file:///audit/acme/shop/production/1.json",
    }
    assert stdout == ""
    assert "✅ Deployment approved" in summary


def test_the_summary_answers_who_approved_what_and_when(tmp_path: Path) -> None:
    _, summary, _ = told(ALLOW, tmp_path)
    page = _Page(summary)
    for shown in ("acme/shop", "0123456789ab", "production", "alice@example.com", "bob", "deploy-bot"):
        assert shown in page.code
    assert "on 2026-11-30 00:53 UTC, good until 2026-11-30 01:03 UTC" in page.prose


def test_a_denial_is_annotated_once_with_its_reason_and_next_step(tmp_path: Path) -> None:
    denied = Decision("replay.used", "This approval was used already.", "Ask for a new one.", {}, ALLOW.approvals, None)
    outputs, summary, stdout = told(denied, tmp_path)
    assert stdout == (
        "::error title=Deployment blocked (replay.used)::This approval was used already. Ask for a new one.\n"
    )
    assert outputs["decision"] == "deny"
    assert outputs["approvers"] == outputs["jti"] == outputs["record"] == ""
    assert "Ask for a new one." in _Page(summary).prose


def test_a_check_that_warns_is_annotated_whatever_the_decision(tmp_path: Path) -> None:
    warned = replace(ALLOW, checks=(Check("checkout", "warn", "a checkout", "0123, but changed: a%0Ab\n::error::x"),))
    _, summary, stdout = told(warned, tmp_path)
    assert stdout == ("::warning title=The gate warns (checkout)::0123, but changed: a%250Ab\\n::error::x\n")
    assert "⚠️" in summary


def test_the_runner_is_deaf_to_all_but_the_annotation(tmp_path: Path) -> None:
    _, _, stdout = told(with_text("no"), tmp_path, GATE_STOP_COMMANDS=STOP)
    first, annotation, last, end = stdout.split("\n")
    assert (first, last, end) == (f"::{STOP}::", f"::stop-commands::{STOP}", "")
    assert annotation.startswith("::error title=")


@pytest.mark.parametrize(
    "word", ["", "T0", STOP[1:], STOP.upper(), f"{STOP}\n", f"error::forged {STOP}", "a::\n::add-path::/evil"]
)
def test_only_a_word_that_pre_deploy_would_make_is_taken_for_its_word(word: str, tmp_path: Path) -> None:
    _, _, stdout = told(with_text("no"), tmp_path, GATE_STOP_COMMANDS=word)
    assert stdout.startswith("::error title=")
    assert stdout.count("\n") == 1


def test_an_annotation_is_escaped_as_the_runner_unescapes_it(tmp_path: Path) -> None:
    _, _, stdout = told(with_text("100%0A: a,b"), tmp_path)
    assert stdout.endswith("::100%250A: a,b 100%250A: a,b\n")


@pytest.mark.parametrize("reason", get_args(ReasonCode))
def test_every_reason_can_be_announced(reason: ReasonCode, tmp_path: Path) -> None:
    outputs, summary, stdout = told(with_text("why", reason), tmp_path)
    assert outputs["reason"] == reason
    assert stdout.count("::error ") == (reason not in ("allowed", "dry_run"))
    assert stdout.count("::notice ") == (reason == "dry_run")
    assert _Page(summary)


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_stays_text(text: str, tmp_path: Path) -> None:
    _assert_inert(text, tmp_path)


@given(text=st.text(max_size=200))
def test_any_text_stays_text(text: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    _assert_inert(text, tmp_path_factory.getbasetemp())


def _assert_inert(text: str, folder: Path) -> None:
    allowed, _, _ = told(with_text(text, "allowed"), folder)
    assert all(value.isprintable() for value in allowed.values())
    outputs, summary, stdout = told(with_text(text), folder)
    assert set(outputs) == {"decision", "reason", "approvers", "jti", "record"}
    assert outputs["decision"] == "deny"
    assert all(value.isprintable() for value in outputs.values())
    assert stdout[:-1].isprintable()
    assert stdout.startswith("::error title=Deployment blocked (approver.not_allowed)::")
    page = _Page(summary)
    assert "\n\n" not in summary[:-2]
    assert not set("@#/[]`<>|") & set(page.prose.replace("Every check", ""))
    assert len(summary) < 64 * 1024


def test_prose_reads_as_prose_and_names_what_to_type(tmp_path: Path) -> None:
    _, summary, _ = told(
        with_text("Not JSON in UTF-8, says alice@example.com. Run `gate inspect TOKEN` (once)."), tmp_path
    )
    assert (
        "<p>Not JSON in UTF-8, says <code>alice@example.com</code>. Run <code>gate inspect TOKEN</code> (once).</p>"
    ) in summary


def test_an_output_that_cannot_be_written_blocks(tmp_path: Path) -> None:
    with pytest.raises(GateError, match="GITHUB_OUTPUT"):
        announce(ALLOW, {"GITHUB_OUTPUT": str(tmp_path / "no" / "such" / "folder")}, io.StringIO())


def test_a_request_is_a_notice_an_output_and_a_link(tmp_path: Path) -> None:
    output, summary, stdout = tmp_path / "output", tmp_path / "summary", io.StringIO()
    files = {"GITHUB_OUTPUT": str(output), "GITHUB_STEP_SUMMARY": str(summary)}
    url, shown = "https://gate.example.com/requests/x%20y?a=1&b=2", "https://gate.example.com/requests/x%2520y?a=1&b=2"
    deployment = Deployment("acme/shop", "0123456789abcdef0123456789abcdef01234567", "production")
    announce_request(url, deployment, files | {"GATE_STOP_COMMANDS": STOP}, stdout)
    assert stdout.getvalue().split("\n") == [
        f"::{STOP}::",
        f"::notice title=Approval needed::acme/shop at 0123456789ab for production: {shown}",
        f"::stop-commands::{STOP}",
        "",
    ]
    assert read_outputs(output.read_text()) == {"request-url": url}
    assert '<a href="https://gate.example.com/requests/x%20y?a=1&amp;b=2">' in summary.read_text()


def test_tokens_are_hidden_where_the_runner_listens() -> None:
    stdout = io.StringIO()
    hide(["t" * 5000, "u"], {"GATE_STOP_COMMANDS": STOP}, stdout)
    assert stdout.getvalue() == f"::{STOP}::\n::add-mask::{'t' * 5000}\n::add-mask::u\n::stop-commands::{STOP}\n"
    hide([], {"GATE_STOP_COMMANDS": STOP}, untouched := io.StringIO())
    assert untouched.getvalue() == ""


def test_outside_github_nothing_is_written(tmp_path: Path) -> None:
    stdout = io.StringIO()
    announce(ALLOW, {}, stdout)
    assert stdout.getvalue() == ""
