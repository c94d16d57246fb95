"""The operations of the tests' GitHub, and who may use them."""

import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import jwt

from tests.bot.description import example
from tests.bot.githubdata import APP_ID, TOKEN, Gone, Reply, Request, Shop

_DOCS = "https://docs.github.com/rest"
_NEEDED = {  # what an installation token must be allowed to do, by method and part of the path
    ("POST", "/statuses/"): ("statuses", "write"),
    ("GET", "/statuses"): ("statuses", "read"),
    ("GET", "/deployments"): ("deployments", "read"),
    ("POST", "/deployments/"): ("deployments", "write"),
    ("POST", "/comments"): ("pull_requests", "write"),
    ("PATCH", "/comments/"): ("pull_requests", "write"),
    ("POST", "/rerun-failed-jobs"): ("actions", "write"),
    ("POST", "/deployment_protection_rule"): ("deployments", "write"),
}


def problem(status: int, message: str, **headers: str) -> Reply:
    """An error as GitHub writes them."""
    body = {"message": message, "documentation_url": _DOCS, "status": str(status)}
    if status == 422:
        body.pop("status")
    return Reply(status, body, {name.replace("_", "-"): value for name, value in headers.items()})


def answer(shop: Shop, request: Request) -> Reply:
    """The answer to a request that is as described."""
    refusal = _refusal(shop, request)
    if refusal:
        return refusal
    for method, pattern, view in _ROUTES:
        match = re.fullmatch(pattern, request.path)
        if match and method == request.method:
            try:
                return view(shop, request, *match.groups())
            except Gone:
                return problem(404, "Not Found")
    return problem(404, "Not Found")


def _refusal(shop: Shop, request: Request) -> Reply | None:
    kind, _, token = request.headers.get("authorization", "").partition(" ")
    path = request.path.lower()
    if kind != "Bearer":
        return problem(401, "Requires authentication")
    if path.startswith("/app/") or path.endswith("/installation"):
        return _app_refusal(shop, token)
    if path != f"/repos/{shop.name}" and not path.startswith(f"/repos/{shop.name}/"):
        return problem(404, "Not Found")
    if token == TOKEN:
        return None
    expires_at, permissions = shop.issued.get(token, (shop.now, {}))
    if expires_at <= shop.now:
        return problem(401, "Bad credentials")
    for (method, part), (name, level) in _NEEDED.items():
        if method == request.method and part in path and permissions.get(name) not in (level, "write"):
            return problem(403, "Resource not accessible by integration")
    return None


def _app_refusal(shop: Shop, token: str) -> Reply | None:
    try:
        options: Any = {"require": ["iat", "exp", "iss"]}
        claims = jwt.decode(token, shop.public_key, algorithms=["RS256"], issuer=APP_ID, options=options)
    except (jwt.PyJWTError, TypeError, ValueError):
        return problem(401, "A JSON web token could not be decoded")
    if claims["exp"] - claims["iat"] > 600:
        return problem(401, "'Expiration time' claim ('exp') is too far in the future")
    return None


def _page(request: Request, items: list[Any]) -> Reply:
    size, page = int(request.query.get("per_page", 30)), int(request.query.get("page", 1))
    return Reply(200, items[size * (page - 1) : size * page])


def _repository(shop: Shop, _: Request) -> Reply:
    name = shop.name.partition("/")[2]
    return Reply(200, shop.like("full-repository", name=name, full_name=shop.name, has_discussions=False))


def _commit(shop: Shop, request: Request, of: str) -> Reply:
    return Reply(200, shop.known(of))


def _object(shop: Shop, request: Request, of: str) -> Reply:
    return Reply(200, shop.like("git-commit", sha=shop.known(of)["sha"]))


def _compare(shop: Shop, request: Request, base: str, head: str) -> Reply:
    start, end = (shop.commits.index(shop.known(of)) for of in (base, head))
    listed = shop.commits[start + 1 : end + 1]
    size, page = int(request.query.get("per_page", 250)), int(request.query.get("page", 1))
    return Reply(
        200,
        shop.like(
            "commit-comparison",
            base_commit=shop.known(base),
            merge_base_commit=shop.commits[min(start, end)],
            status="ahead" if end > start else "identical" if end == start else "behind",
            ahead_by=max(0, end - start),
            behind_by=max(0, start - end),
            total_commits=len(listed),
            commits=listed[size * (page - 1) : size * page],
        ),
    )


def _get_statuses(shop: Shop, request: Request, of: str) -> Reply:
    shop.known(of)
    return _page(request, shop.statuses.get(of, []))


def _post_status(shop: Shop, request: Request, of: str) -> Reply:
    if all(commit["sha"] != of for commit in shop.commits):
        return Reply(422, {"message": f"No commit found for SHA: {of}", "documentation_url": _DOCS})
    made = shop.like("status", **request.body)
    shop.statuses.setdefault(of, []).insert(0, made)
    return Reply(201, made)


def _get_pulls_of(shop: Shop, request: Request, of: str) -> Reply:
    shop.known(of)
    return _page(request, [pull for pull, shas in shop.pulls if of in shas])


def _get_pulls(shop: Shop, request: Request) -> Reply:
    return _page(request, [pull for pull, _ in shop.pulls])


def _get_deployments(shop: Shop, request: Request) -> Reply:
    wanted = {name: request.query[name] for name in ("sha", "environment") if name in request.query}
    return _page(request, [one for one in shop.deployments if all(one[name] == wanted[name] for name in wanted)])


