"""What all AWS backends share: how a client is made, and how AWS's errors are told to people."""

import os
import re
from collections.abc import Mapping
from functools import cache
from importlib import import_module
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from gate.authorities import HINT, distrust, read_authorities
from gate.deadline import within
from gate.errors import UsageError
from gate.uris import LOOPBACK, Uri

TRIES = 3
CONNECT_SECONDS = 3.0  # per try, and per address of the host
ANSWER_SECONDS = 5.0  # per try, and between two bytes
CALL_SECONDS = 30.0  # for all tries of a call together
CONNECTIONS = 32  # that one client keeps open at most


def check_options(uri: Uri, *more: str) -> None:
    """Check that the query names a `region`, perhaps an `endpoint` and the file of the CAs by which it is believed
    (`ca`), and nothing else but options called `more`.

    An `owner` among them is an AWS account, which no message shows.

    Raises:
        UsageError: it does not.
    """
    uri = uri._replace(text=uri.text.partition("?")[0])
    uri.only("region", "endpoint", "ca", *more)
    if not re.fullmatch(r"[a-z]{2,}(-[a-z0-9]+)+", uri.query.get("region", "")):
        raise UsageError(f"{uri.text}: names no AWS region", hint="Add the region, e.g. ?region=eu-west-1")
    if not _is_server(uri.query.get("endpoint", "https://default")):
        raise UsageError(
            f"{uri.scheme}: the endpoint is not the URL of a server",
            hint="Leave it out for AWS itself, or write e.g. &endpoint=https://vpce-….amazonaws.com",
        )
    if not re.fullmatch(r"[0-9]{12}", uri.query.get("owner", "0" * 12)):
        raise UsageError(f"{uri.text}: the owner is not an AWS account", hint="Write owner= and its 12 digits.")
    if authorities := uri.option_path("ca", None):
        read_authorities(authorities)


