"""How the SDK speaks to AWS, held to what a gate can rely on: an answer in time, whole and of bounded size, or none."""

from typing import Any

from botocore.awsrequest import AWSResponse
from botocore.exceptions import HTTPClientError
from urllib3.exceptions import HTTPError

from gate.deadline import within

_MOST_BYTES = 16 << 20  # of an answer; a page of DynamoDB's has 1 MB, one of S3's 1,000 names
_CHUNK = 1 << 16


def bounded(client: Any, seconds: float) -> Any:
    """The SDK's `client`, each of whose calls ends within `seconds`, whatever it waits for, credentials included."""
    client._endpoint.http_session = _Wire(client._endpoint.http_session)
    call = client._make_api_call
    client._make_api_call = lambda *args: within(seconds, lambda: call(*args))
    return client


class _Wire:
    """The SDK's HTTP session, that takes no answer for whole which was cut, and keeps none without end in memory."""

    def __init__(self, session: Any) -> None:
        self._session = session

    def send(self, request: Any) -> Any:
        """The answer to one try.

        Raises:
            HTTPClientError: there is none, or not to its end. The SDK tries again.
        """
        # Records are small, and the SDK waits without end for the rest of a "100 Continue" that was cut.
        request.headers.pop("Expect", None)
        is_read_later, request.stream_output = request.stream_output, True
        response = self._session.send(request)
        try:
            return self._checked(response, is_read_later=is_read_later and response.status_code < 300)
        except (OSError, HTTPError) as error:
            response.raw.close()
            raise HTTPClientError(error=error) from None

    def close(self) -> None:
        """Close the connections that are idle."""
        self._session.close()

    def _checked(self, response: Any, *, is_read_later: bool) -> Any:
        raw = response.raw
        if response.status_code < 200 or (raw.length_remaining is None and not raw.chunked):
            raise OSError("no answer that has an end")
        if is_read_later:  # by the SDK's StreamingBody, which counts
            return response
        body = bytearray()
        for part in raw.stream(_CHUNK):
            body += part
            if len(body) > _MOST_BYTES:
                raise OSError("an answer without end")
        if raw.length_remaining:
            raise OSError("half an answer")
        return AWSResponse(response.url, response.status_code, response.headers, _Read(body))


class _Read(bytes):
    """A body that was read already."""

    def stream(self) -> list[bytes]:
        """All of it."""
        return [self]
