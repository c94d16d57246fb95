"""`gate request` and `gate verify --deploy-bot`, run as a job runs them, against a bot that does what the test says."""

import json
import re
import subprocess
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.ci import fakebot
from tests.ci.conftest import Shop, Tree
from tests.ci.fakebot import API_TOKEN, ID_TOKEN, REQUEST_TOKEN, FakeBot, Request, id_token
from tests.ci.runs import RUNS, SHA
from tests.ci.test_actions import read_outputs
from tests.test_cli import gate
from tests.world import ALICE, BOB, World

ABOUT = ("--repository", "acme/shop", "--sha", SHA, "--environment", "production")
CREDENTIAL = {"GATE_BOT_TOKEN": f" {API_TOKEN}\n"}

Done = subprocess.CompletedProcess[str]


@pytest.fixture
def bot() -> Iterator[FakeBot]:
    with fakebot.running_bot() as bot:
        yield bot


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path, now=time.time())


def approves(world: World, *approvers: str) -> Any:
    """What makes `approvers` approve a request, as the real bot would: bound to the request and to the run."""

    def approve(request: Request) -> None:
        asked = request.asked
        for approver in approvers:
            about = {name: asked[name] for name in ("sha", "run_id")} | {"request_id": request.id}
            request.approve(approver, world.token(approver, **about))

    return approve


def ask(world: World, bot: FakeBot, *more: str, env: Mapping[str, str] = CREDENTIAL, command: str = "request") -> Done:
    done = gate(world.folder, command, "--deploy-bot", bot.url, *ABOUT, *more, env=env)
    assert "Traceback" not in done.stderr
    _assert_nothing_leaks(bot, done.stderr if command == "request" else done.stdout + done.stderr)
    return done


def verify(world: World, bot: FakeBot, *more: str, env: Mapping[str, str] = CREDENTIAL) -> tuple[int, dict[str, Any]]:
    done = ask(world, bot, "--json", *more, env=env, command="verify")
    return done.returncode, json.loads(done.stdout)


def _assert_nothing_leaks(bot: FakeBot, shown: str) -> None:
    """No token and no secret in what people see, but where GitHub is told to hide it."""
    shown = re.sub(r"^::add-mask::.*$", "", shown, flags=re.M)
    secrets = [API_TOKEN, ID_TOKEN, REQUEST_TOKEN]
    for request in bot.requests.values():
        secrets += [request.secret, *(token for _, token in request.approvals)]
    assert [secret for secret in secrets if secret in shown] == []


# --- gate request ---------------------------------------------------------------------------------------------------


def test_request_prints_the_link_for_people_and_the_tokens_for_the_job(world: World, bot: FakeBot) -> None:
    bot.needed = 2
    bot.on_ask = approves(world, ALICE)
    bot.on_poll = [approves(world, BOB)]
    done = ask(world, bot, "--run-id", "7001", "--actor", "carol")
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [token for _, token in bot.only.approvals]
    assert done.stderr.splitlines() == [
        f"gate: approval asked for: {bot.url}/requests/{bot.only.id}",
        "gate: waiting for at most 30m: 1 of 2 approvals (alice@example.com)",
        "gate: approved: 2 of 2 approvals (alice@example.com, bob@example.com)",
    ]
    asked = bot.only.asked
    assert (asked["run_id"], asked["attempt"], asked["actors"], asked["rerun"]) == ("7001", 0, ["carol"], False)


def test_what_request_gives_is_what_verify_takes(world: World, bot: FakeBot) -> None:
    bot.on_ask = approves(world, ALICE)
    answer = json.loads(ask(world, bot, "--json").stdout)
    assert set(answer) == {
        "request_id", "url", "status", "needed", "approvers", "expires_at", "tokens", "reason", "message",
    }  # fmt: skip
    assert (answer["status"], answer["reason"], answer["approvers"]) == ("approved", None, [ALICE])
    env = {"GATE_APPROVALS": " ".join(answer["tokens"])}
    assert gate(world.folder, "verify", *ABOUT, env=env).returncode == 1
    assert gate(world.folder, "verify", *ABOUT, "--request-id", answer["request_id"], env=env).returncode == 0