def _get_deployment_statuses(shop: Shop, request: Request, number: str) -> Reply:
    return _page(request, shop.deployment_statuses[int(number)])


def _post_deployment_status(shop: Shop, request: Request, number: str) -> Reply:
    body = {name: value for name, value in request.body.items() if name != "auto_inactive"}
    made = shop.like("deployment-status", **body, target_url=body.get("log_url", ""))
    shop.deployment_statuses[int(number)].insert(0, made)
    return Reply(201, made)


def _get_comments(shop: Shop, request: Request, number: str) -> Reply:
    return _page(request, shop.comments[int(number)])


def _post_comment(shop: Shop, request: Request, number: str) -> Reply:
    by_app = "" if TOKEN in request.headers["authorization"] else APP_ID
    return Reply(201, shop.add_comment(int(number), request.body["body"], by_app=by_app))


def _patch_comment(shop: Shop, request: Request, comment_id: str) -> Reply:
    for comments in shop.comments.values():
        for comment in comments:
            if comment["id"] == int(comment_id):
                comment["body"] = request.body["body"]
                return Reply(200, comment)
    raise Gone


def _get_run(shop: Shop, request: Request, run_id: str) -> Reply:
    return Reply(200, shop.run(run_id))


def _rerun(shop: Shop, request: Request, run_id: str) -> Reply:
    run = shop.run(run_id)
    if run["status"] != "completed":
        return problem(403, "This workflow is already running")
    run |= {"status": "queued", "conclusion": None, "run_attempt": run["run_attempt"] + 1}
    return Reply(201, {})


def _get_waiting(shop: Shop, request: Request, run_id: str) -> Reply:
    shown = example("pending-deployment-items")[0]
    return Reply(
        200,
        [
            {**shown, "reviewers": [], "environment": {**shown["environment"], "name": name}}
            for name in shop.waiting.get(int(run_id), [])
        ],
    )


def _review(shop: Shop, request: Request, run_id: str) -> Reply:
    name = request.body["environment_name"]
    if name not in shop.waiting.get(int(run_id), []):
        return problem(422, "No pending deployment requests to review")
    shop.waiting[int(run_id)].remove(name)
    shop.reviews.append({"run_id": int(run_id), **request.body})
    return Reply(204)


def _installation(shop: Shop, request: Request) -> Reply:
    if shop.public_key is None or not request.path.lower().startswith(f"/repos/{shop.name}/"):
        raise Gone
    suspended = "2026-01-01T00:00:00Z" if shop.suspended else None
    permissions = {"metadata": "read", **shop.permissions}
    return Reply(200, shop.like("installation", id=42, permissions=permissions, suspended_at=suspended))


def _access_token(shop: Shop, request: Request, number: str) -> Reply:
    asked = request.body["permissions"]
    if number != "42" or request.body["repositories"] != [shop.name.partition("/")[2]]:
        raise Gone
    if any(shop.permissions.get(name) not in (level, "write") for name, level in asked.items()):
        return Reply(422, {"message": "The permissions requested are not granted", "documentation_url": _DOCS})
    token = f"ghs_{next(shop.numbers):036d}"
    shop.issued[token] = (shop.now + timedelta(hours=1), asked)
    expires_at = shop.issued[token][0].strftime("%Y-%m-%dT%H:%M:%SZ")
    return Reply(
        201, {"token": token, "expires_at": expires_at, "permissions": asked, "repository_selection": "selected"}
    )


_REPO = "/repos/[^/]+/[^/]+"
_SHA = "([0-9a-f]{40})"
_ROUTES: list[tuple[str, str, Callable[..., Reply]]] = [
    ("GET", _REPO, _repository),
    ("GET", f"{_REPO}/commits/{_SHA}", _commit),
    ("GET", f"{_REPO}/git/commits/{_SHA}", _object),
    ("GET", rf"{_REPO}/compare/{_SHA}\.\.\.{_SHA}", _compare),
    ("GET", f"{_REPO}/commits/{_SHA}/statuses", _get_statuses),
    ("POST", f"{_REPO}/statuses/{_SHA}", _post_status),
    ("GET", f"{_REPO}/commits/{_SHA}/pulls", _get_pulls_of),
    ("GET", f"{_REPO}/pulls", _get_pulls),
    ("GET", f"{_REPO}/deployments", _get_deployments),
    ("GET", f"{_REPO}/deployments/([0-9]+)/statuses", _get_deployment_statuses),
    ("POST", f"{_REPO}/deployments/([0-9]+)/statuses", _post_deployment_status),
    ("GET", f"{_REPO}/issues/([0-9]+)/comments", _get_comments),
    ("POST", f"{_REPO}/issues/([0-9]+)/comments", _post_comment),
    ("PATCH", f"{_REPO}/issues/comments/([0-9]+)", _patch_comment),
    ("GET", f"{_REPO}/actions/runs/([0-9]+)", _get_run),
    ("POST", f"{_REPO}/actions/runs/([0-9]+)/rerun-failed-jobs", _rerun),
    ("GET", f"{_REPO}/actions/runs/([0-9]+)/pending_deployments", _get_waiting),
    ("POST", f"{_REPO}/actions/runs/([0-9]+)/deployment_protection_rule", _review),
    ("GET", f"{_REPO}/installation", _installation),
    ("POST", "/app/installations/([0-9]+)/access_tokens", _access_token),
]
