"""An OpenID provider on 127.0.0.1: people sign in (OIDC, and GitHub's OAuth), and CIs get tokens for their jobs."""

import base64
import hashlib
import json
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, urlencode, urlsplit

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, rsa

CLIENT_ID = "deploy-gate"
CLIENT_SECRET = "a secret of the client"
SHA = "5f3c1d0e9b8a7f6e5d4c3b2a190807f6e5d4c3b2"


class Request(NamedTuple):
    """What a client asked for; `form` are the members of the query or of a form."""

    path: str
    form: dict[str, str]
    headers: dict[str, str]


class Reply(NamedTuple):
    """What it gets. `body` may be bytes to send as they are, or a function that writes to the connection."""

    status: int
    body: Any = None
    headers: dict[str, str] = {}  # noqa: RUF012 (never changed)


class Key(NamedTuple):
    """A signing key and its id; `alg` is what it signs with."""

    kid: str
    alg: str
    private: Any

    @property
    def jwk(self) -> dict[str, Any]:
        """The public key (RFC 7517)."""
        kind = jwt.algorithms.ECAlgorithm if self.alg.startswith("ES") else jwt.algorithms.RSAAlgorithm
        return {**kind.to_jwk(self.private.public_key(), as_dict=True), "kid": self.kid, "alg": self.alg, "use": "sig"}


_spare = [rsa.generate_private_key(65537, 2048) for _ in range(4)]  # slow to make, and no test needs more


def new_key(alg: str = "RS256") -> Key:
    """A key with a new id. There are four RSA keys in all, which take turns."""
    if alg.startswith("ES"):
        return Key(secrets.token_hex(8), alg, ec.generate_private_key(ec.SECP256R1()))
    _spare.append(_spare.pop(0))
    return Key(secrets.token_hex(8), alg, _spare[0])