def test_request_that_only_asks_ends_with_one(world: World, bot: FakeBot) -> None:
    done = ask(world, bot, "--wait", "0")
    assert (done.returncode, done.stdout) == (1, "")
    assert f"Once it is approved at {bot.url}/requests/{bot.only.id} " in done.stderr
    assert [call[0] for call in bot.calls] == ["POST"]
    bot.only.approve(ALICE, world.token(sha=SHA, request_id=bot.only.id))
    again = ask(world, bot, "--wait", "0")
    assert (again.returncode, again.stdout) == (0, f"{bot.only.approvals[0][1]}\n")


def test_request_that_is_declined_says_who_and_why(world: World, bot: FakeBot) -> None:
    bot.on_ask = lambda request: request.decline(BOB, "not on a Friday")
    done = ask(world, bot, "--json")
    assert done.returncode == 1
    answer = json.loads(done.stdout)
    assert (answer["status"], answer["reason"], answer["tokens"]) == ("declined", "approval.declined", [])
    assert "bob@example.com declined: not on a Friday" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--wait", "soon"), "no time to wait"),
        (("--wait", ""), "no time to wait"),
        (("--deploy-bot", ""), "Which deploy-bot?"),
        (("--deploy-bot", "http://gate.example.com"), "not one that a token may be sent to"),
        (("--environment", ""), "Which environment?"),
    ],
)
def test_request_says_what_makes_no_sense(arguments: tuple[str, ...], said: str, world: World, bot: FakeBot) -> None:
    done = ask(world, bot, *arguments)
    assert (done.returncode, done.stdout, bot.calls) == (2, "", [])
    assert said in done.stderr


@pytest.mark.parametrize(
    ("env", "proves"),
    [
        ({"GATE_ID_TOKEN": "{id_token}", **CREDENTIAL}, "{id_token}"),
        ({"GATE_ID_TOKEN": "", **CREDENTIAL}, API_TOKEN),
        ({"ACTIONS_ID_TOKEN_REQUEST_URL": "{url}/github-id-token?v=2", **CREDENTIAL}, API_TOKEN),
        (
            {
                "ACTIONS_ID_TOKEN_REQUEST_URL": "{url}/github-id-token?v=2",
                "ACTIONS_ID_TOKEN_REQUEST_TOKEN": REQUEST_TOKEN,
                **CREDENTIAL,
            },
            ID_TOKEN,
        ),
    ],
)
def test_the_job_proves_itself_by_the_best_that_it_has(
    env: Mapping[str, str], proves: str, world: World, bot: FakeBot
) -> None:
    given = {"url": bot.url, "id_token": id_token(bot.url)}
    ask(world, bot, "--wait", "0", env={name: value.format(**given) for name, value in env.items()})
    assert next(call[3] for call in bot.calls if call[0] == "POST") == f"Bearer {proves.format(**given)}"


@pytest.mark.parametrize(
    "audience", ["https://gate.example.com", ["{url}", "https://other.example"], "{url}/", None, 7, []]
)
def test_a_token_made_for_another_bot_is_not_sent_to_this_one(audience: Any, world: World, bot: FakeBot) -> None:
    """Whoever may set the URL, an earlier step or a pipeline's variable, does not get the token of the real bot."""
    text = json.dumps(audience).replace("{url}", bot.url)
    done = ask(world, bot, "--wait", "0", env={"GATE_ID_TOKEN": id_token(json.loads(text))})
    assert (done.returncode, bot.calls) == (2, [])
    assert "made for another than this deploy-bot" in done.stderr
    broken = ask(world, bot, "--wait", "0", env={"GATE_ID_TOKEN": "no.jwt"})
    assert (broken.returncode, bot.calls) == (2, [])


@pytest.mark.parametrize(
    ("ci", "said"),
    [
        ("github", "`id-token: write`"),
        ("gitlab", "id_tokens: {{GATE_ID_TOKEN: {{aud: {url}}}}}"),
        ("jenkins", "GATE_BOT_TOKEN"),
    ],
)
def test_a_job_that_can_prove_nothing_is_told_what_to_add(ci: str, said: str, world: World, bot: FakeBot) -> None:
    env = RUNS[ci] | {name: str(world.folder) for name in RUNS[ci] if RUNS[ci][name] == "/w/shop"}
    done = ask(world, bot, "--from-ci", env=env)
    assert (done.returncode, bot.calls) == (2, [])
    assert said.format(url=bot.url) in done.stderr


