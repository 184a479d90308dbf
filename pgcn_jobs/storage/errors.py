"""Errors of storage: retries of transient errors, and explanations in one sentence without secrets."""

from __future__ import annotations

import errno
import sys
from collections.abc import Callable, Iterator
from typing import TypeVar
from urllib.parse import urlsplit

import aiohttp
import botocore.exceptions as boto
from botocore.parsers import ResponseParserError
from tenacity import (
    Retrying,
    retry_if_exception,
    stop_after_attempt,
    stop_after_delay,
    wait_random_exponential,
)

from pgcn_jobs.common.codes import Code
from pgcn_jobs.common.failures import StoreError
from pgcn_jobs.storage.http import SLOWEST, SlowServer
from pgcn_jobs.storage.urls import protocol_of, public_url

T = TypeVar("T")

ATTEMPTS = 5
# No attempt begins later than this. A server that refuses costs seconds; one that never answers costs one attempt,
# which has its own time limits (`pgcn_jobs.storage.urls`).
RETRY_WINDOW_S = 10.0

STORAGE_ERRORS = (OSError, boto.BotoCoreError, boto.ClientError, ResponseParserError, aiohttp.ClientError)

_PASSING_CODES = frozenset(
    [
        "SlowDown",
        "Throttling",
        "ThrottlingException",
        "RequestLimitExceeded",
        "TooManyRequests",
        "RequestTimeout",
        "InternalError",
        "ServiceUnavailable",
        "OperationAborted",
        "ConditionalRequestConflict",
    ]
)
_NO_ANSWER = (
    boto.HTTPClientError,  # also timeouts and TLS, which have their own sentence
    boto.ConnectionError,
    aiohttp.ClientConnectionError,
    ConnectionError,
)
_TIMEOUTS = (boto.ConnectTimeoutError, boto.ReadTimeoutError, TimeoutError)
_BROKEN_OFF = (
    aiohttp.ClientPayloadError,
    boto.ResponseStreamingError,
    boto.IncompleteReadError,
    ResponseParserError,  # a proxy's page instead of S3's XML
)

_FORBIDDEN = "access is forbidden: check the credentials and what they permit"
_OTHER_REGION = "the bucket is in another region: set AWS_DEFAULT_REGION to its own"
_BAD_TOKEN = "the credentials are no longer valid: get new ones (AWS_SESSION_TOKEN)"  # noqa: S105
_BY_CODE = {
    "NoSuchBucket": "the bucket does not exist: create it, or correct its name",
    "InvalidBucketName": "the bucket's name is not valid: correct it",
    "InvalidAccessKeyId": "the storage does not know this access key: check AWS_ACCESS_KEY_ID",
    "SignatureDoesNotMatch": "the secret key is wrong: check AWS_SECRET_ACCESS_KEY",
    "ExpiredToken": _BAD_TOKEN,
    "InvalidToken": _BAD_TOKEN,
    "AccessDenied": _FORBIDDEN,
    "AllAccessDisabled": _FORBIDDEN,
    "401": _FORBIDDEN,
    "403": _FORBIDDEN,
    "404": "it does not exist",
    "NoSuchKey": "it does not exist",
    "PermanentRedirect": _OTHER_REGION,
    "AuthorizationHeaderMalformed": _OTHER_REGION,
    "301": _OTHER_REGION,
    "RequestTimeTooSkewed": "this machine's clock is wrong: set it",
}
_CODES = {
    **dict.fromkeys(("NoSuchBucket", "404", "NoSuchKey"), Code.STORAGE_MISSING),
    **dict.fromkeys(("AccessDenied", "AllAccessDisabled", "401", "403"), Code.STORAGE_FORBIDDEN),
    **dict.fromkeys(
        ("InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken", "InvalidToken"), Code.STORAGE_CREDENTIALS
    ),
}
"""The stable codes of the storage's own words."""
_NOT_A_FOLDER = "a file stands where a folder is needed: choose another place"
_BY_ERRNO = {
    errno.ENOSPC: "the disk is full: free some space",
    errno.EDQUOT: "the disk quota is used up: free some space",
    errno.ENOTDIR: _NOT_A_FOLDER,
    errno.EEXIST: _NOT_A_FOLDER,
    errno.EISDIR: "a folder stands where a file is needed: choose another place",
    errno.EACCES: "permission denied: change its rights or choose another place",
    errno.EPERM: "permission denied: change its rights or choose another place",
    errno.EROFS: "the disk is read-only: choose another place",
    errno.EMFILE: "too many files are open: raise the limit (ulimit -n)",
}


def with_retries(call: Callable[[], T], url: str) -> T:
    """The result of `call`, with retries of transient errors for at most `RETRY_WINDOW_S` seconds.

    `call` must be idempotent. Raises `StoreError` with the sentence of `explain`; the cause is removed, since it may
    quote a URL with a secret.
    """
    attempts = Retrying(
        stop=stop_after_attempt(ATTEMPTS) | stop_after_delay(RETRY_WINDOW_S),
        wait=wait_random_exponential(multiplier=0.3, max=4),
        retry=retry_if_exception(is_transient),
        reraise=True,
    )
    try:
        return attempts(call)
    except (*STORAGE_ERRORS, *_hub_errors("HTTPError")) as error:
        raise StoreError(explain(error, url), code=code_of_storage(error)) from None


