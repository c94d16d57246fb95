"""What AWS says when it refuses or takes for ever, and what people are told of it."""

from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from urllib.parse import parse_qs

import pytest

from gate import cloudformation
from gate.cloudformation import Plan, Stack
from gate.cloudformation.trouble import fit
from gate.errors import UsageError

DENIED = """<ErrorResponse><Error><Type>Sender</Type><Code>AccessDenied</Code><Message>User:
arn:aws:iam::111122223333:user/eve is not authorized</Message></Error><RequestId>r</RequestId></ErrorResponse>"""
ENDLESS = """<{action}Response><{action}Result><StackEvents><member><EventId>{count}</EventId><StackId>s</StackId>
<StackName>gate</StackName><LogicalResourceId>JtiTable</LogicalResourceId><ResourceType>AWS::DynamoDB::Table</ResourceType>
<ResourceStatus>CREATE_IN_PROGRESS</ResourceStatus><Timestamp>2026-11-23T00:00:00Z</Timestamp></member></StackEvents>
</{action}Result></{action}Response>"""
# What each question finds in it is an answer of its own: a stack, or a change set, or an event.
MIXED = """<{{action}}Response><{{action}}Result><Stacks><member><StackName>gate</StackName>
<StackStatus>{stack}</StackStatus><CreationTime>2026-11-23T00:00:00Z</CreationTime><Parameters>{parameters}</Parameters></member></Stacks>
<Status>FAILED</Status><StatusReason>no arn:aws:iam::111122223333:role/x</StatusReason><StackEvents><member>
<EventId>{{count}}</EventId><StackId>s</StackId><StackName>gate</StackName><LogicalResourceId>gate</LogicalResourceId>
<ResourceType>AWS::CloudFormation::Stack</ResourceType><ResourceStatus>ROLLBACK_COMPLETE</ResourceStatus>
<Timestamp>2026-11-23T00:00:00Z</Timestamp></member></StackEvents></{{action}}Result></{{action}}Response>"""
OLD, PARAMETERS = (
    "".join(f"<member><ParameterKey>{name}</ParameterKey><ParameterValue>x</ParameterValue></member>" for name in names)
    for names in (
        ("GitHubRepositories", "GitHubRepositoryIds", "GitHubEnvironments"),
        ("GitHubRepositories", "GitHubRepositoryIds", "GitHubEnvironments", "PolicyMaintainers"),
    )
)
LONG = (
    "User: arn:aws:sts::111122223333:assumed-role/ops/eve is not authorized to perform: dynamodb:CreateTable on "
    "resource: arn:aws:dynamodb:eu-west-1:111122223333:table/x because no policy allows it (Service: X, Request ID: 01)"
)


@contextmanager
def cloud(status: int, body: str) -> Iterator[Stack]:
    """A stack in a cloud that always gives one answer."""
    count = iter(range(1000))

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
            answer = body.replace("{count}", str(next(count))).replace("{action}", asked.get("Action", [""])[0])
            data = answer.encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *args: object) -> None:
            """Silence."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield Stack("gate", {"region": "eu-west-1", "endpoint": f"http://127.0.0.1:{server.server_port}"})
    finally:
        server.shutdown()
        server.server_close()


@pytest.fixture(autouse=True)
def credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDFAKE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "fake")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


def test_no_permission_is_told_without_arn_and_with_a_way_on() -> None:
    with cloud(403, DENIED) as stack:
        for call in (lambda: stack.plan({}), stack.outputs, stack.public_key):
            with pytest.raises(UsageError) as raised:
                call()
            assert "AWS denies access" in raised.value.message
            assert "docs/aws.md" in raised.value.hint
            assert "arn:" not in f"{raised.value.message}{raised.value.actual}{raised.value.hint}"


def test_a_list_of_providers_that_may_not_be_seen_is_told() -> None:
    error = "<Error><Code>ValidationError</Code><Message>gate does not exist</Message></Error>"
    with cloud(400, f"<ErrorResponse>{error}</ErrorResponse>") as stack:
        given = dict.fromkeys(("GitHubRepositories", "GitHubRepositoryIds", "GitHubEnvironments"), "x")
        with pytest.raises(UsageError, match="does not take what the list of identity providers"):
            stack.plan(given)
        with pytest.raises(UsageError, match="does not exist in this region"):
            stack.outputs()


def test_what_aws_does_not_take_is_told_in_its_words_without_arns() -> None:
    with cloud(400, DENIED.replace("AccessDenied", "ValidationError")) as stack, pytest.raises(UsageError) as raised:
        stack.plan({})
    assert raised.value.message == "AWS does not take what the stack gate is to be."
    assert raised.value.actual == "User:\\n… is not authorized"


@pytest.mark.parametrize(
    ("status", "says"),
    [("UPDATE_IN_PROGRESS", "being changed right now"), ("CREATE_COMPLETE", "can't be planned: no …")],
)
def test_a_stack_that_can_not_be_planned_says_why(status: str, says: str) -> None:
    with cloud(200, MIXED.format(stack=status, parameters=PARAMETERS)) as stack, pytest.raises(UsageError, match=says):
        stack.plan({})


def test_a_stack_without_maintainers_needs_to_know_who_asks() -> None:
    says = "who asks .STS. gave no answer"
    body = MIXED.format(stack="CREATE_COMPLETE", parameters=OLD)
    with cloud(200, body) as stack, pytest.raises(UsageError, match=says):
        stack.plan({})


def test_a_bad_end_without_a_reason_is_a_failure_too() -> None:
    says = "The stack gate ended as ROLLBACK_COMPLETE"
    with cloud(200, MIXED.format(stack="", parameters="")) as stack, pytest.raises(UsageError, match=says):
        list(stack.carry_out(Plan("p", creates=True, steps=())))


def test_a_plan_that_can_not_be_forgotten_does_no_harm() -> None:
    with cloud(403, DENIED) as stack:
        stack.discard(Plan("p", creates=True, steps=()))
        stack.discard(Plan("p", creates=False, steps=()))


def test_the_wait_has_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cloudformation, "PATIENCE", 0.3)
    with cloud(200, ENDLESS) as stack:
        told = stack.carry_out(Plan("p", creates=True, steps=()))
        assert next(told).resource == next(told).resource == "JtiTable"
        with pytest.raises(UsageError, match="still changes after"):
            list(told)


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        (
            LONG,
            "User: … is not authorized to perform: dynamodb:CreateTable on resource: … because no policy allows it …",
        ),
        ("Account 111122223333 has too many roles (RequestToken: ab-12)", "Account … has too many roles …"),
        ("two\nlines \x1b[31m", "two\\nlines \\x1b[31m"),
        ("", ""),
    ],
)
def test_a_reason_of_aws_is_shown_without_arns_accounts_and_request_ids(said: str, shown: str) -> None:
    assert fit(said) == shown
