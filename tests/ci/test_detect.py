"""What `gate.ci` reads from each CI's own variables, as their vendors document them."""

from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gate.ci import CiRun, detect
from gate.cloneurl import repository_path
from gate.errors import UsageError
from gate.identity import identity
from tests.ci.runs import RUNS, SHA


@pytest.mark.parametrize(
    ("ci", "expected"),
    [
        (
            "github",
            CiRun(
                "GitHub Actions",
                "acme/shop",
                SHA,
                ("github:alice#4242", "github:bob"),
                "7001",
                "4711",
                "/w/shop",
                attempt="2",
            ),
        ),
        (
            "gitlab",
            CiRun("GitLab CI", "acme/web/shop", SHA, ("gitlab:alice", "alice@example.com"), "8001", "4712", "/w/shop"),
        ),
        ("jenkins", CiRun("Jenkins", "acme/shop", SHA, ("jenkins:alice",), "jenkins-shop-42", "", "/w/shop")),
        (
            "buildkite",
            CiRun("Buildkite", "acme/shop", SHA, ("alice@example.com", "bob@example.com"), "4735ba57", "", "/w/shop"),
        ),
        ("circleci", CiRun("CircleCI", "acme/shop", SHA, ("circleci:alice",), "b0a1c2d3")),
        ("codebuild", CiRun("CodeBuild", "acme/shop", SHA, ("codebuild:alice",), "shop:b1e6661e", "", "/w/shop")),
    ],
)
def test_each_ci_is_read_by_its_own_variables(ci: str, expected: CiRun) -> None:
    assert detect(RUNS[ci], ci) == expected
    assert ci == "github" or detect(RUNS[ci]) == expected


def test_outside_a_known_ci_there_is_no_run() -> None:
    assert detect({"CI": "true", "PATH": "/bin", "BUILD_TAG": "v1"}) is None


@pytest.mark.parametrize(
    "event",
    ["pull_request", "pull_request_target", "pull_request_review", "workflow_run", "issue_comment", "check_suite", ""],
)
def test_on_events_about_other_code_github_names_no_sha(event: str) -> None:
    run = detect({**RUNS["github"], "GITHUB_EVENT_NAME": event})
    assert run is not None
    assert run.sha == ""
    assert (event or "(unknown)") in run.why_no_sha


@pytest.mark.parametrize("event", ["push", "workflow_dispatch", "release", "schedule", "merge_group", "deployment"])
def test_on_events_that_run_their_own_code_github_names_the_sha(event: str) -> None:
    run = detect({**RUNS["github"], "GITHUB_EVENT_NAME": event})
    assert run is not None
    assert (run.sha, run.why_no_sha) == (SHA, "")


@pytest.mark.parametrize(
    ("ci", "change"),
    [
        ("gitlab", {"CI_PIPELINE_SOURCE": "merge_request_event"}),
        ("gitlab", {"CI_PIPELINE_SOURCE": "parent_pipeline", "CI_MERGE_REQUEST_IID": "7"}),
        ("gitlab", {"CI_PIPELINE_SOURCE": "external_pull_request_event"}),
        ("jenkins", {"CHANGE_ID": "7"}),
        ("buildkite", {"BUILDKITE_PULL_REQUEST": "7"}),
        ("circleci", {"CIRCLE_PR_NUMBER": "7"}),
        ("codebuild", {"CODEBUILD_SOURCE_VERSION": "pr/7"}),
        ("codebuild", {"CODEBUILD_WEBHOOK_EVENT": "PULL_REQUEST_UPDATED"}),
    ],
)
def test_a_run_about_a_change_under_review_names_no_sha(ci: str, change: Mapping[str, str]) -> None:
    run = detect({**RUNS[ci], **change})
    assert run is not None
    assert run.sha == ""
    assert run.why_no_sha.endswith("is not what a deployment ships.")


def test_an_open_pull_request_does_not_take_circleci_its_sha() -> None:
    run = detect({**RUNS["circleci"], "CIRCLE_PULL_REQUEST": "https://github.com/acme/shop/pull/7"})
    assert run is not None
    assert run.sha == SHA


def test_buildkite_s_head_is_left_to_the_checkout() -> None:
    run = detect({**RUNS["buildkite"], "BUILDKITE_COMMIT": "HEAD"})
    assert run is not None
    assert (run.sha, run.why_no_sha) == ("", "")


def test_a_run_started_once_has_one_actor() -> None:
    run = detect({**RUNS["github"], "GITHUB_TRIGGERING_ACTOR": "Alice"}, "github")
    assert run is not None
    assert run.actors == ("github:alice#4242",)


