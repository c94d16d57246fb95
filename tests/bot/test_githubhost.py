"""Which GitHub: by its API, and by whoever vouches for its jobs."""

import pytest

from gate.bot import githubhost


@pytest.mark.parametrize(
    ("web", "api_url", "issuer"),
    [
        ("https://github.com", "https://api.github.com", "https://token.actions.githubusercontent.com"),
        ("https://acme.ghe.com", "https://api.acme.ghe.com", "https://token.actions.acme.ghe.com"),
        ("https://ghe.example.com", "https://ghe.example.com/api/v3", "https://ghe.example.com/_services/token"),
    ],
)
def test_each_is_found_by_the_others(web: str, api_url: str, issuer: str) -> None:
    assert (githubhost.of_api(api_url), githubhost.of_issuer(issuer), githubhost.api_of(web)) == (web, web, api_url)


def test_an_api_s_host_is_written_as_an_issuer_would_write_it() -> None:
    assert githubhost.of_api("https://GHE.example.com:443/api/v3") == "https://ghe.example.com"
    assert githubhost.of_api("http://[::1]:8080/api/v3") == "http://[::1]:8080"


def test_a_name_that_only_ends_alike_is_a_server_of_its_own() -> None:
    assert githubhost.api_of("https://evilghe.com") == "https://evilghe.com/api/v3"
    assert githubhost.of_api("https://api.evilghe.com/api/v3") == "https://api.evilghe.com"


def test_an_enterprise_may_have_a_path_at_the_issuer() -> None:
    assert githubhost.of_issuer("https://token.actions.githubusercontent.com/acme") == "https://github.com"


@pytest.mark.parametrize(
    "issuer",
    [
        "https://gitlab.com",
        "https://token.actions.githubusercontent.com.evil.example",
        "https://token.actions.evil.example/acme.ghe.com",
        "https://token.actions.a.b.ghe.com",
        "http://ghe.example.com/_services/token",
    ],
)
def test_of_any_other_issuer_it_can_t_be_told(issuer: str) -> None:
    assert githubhost.of_issuer(issuer) == ""
