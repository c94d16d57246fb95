"""GitHub's own description of its REST API (npm @octokit/openapi), to check requests and answers by."""

import json
import re
from copy import deepcopy
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from jsonschema.exceptions import best_match
from openapi_schema_validator import OAS30Validator, oas30_format_checker
from referencing import Registry, Resource

from tests.parts import need

NODE = Path(__file__).parents[1] / "node" / "node_modules"
_FILE = NODE / "@octokit/openapi/generated/api.github.com.json"
_BASE = "urn:github"


class Wrong(AssertionError):
    """A request or an answer is not as GitHub describes it."""


class Operation(NamedTuple):
    """One method of one path. `pointer` is where it stands in the description, `path` the path's parameters."""

    pointer: str
    value: dict[str, Any]
    path: dict[str, str]

    def parameters(self) -> list[dict[str, Any]]:
        return [resolved(parameter) for parameter in self.value.get("parameters", [])]


@lru_cache
def document() -> dict[str, Any]:
    """The description, loaded once in a process."""
    need(_FILE.is_file(), "GitHub's description of its API (scripts/test installs it in tests/node)")
    loaded: dict[str, Any] = json.loads(_FILE.read_bytes())
    assert loaded["openapi"].startswith("3.0.")
    return loaded


@lru_cache
def _registry() -> Any:
    return Registry().with_resource(_BASE, Resource.opaque(document()))


def resolved(value: dict[str, Any]) -> dict[str, Any]:
    """What a `$ref` leads to."""
    while "$ref" in value:
        found: Any = document()
        for part in value["$ref"].removeprefix("#/").split("/"):
            found = found[part]
        value = found
    return value


@lru_cache
def _paths() -> list[tuple[re.Pattern[str], str]]:
    """The paths as patterns, those with fewest parameters first, so that a literal segment wins."""
    paths = sorted(document()["paths"], key=lambda path: path.count("{"))
    return [(re.compile(re.sub(r"\\\{(\w+)\\\}", r"(?P<\1>[^/]+)", re.escape(path))), path) for path in paths]


def operation(method: str, path: str) -> Operation:
    """The operation that a request is for."""
    for pattern, template in _paths():
        match = pattern.fullmatch(path)
        if match and method.lower() in document()["paths"][template]:
            pointer = f"#/paths/{template.replace('~', '~0').replace('/', '~1')}/{method.lower()}"
            return Operation(pointer, document()["paths"][template][method.lower()], match.groupdict())
    raise Wrong(f"GitHub describes no {method} {path}")


def check(value: object, pointer: str) -> None:
    """Check `value` against the schema at `pointer`, e.g. `#/components/schemas/status`."""
    validator = OAS30Validator({"$ref": f"{_BASE}{pointer}"}, registry=_registry(), format_checker=oas30_format_checker)
    error = best_match(validator.iter_errors(value))
    if error:
        raise Wrong(f"{pointer}: {error.json_path}: {error.message[:500]}")


def check_request(found: Operation, query: dict[str, str], body: object) -> None:
    """Check the parameters and the body of a request; what GitHub does not describe it must not hold."""
    known = {parameter["name"]: parameter for parameter in found.parameters() if parameter["in"] == "query"}
    if unknown := query.keys() - known.keys():
        raise Wrong(f"{found.pointer}: no query parameter {unknown}")
    for name, text in query.items():
        _check_text(name, text, known[name])
    for parameter in found.parameters():
        if parameter["in"] == "path":
            _check_text(parameter["name"], found.path[parameter["name"]], parameter)
        elif parameter.get("required") and parameter["name"] not in query:
            raise Wrong(f"{found.pointer}: {parameter['name']} is missing")
    _check_body(found, body)


def _check_text(name: str, text: str, parameter: dict[str, Any]) -> None:
    kind = resolved(parameter["schema"]).get("type")
    if kind == "integer" and not text.isdigit():
        raise Wrong(f"{name} is no integer: {text}")
    if name == "per_page" and not 1 <= int(text) <= 100:
        raise Wrong(f"per_page is 1 to 100: {text}")


def _check_body(found: Operation, body: object) -> None:
    described = found.value.get("requestBody")
    if body is None:
        if described and described["required"]:
            raise Wrong(f"{found.pointer}: the body is missing")
        return
    if not described:
        raise Wrong(f"{found.pointer}: takes no body")
    pointer = f"{found.pointer}/requestBody/content/application~1json/schema"
    check(body, pointer)
    if isinstance(body, dict) and (
        unknown := body.keys() - _members(described["content"]["application/json"]["schema"])
    ):
        raise Wrong(f"{found.pointer}: the body has no member {unknown}")


def _members(schema: dict[str, Any]) -> set[str]:
    schema = resolved(schema)
    members = set(schema.get("properties", {}))
    for kind in ("anyOf", "oneOf", "allOf"):
        for part in schema.get(kind, []):
            members |= _members(part)
    return members


def check_response(found: Operation, status: int, body: object) -> None:
    """Check an answer. Errors that GitHub gives anywhere, and describes for few operations, are `basic-error`s."""
    described = found.value["responses"].get(str(status))
    if described is None:
        if status < 400:
            raise Wrong(f"{found.pointer}: no answer {status} is described")
        check(body, "#/components/schemas/basic-error")
        return
    content = resolved(described).get("content")
    if content is None:
        if body is not None:
            raise Wrong(f"{found.pointer}: {status} has no body")
    elif "$ref" in described:
        check(body, f"{described['$ref']}/content/application~1json/schema")
    else:
        check(body, f"{found.pointer}/responses/{status}/content/application~1json/schema")


def example(name: str) -> Any:
    """A copy of one of the description's own examples."""
    return deepcopy(document()["components"]["examples"][name]["value"])