@pytest.mark.parametrize(
    ("ci", "variables", "actors"),
    [
        ("github", {"GITHUB_ACTOR_ID": ""}, ("github:alice", "github:bob")),
        ("github", {"GITHUB_ACTOR_ID": "4242x"}, ("github:alice", "github:bob")),
        ("github", {"GITHUB_ACTOR": "alice#99", "GITHUB_ACTOR_ID": ""}, ("github:?alice#99", "github:bob")),
        ("github", {"GITHUB_ACTOR": "", "GITHUB_TRIGGERING_ACTOR": ""}, ()),
        (
            "github",
            {"GITHUB_SERVER_URL": "https://ghe.example.com:8443"},
            ("ghe.example.com:alice#4242", "ghe.example.com:bob"),
        ),
        ("gitlab", {"CI_SERVER_HOST": "Git.Example.com"}, ("git.example.com:alice", "alice@example.com")),
        ("gitlab", {"GITLAB_USER_LOGIN": "alice#22"}, ("gitlab:?alice#22", "alice@example.com")),
        ("gitlab", {"GITLAB_USER_EMAIL": "github:bob#22"}, ("gitlab:alice", "gitlab:?github:bob#22")),
        ("jenkins", {"BUILD_USER_ID": "CORP\\bob"}, ("jenkins:CORP\\bob",)),
        ("jenkins", {"BUILD_USER_ID": "bob builder"}, ("jenkins:bob builder",)),
        ("jenkins", {"BUILD_USER_ID": "github:bob#22"}, ("jenkins:github:bob#22",)),
        ("buildkite", {"BUILDKITE_BUILD_CREATOR_EMAIL": "b#1"}, ("buildkite:?b#1", "bob@example.com")),
        ("codebuild", {"CODEBUILD_INITIATOR": "codepipeline/shop"}, ("codebuild:codepipeline/shop",)),
        ("codebuild", {"CODEBUILD_INITIATOR": "rule/nightly"}, ("codebuild:rule/nightly",)),
    ],
)
def test_an_actor_has_a_namespace_and_an_id_only_where_the_ci_attests_it(
    ci: str, variables: Mapping[str, str], actors: tuple[str, ...]
) -> None:
    run = detect({**RUNS[ci], **variables}, ci)
    assert run is not None
    assert run.actors == actors
    attested = [actor for actor in actors if identity(actor).kind == "account"]
    assert attested == [actor for actor in actors if actor.endswith("#4242")]


@pytest.mark.parametrize("ci", ["gitlab", "jenkins", "buildkite", "circleci"])
def test_two_cis_at_once_are_an_error(ci: str) -> None:
    with pytest.raises(UsageError, match=r"GITHUB_ACTIONS and .* are both set"):
        detect({**RUNS["github"], **RUNS[ci]})


@pytest.mark.parametrize("ci", ["github", "gitlab", "buildkite"])
def test_codebuild_may_host_the_runner_of_another_ci_which_the_command_line_says(ci: str) -> None:
    both = {**RUNS["codebuild"], **RUNS[ci]}
    assert detect(both, ci) == detect(RUNS[ci], ci)
    assert detect(both, "codebuild") == detect(RUNS["codebuild"])
    with pytest.raises(UsageError, match="are both set") as caught:
        detect(both)
    assert "--ci" in caught.value.hint


@pytest.mark.parametrize("marker", ["TF_BUILD", "TEAMCITY_VERSION"])
def test_what_an_earlier_step_left_makes_no_github_of_a_ci_that_is_not_known(marker: str) -> None:
    with pytest.raises(UsageError, match=f"GITHUB_ACTIONS and {marker} are both set"):
        detect({**RUNS["github"], marker: "True"})


def test_only_where_the_caller_says_that_it_is_github_an_id_attests_an_account() -> None:
    run = detect(RUNS["github"])
    assert run is not None
    assert run.actors[0] == "github:alice"


def test_a_ci_that_it_is_not_is_an_error() -> None:
    with pytest.raises(UsageError, match="said to be github"):
        detect(RUNS["gitlab"], "github")


def test_the_account_id_in_codebuild_s_arn_is_never_read() -> None:
    assert "111122223333" not in str(detect(RUNS["codebuild"]))


@pytest.mark.parametrize(
    ("url", "repository"),
    [
        ("https://github.com/acme/shop.git", "acme/shop"),
        ("https://github.com/acme/shop", "acme/shop"),
        ("https://user:secret@gitlab.example.com/acme/web/shop.git/", "acme/web/shop"),
        ("git@github.com:acme/shop.git", "acme/shop"),
        ("ssh://git@github.com:22/acme/shop.git", "acme/shop"),
        ("git://github.com/acme/shop.git", "acme/shop"),
        ("s3://bucket/acme/shop.zip", ""),
        ("file:///srv/git/shop.git", ""),
        ("/srv/git:old/shop.git", ""),
        ("", ""),
    ],
)
def test_a_clone_url_names_a_repository(url: str, repository: str) -> None:
    assert repository_path(url) == repository


class _Anything(Mapping[str, str]):
    """An environment in which every variable is set, to what the test drew."""

    def __init__(self, real: Mapping[str, str], draw: Any) -> None:
        self._real, self._draw, self._drawn = real, draw, dict[str, str]()

    def __getitem__(self, name: str) -> str:
        if name in self._real:
            return self._real[name]
        return self._drawn.setdefault(name, self._draw(_text))

    def __iter__(self) -> Iterator[str]:
        return iter(self._real)

    def __len__(self) -> int:
        return len(self._real)


_text = st.text(max_size=60) | st.sampled_from(["HEAD", "false", "pr/\n::error::", "https://[/\u202e", "a@b:" * 9])
_markers = {
    "github": {"GITHUB_ACTIONS": "true"},
    "gitlab": {"GITLAB_CI": "true"},
    "jenkins": {"BUILD_TAG": "jenkins-x"},
    "buildkite": {"BUILDKITE": "true"},
    "circleci": {"CIRCLECI": "true"},
    "codebuild": {"CODEBUILD_BUILD_ID": "x"},
}
_none = dict.fromkeys((name for marker in _markers.values() for name in marker), "")
_none |= {"TF_BUILD": "", "TEAMCITY_VERSION": ""}


@given(ci=st.sampled_from(sorted(_markers)), data=st.data())
def test_whatever_the_variables_hold_reading_them_never_fails(ci: str, data: st.DataObject) -> None:
    run = detect(_Anything({**_none, **_markers[ci]}, data.draw))
    assert run is not None
    assert run.why_no_sha.isprintable()
    assert not (run.sha and run.why_no_sha)