def explain(error: BaseException, url: str) -> str:
    """One sentence without secrets: the fault of the storage at `url`, and its remedy.

    It uses the kind of the error and nothing of the error's text.
    """
    return f"Cannot use {public_url(url)}: {_reason(error, url)}."


def code_of_storage(error: BaseException) -> Code:
    """The stable code of what `explain` says."""
    storage_code = error_code(error)
    if storage_code in _BY_CODE:
        return _CODES.get(storage_code, Code.STORAGE_FAILED)
    if isinstance(error, (boto.NoCredentialsError, boto.PartialCredentialsError)):
        return Code.STORAGE_CREDENTIALS
    if is_transient(error) or isinstance(error, (boto.SSLError, aiohttp.ClientSSLError, *_NO_ANSWER, *_TIMEOUTS)):
        return Code.STORAGE_UNREACHABLE
    if isinstance(error, FileNotFoundError):
        return Code.STORAGE_MISSING
    if isinstance(error, PermissionError):
        return Code.STORAGE_FORBIDDEN
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return Code.STORAGE_FULL
    return Code.STORAGE_FAILED


def is_transient(error: BaseException) -> bool:
    """True if the same request may succeed a little later."""
    status = _status(error)
    if status is not None:
        return status >= 500 or status == 429 or error_code(error) in _PASSING_CODES
    if isinstance(error, (boto.SSLError, aiohttp.ClientSSLError)):
        return False
    return isinstance(error, (*_NO_ANSWER, *_TIMEOUTS, *_BROKEN_OFF, *_hub_errors("TransportError")))


def error_code(error: BaseException) -> str | None:
    """The storage's code of the error, such as `NoSuchBucket` or the HTTP status `403`; None without one."""
    for cause in _chain(error):
        if isinstance(cause, boto.ClientError):
            return str(cause.response.get("Error", {}).get("Code", "unknown"))
        if (status := _http_status(cause)) is not None:
            return str(status)
    return None


def _reason(error: BaseException, url: str) -> str:
    code = error_code(error)
    if code is not None:
        if code in _BY_CODE:
            return _BY_CODE[code]
        if is_transient(error):
            return f"the storage is overloaded or out of order ({code}): try again later"
        return f"the storage refused with {code}"
    if isinstance(error, (boto.NoCredentialsError, boto.PartialCredentialsError)):
        return "there are no credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
    if isinstance(error, boto.ParamValidationError):
        return "the name of the bucket or object is not valid: correct it"
    if isinstance(error, _BROKEN_OFF):
        return "the connection broke off: try again later"
    server = _server(error)
    variable = {"s3": " (AWS_ENDPOINT_URL)", "s3a": " (AWS_ENDPOINT_URL)", "hf": " (HF_ENDPOINT)"}
    address = f"its address{variable.get(protocol_of(url), '')}"
    if isinstance(error, (boto.SSLError, aiohttp.ClientSSLError)):
        return f"{server} has no valid certificate: check {address}, https or http"
    if isinstance(error, SlowServer):
        return f"{server} sends less than {SLOWEST // 1000} kB a second: try again later, or take it from another place"
    if isinstance(error, (*_TIMEOUTS, *_hub_errors("TimeoutException"))):
        return f"{server} does not answer in time: check {address}, or try again later"
    if isinstance(error, (*_NO_ANSWER, *_hub_errors("TransportError"))):
        return f"{server} cannot be reached: check {address}, and that it runs"
    if isinstance(error, FileNotFoundError):
        return "it does not exist"
    if isinstance(error, OSError) and error.errno is not None:
        return _BY_ERRNO.get(error.errno, f"the storage failed with {errno.errorcode.get(error.errno, 'an error')}")
    return f"the storage failed with {type(error).__name__}"


def _server(error: BaseException) -> str:
    """The server, with its address if botocore reports it; without user name and path."""
    endpoint = urlsplit(str(getattr(error, "kwargs", {}).get("endpoint_url") or ""))
    if endpoint.hostname is None:
        return "its server"
    port = f":{endpoint.port}" if endpoint.port else ""
    return f"the storage at {endpoint.scheme}://{endpoint.hostname}{port}"


def _status(error: BaseException) -> int | None:
    """The HTTP status of the response; None without a response."""
    for cause in _chain(error):
        if isinstance(cause, boto.ClientError):
            return int(cause.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 400))
        if (status := _http_status(cause)) is not None:
            return status
    return None


def _http_status(error: BaseException) -> int | None:
    """The HTTP status of an error of aiohttp or huggingface_hub."""
    if isinstance(error, aiohttp.ClientResponseError):
        return error.status
    status = getattr(getattr(error, "response", None), "status_code", None)
    return status if isinstance(status, int) else None


def _hub_errors(name: str) -> tuple[type[Exception], ...]:
    """An exception class of the HTTP client of huggingface_hub, once that is in use: it is not always installed."""
    client = sys.modules.get("httpx2") or sys.modules.get("httpx")
    return (getattr(client, name),) if client else ()


def _chain(error: BaseException) -> Iterator[BaseException]:
    """The error and its causes: s3fs translates botocore's errors and keeps them as the cause."""
    cause: BaseException | None = error
    while cause is not None:
        yield cause
        cause = cause.__cause__
