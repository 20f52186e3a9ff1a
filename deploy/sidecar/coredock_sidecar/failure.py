"""Failures of requests, each with its status."""

from http import HTTPStatus


class Failure(Exception):
    """Ends a request. For Coredock a 4xx is final, and a 5xx is retried."""

    def __init__(self, status: HTTPStatus, reason: str) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason


def bad_request(reason: str) -> Failure:
    """The request is not valid."""
    return Failure(HTTPStatus.BAD_REQUEST, reason)


def unreadable(reason: str) -> Failure:
    """Dump or ELF cannot be read, in any attempt."""
    return Failure(HTTPStatus.UNPROCESSABLE_ENTITY, reason)


def other_build(reason: str) -> Failure:
    """Dump and ELF are of different builds."""
    return Failure(HTTPStatus.CONFLICT, reason)


def too_large(reason: str) -> Failure:
    """A file is beyond its limit."""
    return Failure(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, reason)


def engine_failed(reason: str) -> Failure:
    """esp-coredump or GDB failed."""
    return Failure(HTTPStatus.INTERNAL_SERVER_ERROR, reason)


def no_engine(reason: str) -> Failure:
    """There is no GDB for this chip."""
    return Failure(HTTPStatus.NOT_IMPLEMENTED, reason)


def unavailable(reason: str) -> Failure:
    """The service cannot answer now, or not with this shared directory."""
    return Failure(HTTPStatus.SERVICE_UNAVAILABLE, reason)


def too_late(reason: str) -> Failure:
    """The time limit of the request has passed."""
    return Failure(HTTPStatus.GATEWAY_TIMEOUT, reason)
