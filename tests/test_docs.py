"""The documentation is true: commands run as written, tables are complete, links lead somewhere."""

import base64
import importlib.util
import json
import os
import re
import shlex
import shutil
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import get_args
from xml.etree import ElementTree

import click
import pytest
import yaml

from gate.audit import open_audit_log
from gate.canonical import canonical
from gate.cli import cli
from gate.errors import ReasonCode, exit_code
from gate.keys import PublicKey
from gate.policyfile import compile_policy
from gate.proof import FaultKind
from gate.record import DECISION_RULES, EVENT_RULES, EventKind, Happened, parse
from gate.replay import open_replay_store
from gate.tokens import _CLAIMS as CLAIM_RULES
from gate.tokens import decode
from gate.trace import CheckName
from tests.pages import ALL_BLOCKS, PAGES, REFERENCE, ROOT, Block, Shell, blocks
from tests.parts import Aws, need


def name_of(value: object) -> str:
    return value.name if isinstance(value, Path) else str(value)


def pages_with(mark: str) -> list[Path]:
    return [page for page in PAGES if any(block.mark == mark for block in blocks(page))]


# --- commands -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("page", pages_with("run"), ids=name_of)
def test_commands_run_as_written(page: Path, tmp_path: Path) -> None:
    Shell(tmp_path, {}).play(page, "run")


@pytest.mark.parametrize(
    "origin", ["git@gitlab.com:Alice/web/blog.git", "https://git.example.com/scm/PAY/ledger.git"], ids=["group", "scm"]
)
def test_the_first_page_runs_in_any_clone(tmp_path: Path, origin: str) -> None:
    Shell(tmp_path, {}, origin=origin).play(PAGES[0], "run")


@pytest.mark.parametrize("page", pages_with("run aws"), ids=name_of)
def test_aws_commands_make_what_the_doctor_finds_healthy(page: Path, tmp_path: Path, aws: Aws) -> None:
    need(shutil.which("aws", path=Path(sys.executable).parent) is not None, "AWS command line (pip install awscli)")
    mine = {name: value for name, value in os.environ.items() if name.startswith(("AWS_", "NO_PROXY"))}
    shell = Shell(tmp_path, {**mine, "AWS_ENDPOINT_URL": aws.endpoint, "AWS_DEFAULT_REGION": aws.region})
    table, bucket, where = "deploy-gate-jti", "acme-deploy-audit", f"region={aws.region}&endpoint={aws.endpoint}"
    shell.play(page, "run aws")
    findings = [
        *open_replay_store(f"dynamodb://{table}?{where}", None).diagnose(),
        *open_audit_log(f"s3://{bucket}/prod?{where}", None).diagnose(),
    ]
    left_over = [finding.message for finding in findings if finding.severity != "ok"]
    if page.name == "README.md":  # which says that the bucket's policy is still to come
        left_over = [message for message in left_over if not message.startswith("its policy does not")]
    assert left_over == []
    assert len(findings) >= 5
    aws.client("s3").delete_bucket(Bucket=bucket)  # the next page makes both too
    aws.client("dynamodb").update_table(TableName=table, DeletionProtectionEnabled=False)
    aws.client("dynamodb").delete_table(TableName=table)


@pytest.mark.parametrize("page", [PAGES[0], ROOT / "docs/reference.md"], ids=name_of)
def test_python_runs_as_written(page: Path, tmp_path: Path) -> None:
    shell = Shell(tmp_path, {})
    approve = "gate approve --policy ~/policy/gate.yaml --environment production --approver alice@example.com"
    setup = f"gate init ~/policy --approver alice@example.com; cd ~/shop; TOKEN=$({approve}); SHA=$(git rev-parse HEAD)"
    assert shell.run(setup)[0] == 0
    (block,) = [block for block in blocks(page) if block.language == "python"]
    given = "import os\ntoken, sha = os.environ['TOKEN'], os.environ['SHA']\n"
    (tmp_path / "policy/example.py").write_text(given + block.text)
    run = f"cd ~/policy && {shlex.quote(sys.executable)} example.py"
    assert shell.run(run) == (0, "")
    code, printed = shell.run(run)
    assert (code, printed[:11]) == (1, "replay.used")


def test_every_block_of_commands_says_whether_it_is_run() -> None:
    unmarked = [block.where for block in ALL_BLOCKS if block.language == "sh" and not block.mark]
    assert unmarked == []
    known = r"|run( aws)?( exit=\d)?|prints|not run: .+"
    assert [block for block in ALL_BLOCKS if not re.fullmatch(known, block.mark)] == []


# --- policies, tokens, JSON -----------------------------------------------------------------------------------------


POLICIES = [block for block in ALL_BLOCKS if block.language == "yaml" and block.text.startswith("version: 1\n")]


@pytest.mark.parametrize("block", POLICIES, ids=lambda block: block.where)
def test_every_policy_compiles(block: Block) -> None:
    compile_policy(block.text.encode())