@pytest.mark.parametrize(
    ("attempt", "code", "asked"), [("2", 1, [2]), ("", 1, [0]), ("0", 2, []), ("x", 2, []), ("1" * 20, 2, [])]
)
def test_github_says_which_attempt_it_is(attempt: str, code: int, asked: list[int], world: World, bot: FakeBot) -> None:
    env = RUNS["github"] | CREDENTIAL | {"GITHUB_WORKSPACE": str(world.folder), "GITHUB_RUN_ATTEMPT": attempt}
    assert ask(world, bot, "--from-ci", "--wait", "0", env=env).returncode == code
    assert [request.asked["attempt"] for request in bot.requests.values()] == asked


def test_request_on_github_hides_the_tokens_before_it_prints_them(world: World, bot: FakeBot, tmp_path: Path) -> None:
    bot.on_ask = approves(world, ALICE)
    files = {"GITHUB_OUTPUT": str(tmp_path / "output"), "GITHUB_STEP_SUMMARY": str(tmp_path / "summary")}
    done = ask(world, bot, "--from-ci", env=RUNS["github"] | CREDENTIAL | files | {"GITHUB_WORKSPACE": str(tmp_path)})
    assert f"::add-mask::{bot.only.approvals[0][1]}" in done.stderr.splitlines()
    assert "::notice title=Approval needed::acme/shop at 0123456789ab for production: http" in done.stderr
    assert done.stdout == f"{bot.only.approvals[0][1]}\n"
    assert f'<a href="{bot.url}/requests/{bot.only.id}">' in (tmp_path / "summary").read_text()


# --- gate verify ----------------------------------------------------------------------------------------------------


def test_verify_asks_waits_and_allows_once(world: World, bot: FakeBot) -> None:
    bot.on_poll = [approves(world, ALICE)]
    code, answer = verify(world, bot, "--run-id", "7001")
    assert (code, answer["decision"]) == (0, "allow"), answer
    assert answer["deployment"]["request_id"] == bot.only.id
    code, answer = verify(world, bot, "--run-id", "7001")
    assert (code, answer["reason"]) == (1, "replay.used")


def test_verify_shows_the_link_and_the_progress_on_stderr(world: World, bot: FakeBot) -> None:
    bot.on_ask = approves(world, ALICE)
    done = ask(world, bot, command="verify")
    assert done.stdout.startswith("ALLOWED")
    assert done.stderr == f"gate: approval asked for: {bot.url}/requests/{bot.only.id}\n"


def test_tokens_from_the_bot_and_from_elsewhere_count_together(world: World, bot: FakeBot) -> None:
    world.approvals = 2
    world.path.write_text(world.text)
    bot.on_ask = approves(world, ALICE)
    more = CREDENTIAL | {"GATE_APPROVALS": world.token(BOB, sha=SHA)}
    code, answer = verify(world, bot, env=more)
    assert (code, [approval["approver"] for approval in answer["approvals"]]) == (0, [BOB, ALICE])


def test_a_token_for_another_request_is_denied(world: World, bot: FakeBot) -> None:
    bot.on_ask = lambda request: request.approve(ALICE, world.token(sha=SHA, request_id="another"))
    code, answer = verify(world, bot)
    assert (code, answer["reason"]) == (1, "run.mismatch")


def test_a_forged_token_from_the_bot_is_denied(world: World, bot: FakeBot) -> None:
    bot.on_ask = lambda request: request.approve(ALICE, "eyJhIjoxfQ.eyJiIjoxfQ.c2ln")
    code, answer = verify(world, bot)
    assert (code, answer["reason"]) == (1, "token.malformed")


