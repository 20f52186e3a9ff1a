"""What can become of a request instead of a report."""

from http import HTTPStatus


class Failure(Exception):
    """Ends a request. For Coredock a 4xx is final, and a 5xx is retried."""

    def __init__(self, status: HTTPStatus, reason: str) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason


def bad_request(reason: str) -> Failure:
    """The caller did not ask for anything that can be done."""
    return Failure(HTTPStatus.BAD_REQUEST, reason)


def unreadable(reason: str) -> Failure:
    """Dump or ELF cannot be read, now or ever."""
    return Failure(HTTPStatus.UNPROCESSABLE_ENTITY, reason)


def other_build(reason: str) -> Failure:
    """Dump and ELF are of different builds."""
    return Failure(HTTPStatus.CONFLICT, reason)


def too_large(reason: str) -> Failure:
    """A file is beyond its limit."""
    return Failure(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, reason)


def engine_failed(reason: str) -> Failure:
    """esp-coredump or GDB did not do their work."""
    return Failure(HTTPStatus.INTERNAL_SERVER_ERROR, reason)


def no_engine(reason: str) -> Failure:
    """There is no GDB for this chip."""
    return Failure(HTTPStatus.NOT_IMPLEMENTED, reason)


def unavailable(reason: str) -> Failure:
    """Not now, or not with this shared directory."""
    return Failure(HTTPStatus.SERVICE_UNAVAILABLE, reason)


def too_late(reason: str) -> Failure:
    """The time of the request is over."""
    return Failure(HTTPStatus.GATEWAY_TIMEOUT, reason)