def test_all_other_yaml_and_json_can_be_read() -> None:
    for block in ALL_BLOCKS:
        if block.language == "yaml":
            yaml.safe_load(block.text)
        if block.language == "json":
            json.loads(block.text)


def test_every_field_of_the_policy_is_documented() -> None:
    text = (ROOT / "docs/policy.md").read_text()
    source = "".join(
        (ROOT / "gate" / name).read_text() for name in ("policyfile.py", "keyfields.py", "passkeyfields.py")
    )
    for field in re.findall(r'(?:required|optional)\("(\w+)"', source):
        assert re.search(rf"`[a-z_.*\[\]]*\b{field}`", text), field


def test_the_example_token_is_what_the_page_says() -> None:
    page = ROOT / "docs/token.md"
    header, claims = (json.loads(block.text) for block in blocks(page) if block.language == "json")
    (token,) = (block.text.strip() for block in blocks(page) if block.language == "text")
    approval = decode(token)
    assert (approval.alg, approval.kid, dict(approval.claims)) == (header["alg"], header["kid"], claims)
    (published,) = re.findall(r"public key `([A-Za-z0-9+/=]+)`", page.read_text())
    assert PublicKey(base64.b64decode(published)).verify(approval.signature, approval.signing_input)


@pytest.mark.parametrize(
    ("page", "words"),
    [
        ("token.md", CLAIM_RULES),
        ("audit.md", DECISION_RULES),
        ("audit.md", get_args(EventKind)),
        ("audit.md", get_args(FaultKind)),
    ],
)
def test_every_claim_member_and_fault_is_documented(page: str, words: Iterable[str]) -> None:
    text = (ROOT / "docs" / page).read_text()
    assert [word for word in words if f"`{word}`" not in text] == []


@pytest.mark.parametrize(("section", "rules"), [("A record", DECISION_RULES), ("An event", EVENT_RULES)])
def test_the_tables_of_members_are_complete_and_right(section: str, rules: Mapping[str, object]) -> None:
    text = (ROOT / "docs/audit.md").read_text().partition(f"\n## {section}\n")[2].partition("\n## ")[0]
    names = [name for row in re.findall(r"^\| (`.*?`) \| ", text, re.M) for name in re.findall(r"`(\w+)`", row)]
    assert sorted(names) == sorted(rules)


def test_the_example_event_is_one() -> None:
    (block,) = [block for block in blocks(ROOT / "docs/audit.md") if block.language == "json"]
    members = json.loads(block.text)
    assert isinstance(parse(canonical(members)), Happened)
    assert members.keys() == EVENT_RULES.keys()


def test_the_iam_documents_grant_what_the_backends_say_they_need() -> None:
    documents = [json.loads(block.text) for block in blocks(ROOT / "docs/operations.md") if block.language == "json"]
    actions = {
        action
        for document in documents
        for statement in document["Statement"]
        for action in ([statement["Action"]] if isinstance(statement["Action"], str) else statement["Action"])
    }
    backends = ("replay/dynamodb.py", "audit/s3.py", "signers/kmspolicy.py")
    docstrings = "".join((ROOT / "gate" / backend).read_text() for backend in backends)
    forbidden = {"s3:DeleteObject", "s3:BypassGovernanceRetention"}
    assert actions == set(re.findall(r"`((?:dynamodb|s3|kms):\w+)`", docstrings)) - forbidden


# --- the reference --------------------------------------------------------------------------------------------------


def _commands(group: click.Group, prefix: str = "gate") -> Iterator[tuple[str, click.Command]]:
    with click.Context(group) as context:
        for name in group.list_commands(context):
            command = group.get_command(context, name)
            assert command is not None
            if isinstance(command, click.Group):
                yield from _commands(command, f"{prefix} {name}")
            else:
                yield f"{prefix} {name}", command


COMMANDS = dict(_commands(cli))


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_is_in_the_reference_with_an_example_and_its_options(name: str) -> None:
    command = COMMANDS[name]
    assert command.help
    assert name in command.help, "its help shows no example"
    section = re.search(rf"^### {name}\n(.*?)(?=^##|\Z)", REFERENCE, re.M | re.S)
    assert section, f"docs/reference.md has no section ### {name}"
    assert f"$ {name}" in section[1]
    for parameter in command.params:
        if isinstance(parameter, click.Option) and not parameter.hidden:
            assert parameter.help, parameter.name
            assert f"`{parameter.opts[0]}`" in section[1], parameter.opts[0]


def test_the_reference_has_no_command_that_is_none() -> None:
    assert set(re.findall(r"^### (gate .*)$", REFERENCE, re.M)) == set(COMMANDS)


EXAMPLES = [
    line.partition("gate ")[2]
    for block in ALL_BLOCKS
    if block.language == "console"
    for line in block.text.replace("\\\n", " ").splitlines()
    if line.startswith("$ ")
]