def test_verify_that_is_declined_is_denied(world: World, bot: FakeBot) -> None:
    bot.on_ask = lambda request: request.decline(BOB, "not on a Friday")
    code, answer = verify(world, bot)
    assert (code, answer["decision"], answer["reason"]) == (1, "deny", "approval.declined")
    assert answer["message"] == "bob@example.com declined: not on a Friday"
    assert answer["deployment"]["sha"] == SHA
    assert [(check["name"], check["status"]) for check in answer["checks"]] == [("request", "fail"), ("record", "pass")]
    text = ask(world, bot, command="verify")
    assert text.stdout.startswith("DENIED  bob@example.com declined: not on a Friday  [approval.declined]")
    record = json.loads(Path(answer["record"].removeprefix("file://")).read_text())
    assert (record["decision"], record["reason"], record["approvals"]) == ("deny", "approval.declined", [])
    assert (record["message"], record["deployment"]["request_id"]) == (answer["message"], bot.only.id)


def test_a_refusal_that_can_t_be_recorded_is_one(world: World, bot: FakeBot) -> None:
    def decline(request: Request) -> None:
        request.decline(BOB, "not on a Friday")
        (world.folder / "audit").write_text("no folder")  # the log was there when people were asked

    bot.on_ask = decline
    code, answer = verify(world, bot)
    assert (code, answer["reason"], answer["record"]) == (1, "approval.declined", None)
    assert [(check["name"], check["status"]) for check in answer["checks"]] == [("request", "fail"), ("record", "fail")]


def test_verify_that_nobody_approves_in_time_is_denied(world: World, bot: FakeBot) -> None:
    code, answer = verify(world, bot, "--wait", "1s")
    assert (code, answer["reason"], answer["message"]) == (1, "token.missing", "Nobody approved in time.")
    assert bot.only.id in answer["hint"]
    assert json.loads(Path(answer["record"].removeprefix("file://")).read_text())["reason"] == "token.missing"


def test_verify_that_ran_out_is_denied(world: World, bot: FakeBot) -> None:
    bot.on_ask = lambda request: setattr(request, "status", "expired")
    code, answer = verify(world, bot)
    assert (code, answer["reason"]) == (1, "token.missing")
    assert "ran out" in answer["message"]


def test_verify_that_is_to_be_run_again_ends_at_once(world: World, bot: FakeBot) -> None:
    code, answer = verify(world, bot, "--rerun", "--wait", "6h")
    assert (code, answer["reason"]) == (1, "token.missing")
    assert answer["message"] == "It is not approved yet."
    assert "runs this job again" in answer["hint"]
    assert (answer["record"], list(world.folder.glob("audit/**/*.json"))) == (None, []), "nobody has decided anything"
    assert (bot.only.asked["rerun"], len(bot.calls)) == (True, 1)
    assert "waits" not in bot.only.asked, "an older bot would refuse it"
    approves(world, ALICE)(bot.only)
    assert verify(world, bot, "--rerun")[0] == 0


def test_verify_waits_out_what_is_not_the_bots_own_answer(world: World, bot: FakeBot) -> None:
    bot.on_ask = approves(world, ALICE)
    bot.faults = [fakebot.raw(b"<html>", 404)]
    done = ask(world, bot, command="verify")
    assert done.returncode == 0, done.stderr
    assert "gate: The deploy-bot gave no answer of its own (HTTP 404); trying again for at most 240 s" in done.stderr


def test_verify_without_its_bot_could_not_decide(world: World, bot: FakeBot) -> None:
    bot.faults = [fakebot.status(503, Retry_After="3600")]
    code, answer = verify(world, bot)
    assert (code, answer["decision"], answer["reason"]) == (3, "error", "bot.unavailable")


def test_verify_that_the_bot_refuses_is_a_matter_of_configuration(world: World, bot: FakeBot) -> None:
    bot.faults = [fakebot.status(403)]
    code, answer = verify(world, bot)
    assert (code, answer["decision"], answer["reason"]) == (2, "error", "usage.invalid")
    assert answer["message"] == "The deploy-bot refuses: said 403"


def test_people_are_not_asked_where_the_gate_cannot_decide(world: World, bot: FakeBot) -> None:
    assert verify(world, bot, "--policy-sha256", "0" * 64)[0] == 2
    assert verify(world, bot, "--request-id", "mine")[0] == 2
    assert bot.calls == []


# --- as GitHub and other CIs run it ---------------------------------------------------------------------------------