def _is_server(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return (
            parts.scheme in ("https", "http") and bool(parts.hostname) and parts.port != 0 and "@" not in parts.netloc
        )
    except ValueError:
        return False


def speaks_in_clear(uri_query: Mapping[str, str]) -> bool:
    """True where the endpoint is plain HTTP to another machine, so that the network could answer in its place."""
    endpoint = urlsplit(uri_query.get("endpoint", ""))
    return endpoint.scheme == "http" and endpoint.hostname not in LOOPBACK


@cache
def _shipped_models() -> Any:
    """The SDK's own service models, which never change while the process lives."""
    from gate.awsmodels import ShippedModels  # noqa: PLC0415 (imports the SDK)

    return ShippedModels()


def client(service: str, uri_query: Mapping[str, str]) -> Any:
    """A new client for `service` ("dynamodb", "s3", "kms") in the `region`, and at the `endpoint`, of a URI's query.

    Credentials come from the SDK's usual chain, the endpoint from the URI alone, and so do the CAs by which AWS is
    believed, where there is a `ca`. Every call it makes ends within `CALL_SECONDS`. May be called from several threads
    at once: each client has its own session, since sessions, unlike clients, must not be shared between threads.

    Raises:
        Exception: credentials are misconfigured; `explain` puts it into words.
    """
    # botocore itself, and only now: boto3 around it costs another import, and who denies early needs neither.
    session = import_module("botocore.session").get_session()
    session.register_component("data_loader", _shipped_models())
    session.register("needs-retry", _give_up)
    # On the way to credentials, too; and never as ~/.aws/config has it, which an earlier step can write.
    told = uri_query.get("ca") or os.environ.get("AWS_CA_BUNDLE") or os.environ.get("REQUESTS_CA_BUNDLE")
    session.set_config_variable("ca_bundle", told or True)
    endpoint = uri_query.get("endpoint")
    config = import_module("botocore.config").Config(
        ignore_configured_endpoint_urls=True,
        account_id_endpoint_mode="disabled",  # AWS_ACCOUNT_ID would otherwise have a say in the host
        connect_timeout=CONNECT_SECONDS,
        read_timeout=ANSWER_SECONDS,
        max_pool_connections=CONNECTIONS,
        retries={"mode": "standard", "total_max_attempts": TRIES},
        s3={"addressing_style": "path" if endpoint else "auto"},
        user_agent_extra="deploy-gate",
    )
    region, wire = uri_query["region"], import_module("gate.awswire")
    made = within(
        CALL_SECONDS,
        lambda: session.create_client(service, region_name=region, endpoint_url=endpoint, config=config),
    )
    return wire.bounded(made, CALL_SECONDS)


def _give_up(caught_exception: Exception | None = None, **_: Any) -> None:
    """An event of the SDK's: no other try would change that a certificate is not believed."""
    if caught_exception and distrust(caught_exception):
        raise caught_exception


class Trouble(NamedTuple):
    """An error of AWS in words that are safe to show: one sentence, and what to do next."""

    message: str
    hint: str


_BROKEN = Trouble(
    "answered with an error",
    "Try again in a moment; then look at the AWS health dashboard, or at the log of the server that its URI names.",
)
_NOT_OFFERED = Trouble(
    "is on a server that does not offer this", "Use AWS itself, or a server that offers all that {docs} lists."
)
_GARBAGE = Trouble("gave no answer that makes sense", "Check the endpoint in its URI, and what stands in between.")
_NO_CREDENTIALS = Trouble(
    "can't be asked: there are no usable AWS credentials here",
    "Give this job a role, or log in to AWS; check AWS_PROFILE where it is set.",
)
_REFUSED_CREDENTIALS = Trouble(
    "can't be asked: AWS does not accept these credentials",
    "Log in to AWS again, or let the job assume its role again.",
)

# By the error codes that services answer with, and by the classes of the SDK's own exceptions.
_TROUBLES = {
    name: trouble
    for trouble, names in {
        _NO_CREDENTIALS: """NoCredentialsError PartialCredentialsError CredentialRetrievalError MetadataRetrievalError
            ProfileNotFound ConfigParseError InvalidConfigError SSOError LoginError NoAuthTokenError
            TokenRetrievalError RefreshWithMFAUnsupportedError MissingDependencyException""",
        _REFUSED_CREDENTIALS: """ExpiredToken ExpiredTokenException UnrecognizedClientException InvalidToken
            InvalidClientTokenId InvalidAccessKeyId InvalidIdentityToken MissingAuthenticationToken
            MissingAuthenticationTokenException""",
        Trouble(
            "can't be used: AWS denies access",
            "Grant this job's role the actions that {docs} lists; see the resource's own policy too.",
        ): "AccessDenied AccessDeniedException AllAccessDisabled 403",
        Trouble(
            "does not exist in this region", "Create it ({docs}), or correct its name or region."
        ): "ResourceNotFoundException NoSuchBucket NotFoundException 404",
        Trouble(
            "is throttled by AWS, or too busy", "Try again in a moment; if it stays, raise its capacity."
        ): """ProvisionedThroughputExceededException ThrottlingException Throttling RequestLimitExceeded SlowDown
            TooManyRequestsException TransactionInProgressException TransactionConflictException
            ReplicatedWriteConflictException TransactionConflict ThrottlingError ProvisionedThroughputExceeded 429""",
        Trouble(
            "is not made as the gate needs it", "Compare its keys with {docs}, or run gate doctor."
        ): "ValidationException ValidationError",
        Trouble(
            "can't be asked: AWS does not accept the request's signature",
            "Set this machine's clock; if it is right, the secret access key is wrong.",
        ): "RequestTimeTooSkewed SignatureDoesNotMatch InvalidSignatureException",
        Trouble(
            "lies in another region", "Correct the region in its URI."
        ): "PermanentRedirect AuthorizationHeaderMalformed IllegalLocationConstraintException 301 307",
        _NOT_OFFERED: """NotImplemented NotImplementedException UnknownOperation UnknownOperationException
            UnsupportedOperation InvalidAction MethodNotAllowed 405 501""",
        Trouble(
            "did not answer in time, or can't be reached",
            "Check the network, and the region and endpoint in its URI.",
        ): "ConnectionError HTTPClientError IncompleteReadError OSError",
    }.items()
    for name in names.split()
}


def code(error: BaseException) -> str:
    """The error code that AWS answered with (e.g. `AccessDenied`, `404`), "" where there was no such answer.

    For a cancelled transaction it is that of the first part that failed.
    """
    response = getattr(error, "response", None) or {}
    parts = [*response.get("CancellationReasons", ()), response.get("Error", {})]
    value = next((part.get("Code") for part in parts if part.get("Code") != "None"), None)
    return value if isinstance(value, str) and re.fullmatch(r"[A-Za-z.]{1,64}|[0-9]{3}", value) else ""


def is_denied(error: BaseException) -> bool:
    """Whether AWS knows who asks, and does not let them."""
    return code(error) in ("AccessDenied", "AccessDeniedException", "403")


def is_not_offered(error: BaseException) -> bool:
    """Whether what answers is a server that lacks the operation, as no AWS does."""
    return _TROUBLES.get(code(error)) is _NOT_OFFERED


def explain(error: BaseException, what: str, docs: str = "docs/operations.md") -> Trouble:
    """Put any exception of the SDK into words; `what` names the thing asked, e.g. "The DynamoDB table gate-jti".

    `docs` is the page that says how that thing is made, and which rights it takes.

    Of AWS's own answer only the error code is told: its messages hold ARNs, account ids and request ids.
    """
    answered = code(error)
    if certificate := distrust(error):
        return Trouble(f"{what} {certificate}.", HINT)
    if not answered:
        classes = (base.__name__ for base in type(error).__mro__)
        trouble = next((_TROUBLES[name] for name in classes if name in _TROUBLES), _GARBAGE)
        return Trouble(f"{what} {trouble.message}.", trouble.hint.format(docs=docs))
    trouble = _TROUBLES.get(answered, _BROKEN)
    if getattr(error, "operation_name", "").startswith("AssumeRole"):
        trouble = _REFUSED_CREDENTIALS
    return Trouble(f"{what} {trouble.message} ({answered}).", trouble.hint.format(docs=docs))