@pytest.mark.parametrize("example", EXAMPLES)
def test_every_example_has_options_that_exist(example: str) -> None:
    command: click.Command = cli
    words = shlex.split(re.split(r" (?:<|\||&&) ", example)[0])
    while isinstance(command, click.Group):
        found = command.get_command(click.Context(command), words.pop(0))
        assert found
        command = found
    command.make_parser(click.Context(command)).parse_args(words)


def test_the_table_of_reason_codes_is_complete_and_right() -> None:
    table = dict(re.findall(r"^\| `([a-z_.]+)` \| (\d) \| [^|]+ \| [^|]+ \|$", REFERENCE, re.M))
    assert table == {code: str(exit_code(code)) for code in get_args(ReasonCode)}


def test_the_table_of_checks_is_in_the_order_in_which_they_are_made() -> None:
    section = REFERENCE.partition("## Verification")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| `(\w+)` \|.*\| (.*) \|$", section, re.M)
    assert [name for name, _ in rows] == [name.value for name in CheckName]
    codes = {code for _, text in rows for code in re.findall(r"`([a-z_.]+)`", text)}
    elsewhere = {"allowed", "policy.invalid", "usage.invalid", "internal.error", "dry_run"}
    elsewhere |= {"approval.declined", "bot.unavailable"}  # before there is anything to check
    assert codes == set(get_args(ReasonCode)) - elsewhere


def test_every_environment_variable_is_documented() -> None:
    for path in (ROOT / "gate").rglob("*.py"):
        text = path.read_text()
        page = (ROOT / "docs/ci.md").read_text() if path.name == "ci.py" else REFERENCE
        names = set(re.findall(r'(?:envvar=|environ(?:\.get\(|\[)|environ, |read\()"([A-Z_0-9]{3,})"', text))
        assert [name for name in sorted(names - {"PATH"}) if f"`{name}`" not in page] == [], path


def test_the_action_is_documented() -> None:
    action = yaml.safe_load((ROOT / "action.yml").read_text())
    page = (ROOT / "docs/ci.md").read_text()
    assert [name for name in (*action["inputs"], *action["outputs"]) if f"| `{name}` |" not in page] == []
    for block in ALL_BLOCKS:
        if block.language == "yaml" and "/deploy-gate@" in block.text:
            step = next(step for step in yaml.safe_load(block.text) if "/deploy-gate@" in step["uses"])
            assert set(step["with"]) <= set(action["inputs"])
            assert {name for name, given in action["inputs"].items() if given.get("required")} <= set(step["with"])


# --- links, words, the picture --------------------------------------------------------------------------------------


def _anchors(page: Path) -> set[str]:
    """The ids that GitHub gives to the headings of a page."""
    headings = re.findall(r"^#+ (.*)$", re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.M | re.S), re.M)
    return set(map(_anchor, headings))


def _anchor(heading: str) -> str:
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_lead_somewhere(page: Path) -> None:
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.S)
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        if link.startswith("https://"):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        assert not anchor or anchor in _anchors(target), link


def test_what_the_code_refers_to_exists() -> None:
    sources = [*(ROOT / "gate").rglob("*.py"), ROOT / "scripts/pre-deploy", ROOT / "action.yml"]
    for source in sources:
        for name, section in re.findall(r'(docs/[\w/.-]+\.\w+)(?:, "([^"]+)")?', source.read_text()):
            assert (ROOT / name).exists(), f"{source}: {name}"
            assert not section or _anchor(section) in _anchors(ROOT / name), f"{source}: {name}, {section}"


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_no_word_of_where_it_was_written(page: Path) -> None:
    words = r"[/]work[/]|[/]root[/]|\bproduct[.]md|\bfacts[.]md|pypi[.]org|pythonhosted|registry[.]npmjs|TODO|FIXME"
    assert re.findall(words, page.read_text()) == []
    assert not re.search("[\U0001f300-\U0001faff]", page.read_text())


def _artist() -> ModuleType:
    spec = importlib.util.spec_from_file_location("draw_demo", ROOT / "docs/assets/draw_demo.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _shape(rows: list[str]) -> list[str]:
    """Lines without what differs each time: times, keys, tokens."""
    changing = r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d)?Z?|eyJ\S+|[A-Za-z0-9_-]{32,}"
    return [re.sub(changing, "~", row.rstrip()) for row in rows if row.strip()]


def test_the_picture_shows_what_the_demo_prints() -> None:
    artist = _artist()
    story = artist.lines(artist.run_demo())
    drawn = ElementTree.parse(artist.PICTURE).getroot()
    rows = ["".join(row.itertext()) for row in drawn.iter("{http://www.w3.org/2000/svg}text")]
    now = ["".join(span.text for span in line) for line in story]
    assert _shape(rows) == _shape(now), "draw it anew: python docs/assets/draw_demo.py"
    assert max(map(len, rows)) <= 104