def _on_github(shop: Shop, bot: FakeBot, tmp_path: Path) -> dict[str, str]:
    real = {SHA: shop.head, "/w/shop": str(shop.checkout)}
    files = {"GITHUB_OUTPUT": str(tmp_path / "output"), "GITHUB_STEP_SUMMARY": str(tmp_path / "summary")}
    files["GATE_DEPLOY_BOT"] = bot.url
    return {name: real.get(value, value) for name, value in RUNS["github"].items()} | CREDENTIAL | files


def _pre_deploy(tree: Tree, shop: Shop, env: Mapping[str, str], *more: str) -> Done:
    return tree.run(shop.checkout, env, "--environment", "production", "--policy", str(shop.world.path), *more)


def test_on_github_the_link_comes_first_and_the_tokens_are_masked(
    tree: Tree, shop: Shop, bot: FakeBot, tmp_path: Path
) -> None:
    bot.on_ask = approves(shop.world, ALICE)
    done = _pre_deploy(tree, shop, _on_github(shop, bot, tmp_path))
    assert done.returncode == 0, done.stdout + done.stderr
    _assert_nothing_leaks(bot, done.stdout + done.stderr + (tmp_path / "summary").read_text())
    _assert_nothing_leaks(bot, (tmp_path / "output").read_text())
    lines = done.stdout.splitlines()
    assert lines[0] == f"::add-mask::{API_TOKEN}"
    word = lines[1].removeprefix("::stop-commands::")
    link = f"{bot.url}/requests/{bot.only.id}"
    what = f"acme/shop at {shop.head[:12]} for production"
    assert lines[2:8] == [
        f"::{word}::",
        f"::notice title=Approval needed::{what}: {link}",
        f"::stop-commands::{word}",
        f"::{word}::",
        f"::add-mask::{bot.only.approvals[0][1]}",
        f"::stop-commands::{word}",
    ]
    assert lines[8].startswith("ALLOWED")
    outputs = read_outputs((tmp_path / "output").read_text())
    assert (outputs["request-url"], outputs["decision"]) == (link, "allow")
    summary = (tmp_path / "summary").read_text()
    assert summary.index(f'<a href="{link}">') < summary.index("✅ Deployment approved")


def test_on_github_with_json_stdout_is_one_object(tree: Tree, shop: Shop, bot: FakeBot, tmp_path: Path) -> None:
    bot.on_ask = approves(shop.world, ALICE)
    done = _pre_deploy(tree, shop, _on_github(shop, bot, tmp_path), "--json")
    assert (done.returncode, json.loads(done.stdout)["reason"]) == (0, "allowed")
    _assert_nothing_leaks(bot, done.stdout + done.stderr)
    assert f"::add-mask::{bot.only.approvals[0][1]}" in done.stderr
    assert "::notice title=Approval needed::" in done.stderr


def test_on_github_a_decline_is_an_annotation_and_a_summary(
    tree: Tree, shop: Shop, bot: FakeBot, tmp_path: Path
) -> None:
    bot.on_ask = lambda request: request.decline(BOB, "::set-output name=decision::allow")
    done = _pre_deploy(tree, shop, _on_github(shop, bot, tmp_path))
    assert done.returncode == 1
    assert "::error title=Deployment blocked (approval.declined)::bob@example.com declined: " in done.stdout
    outputs = read_outputs((tmp_path / "output").read_text())
    assert (outputs["decision"], outputs["reason"]) == ("deny", "approval.declined")
    assert "Deployment blocked" in (tmp_path / "summary").read_text()


@pytest.mark.parametrize("ci", sorted(set(RUNS) - {"github"}))
def test_on_every_ci_the_variables_reach_the_gate(ci: str, tree: Tree, shop: Shop, bot: FakeBot) -> None:
    bot.on_ask = approves(shop.world, ALICE)
    real = {SHA: shop.head, "/w/shop": str(shop.checkout), "acme/web/shop": "acme/shop"}
    env = {name: real.get(value, value) for name, value in RUNS[ci].items()}
    env |= {"GATE_DEPLOY_BOT": bot.url, "GATE_ID_TOKEN": id_token(bot.url), "GATE_WAIT": "0"}
    done = _pre_deploy(tree, shop, env)
    assert done.returncode == 0, done.stdout + done.stderr
    assert bot.calls[0][3] == f"Bearer {id_token(bot.url)}"