class Provider:
    """`user` are the claims of whoever signs in next, `github_user` their account; `refusal` is the error they get.

    `change_metadata`, `change_id_token` and `change_answer` (of the token endpoint) may alter what is sent, in place.
    `faults` are replies by path that are given instead. `requests` is all that was asked for.
    """

    def __init__(self) -> None:
        self.url = ""
        self.keys = [new_key()]
        self.user: dict[str, Any] = {
            "sub": "248289",
            "email": "alice@example.com",
            "email_verified": True,
            "name": "Alice",
        }
        self.userinfo: dict[str, Any] = {}
        self.github_user: dict[str, Any] = github_account("alice", 4711)
        self.refusal = ""
        self.sends_iss = True
        self.auth_methods = ["client_secret_basic", "client_secret_post"]
        self.change_metadata: Callable[[dict[str, Any]], object] = lambda metadata: None
        self.change_id_token: Callable[[dict[str, Any]], object] = lambda claims: None
        self.change_answer: Callable[[dict[str, Any]], object] = lambda answer: None
        self.faults: dict[str, Callable[[Request], Reply]] = {}
        self.requests: list[Request] = []
        self._codes: dict[str, dict[str, str]] = {}
        self._tokens: set[str] = set()

    def expect(self, email: str) -> None:
        """Let this person be the next who signs in."""
        self.user = {"sub": email, "email": email, "email_verified": True, "name": email.partition("@")[0].title()}

    def asked(self, path: str) -> int:
        """How often `path` was asked for."""
        return sum(request.path == path for request in self.requests)

    def rotate(self, *, keep_old: bool = False, alg: str = "RS256") -> Key:
        """Sign with a new key from now on; the old ones are listed no more, unless `keep_old`."""
        self.keys = [new_key(alg), *(self.keys if keep_old else [])]
        return self.keys[0]

    def sign(self, claims: dict[str, Any], headers: dict[str, Any] | None = None, key: Key | None = None) -> str:
        """A token of these claims."""
        key = key or self.keys[0]
        return jwt.encode(claims, key.private, key.alg, {"kid": key.kid, **(headers or {})})

    def ci_token(self, kind: str = "github", audience: Any = "https://gate.example.com", **changes: Any) -> str:
        """The token of a job, for `audience`; a change to None leaves a claim out."""
        return self.sign(self.ci_claims(kind, audience, **changes))

    def ci_claims(
        self, kind: str = "github", audience: Any = "https://gate.example.com", **changes: Any
    ) -> dict[str, Any]:
        """What such a token says."""
        now = int(time.time())
        times = {
            "iss": self.url,
            "aud": audience,
            "jti": secrets.token_hex(16),
            "nbf": now - 5,
            "iat": now,
            "exp": now + 300,
        }
        claims = times | (_GITHUB if kind == "github" else _GITLAB) | changes
        return {name: value for name, value in claims.items() if value is not None}

    def metadata(self) -> dict[str, Any]:
        """The discovery document."""
        metadata = {
            "issuer": self.url,
            "authorization_endpoint": f"{self.url}/authorize",
            "token_endpoint": f"{self.url}/token",
            "userinfo_endpoint": f"{self.url}/userinfo",
            "jwks_uri": f"{self.url}/jwks",
            "response_types_supported": ["code"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["RS256", "ES256"],
            "token_endpoint_auth_methods_supported": self.auth_methods,
            "code_challenge_methods_supported": ["S256"],
            "authorization_response_iss_parameter_supported": self.sends_iss,
        }
        self.change_metadata(metadata)
        return metadata

    def reply(self, request: Request) -> Reply:
        """The answer to one request."""
        self.requests.append(request)
        if request.path in self.faults:
            return self.faults[request.path](request)
        if request.path == "/.well-known/openid-configuration":
            return Reply(200, self.metadata())
        if request.path == "/jwks":
            return Reply(200, {"keys": [key.jwk for key in self.keys]})
        if request.path in ("/authorize", "/login/oauth/authorize"):
            return self._authorize(request, github=request.path != "/authorize")
        if request.path in ("/token", "/login/oauth/access_token"):
            return self._exchange(request, github=request.path != "/token")
        if request.path in ("/userinfo", "/api/v3/user"):
            return self._account(request)
        return Reply(404, {"error": "not_found"})

    def _authorize(self, request: Request, *, github: bool) -> Reply:
        form = request.form
        scope_fits = github or "openid" in form.get("scope", "").split()
        if form.get("client_id") != CLIENT_ID or form.get("response_type") != "code" or not scope_fits:
            return Reply(400, {"error": "invalid_request"})
        answer = {"state": form["state"]} | ({"iss": self.url} if self.sends_iss and not github else {})
        if self.refusal:
            answer["error"] = self.refusal
        else:
            answer["code"] = secrets.token_urlsafe(24)
            self._codes[answer["code"]] = form
        return Reply(302, b"", {"Location": f"{form['redirect_uri']}?{urlencode(answer)}"})

    def _exchange(self, request: Request, *, github: bool) -> Reply:
        form = request.form
        if not self._is_client(request, github=github):
            return Reply(401, {"error": "invalid_client"})
        asked = self._codes.pop(form.get("code", ""), None)
        challenge = hashlib.sha256(form.get("code_verifier", "").encode()).digest()
        if (
            asked is None
            or form.get("grant_type") != "authorization_code"
            or asked["redirect_uri"] != form.get("redirect_uri")
            or asked.get("code_challenge_method") != "S256"
            or asked["code_challenge"] != base64.urlsafe_b64encode(challenge).decode().rstrip("=")
        ):
            return Reply(200 if github else 400, {"error": "bad_verification_code" if github else "invalid_grant"})
        access_token = secrets.token_urlsafe(24)
        self._tokens.add(access_token)
        answer = {"access_token": access_token, "token_type": "bearer", "scope": ""}
        if not github:
            answer |= {"expires_in": 3600, "id_token": self._id_token(asked["nonce"])}
        self.change_answer(answer)
        return Reply(200, answer)

    def _is_client(self, request: Request, *, github: bool) -> bool:
        basic = base64.b64encode(f"{CLIENT_ID}:{CLIENT_SECRET}".encode()).decode()
        if not github and "client_secret_basic" in self.auth_methods and "authorization" in request.headers:
            return request.headers["authorization"] == f"Basic {basic}"
        posted = request.form.get("client_id"), request.form.get("client_secret")
        return (github or "client_secret_post" in self.auth_methods) and posted == (CLIENT_ID, CLIENT_SECRET)

    def _id_token(self, nonce: str) -> str:
        now = int(time.time())
        claims = {"iss": self.url, "aud": CLIENT_ID, "iat": now, "exp": now + 300, "nonce": nonce, **self.user}
        self.change_id_token(claims)
        return self.sign(claims)

    def _account(self, request: Request) -> Reply:
        if request.headers.get("authorization", "").removeprefix("Bearer ") not in self._tokens:
            return Reply(401, {"message": "Bad credentials"})
        return Reply(200, self.userinfo if request.path == "/userinfo" else self.github_user)


def github_account(login: str, number: int) -> dict[str, Any]:
    """What GitHub's API tells of the account whose token is shown (REST, "Get the authenticated user")."""
    api = f"https://api.github.com/users/{login}"
    lists = {f"{name}_url": f"{api}/{name}" for name in ("followers", "subscriptions", "repos", "received_events")}
    return lists | {
        "login": login,
        "id": number,
        "node_id": "MDQ6VXNlcjQ3MTE=",
        "avatar_url": "https://avatars.githubusercontent.com/u/4711?v=4",
        "gravatar_id": "",
        "url": api,
        "html_url": f"https://github.com/{login}",
        "organizations_url": f"{api}/orgs",
        "following_url": f"{api}/following{{/other_user}}",
        "gists_url": f"{api}/gists{{/gist_id}}",
        "starred_url": f"{api}/starred{{/owner}}{{/repo}}",
        "events_url": f"{api}/events{{/privacy}}",
        "type": "User",
        "user_view_type": "public",
        "site_admin": False,
        "name": login.title(),
        "company": None,
        "blog": "",
        "location": None,
        "email": None,
        "hireable": None,
        "bio": None,
        "public_repos": 2,
        "public_gists": 0,
        "followers": 20,
        "following": 0,
        "created_at": "2008-01-14T04:33:35Z",
        "updated_at": "2026-01-14T04:33:35Z",
    }


_GITHUB = {  # as GitHub documents them; numbers are texts
    "sub": "repo:acme@65/shop@1296269:environment:production",
    "repository": "Acme/Shop",
    "repository_id": "1296269",
    "repository_owner": "Acme",
    "repository_owner_id": "65",
    "repository_visibility": "private",
    "environment": "production",
    "sha": SHA,
    "ref": "refs/heads/main",
    "ref_type": "branch",
    "run_id": "30433642",
    "run_number": "562",
    "run_attempt": "2",
    "actor": "octocat",
    "actor_id": "583231",
    "event_name": "push",
    "workflow": "Deploy",
    "job_workflow_ref": "acme/shop/.github/workflows/deploy.yml@refs/heads/main",
    "runner_environment": "github-hosted",
}
_GITLAB = {
    "sub": "project_path:acme/web/shop:ref_type:branch:ref:main",
    "namespace_id": "72",
    "namespace_path": "acme/web",
    "project_id": "20",
    "project_path": "Acme/web/shop",
    "user_id": "1",
    "user_login": "octocat",
    "user_email": "octocat@example.com",
    "pipeline_id": "574",
    "pipeline_source": "push",
    "job_id": "302",
    "ref": "main",
    "ref_type": "branch",
    "ref_path": "refs/heads/main",
    "ref_protected": "true",
    "environment": "production",
    "environment_protected": "false",
    "runner_id": 1,
    "runner_environment": "gitlab-hosted",
    "sha": SHA,
    "ci_config_ref_uri": "gitlab.example.com/acme/web/shop//.gitlab-ci.yml@refs/heads/main",
}


@contextmanager
def serving(provider: Provider) -> Iterator[Provider]:
    """Serve `provider` on a port of its own until the block ends, and set its `url`."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self._answer(urlsplit(self.path).query)

        def do_POST(self) -> None:
            self._answer(self.rfile.read(int(self.headers.get("Content-Length", "0"))).decode())

        def _answer(self, form: str) -> None:
            headers = {name.lower(): value for name, value in self.headers.items()}
            request = Request(urlsplit(self.path).path, dict(parse_qsl(form)), headers)
            try:
                self._send(provider.reply(request))
            except OSError:
                self.close_connection = True  # the client gave up

        def _send(self, reply: Reply) -> None:
            self.send_response(reply.status)
            for name, value in reply.headers.items():
                self.send_header(name, value)
            if callable(reply.body):
                self.end_headers()
                reply.body(self.wfile)
                self.close_connection = True
                return
            body = reply.body if isinstance(reply.body, bytes) else json.dumps(reply.body).encode()
            self.send_header("Content-Type", "application/json; charset=utf-8")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Keep quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    provider.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield provider
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
