"""The HTTP side: one answer and one line of log per request."""

import contextlib
import json
import logging
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, HTTPServer
from socketserver import TCPServer
from typing import Any

from .failure import Failure, bad_request, unavailable
from .images import Family
from .reports import Reports, Request

# For health checks while all workers are busy.
SPARE_CONNECTIONS = 16
MAX_LOGGED_CHARACTERS = 300

log = logging.getLogger("coredock_sidecar")


class Service(HTTPServer):
    """Serves a bounded number of connections, one request each."""

    request_queue_size = 128

    def __init__(self, address: tuple[str, int], reports: Reports) -> None:
        self.address_family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        super().__init__(address, Handler)
        self.reports = reports
        limit = reports.settings.workers + reports.settings.queue + SPARE_CONNECTIONS
        self._connections = threading.BoundedSemaphore(limit)
        self._threads = ThreadPoolExecutor(limit, thread_name_prefix="request")

    def server_bind(self) -> None:
        # Without the name lookup of HTTPServer.
        TCPServer.server_bind(self)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Passes the connection to another thread, or refuses it when there are too many."""
        if not self._connections.acquire(blocking=False):
            log.warning("status=none reason=%s", json.dumps("too many connections"))
            self.shutdown_request(request)
            return
        self._threads.submit(self._serve, request, client_address)

    def _serve(self, request: Any, client_address: Any) -> None:
        try:
            self.finish_request(request, client_address)
        except OSError as error:
            log.warning("status=none reason=%s", json.dumps(str(error)))
        finally:
            self.shutdown_request(request)
            self._connections.release()

    def stop(self) -> None:
        """Ends the running requests with an answer."""
        self.reports.stop()
        self.server_close()
        self._threads.shutdown(wait=True)


class Handler(BaseHTTPRequestHandler):
    server: Service
    protocol_version = "HTTP/1.1"
    server_version = "coredock-sidecar"
    sys_version = ""
    # For every read and write.
    timeout = 10

    def setup(self) -> None:
        super().setup()
        self.begun = time.monotonic()

    def do_GET(self) -> None:
        """A report, or the health of the service."""
        try:
            self._answer(HTTPStatus.OK, self._get())
        except Failure as failure:
            self.send_error(failure.status, failure.reason)
        except Exception as error:
            log.exception("request failed: a defect, or the disk is full")
            reason = f"{type(error).__name__} in the sidecar"
            self.send_error(HTTPStatus.INTERNAL_SERVER_ERROR, reason)

    def _get(self) -> dict[str, Any]:
        if self.headers.get("Content-Length", "0") != "0" or "Transfer-Encoding" in self.headers:
            raise bad_request("a request must not have a body")
        path, _, query = self.path.partition("?")
        if path == "/parse-coredump":
            request = Request.parse(query)
            return {"output": self.server.reports.make(request, self.connection)}
        if path == "/":
            return self._health()
        raise Failure(HTTPStatus.NOT_FOUND, "unknown path")

    def _health(self) -> dict[str, Any]:
        settings = self.server.reports.settings
        if not settings.directory.is_dir():
            raise unavailable("the shared directory does not exist")
        families = {family.name.lower(): family in settings.gdbs for family in Family}
        return {"status": "ok", **families}

    def _refuse_method(self) -> None:
        self.send_error(HTTPStatus.METHOD_NOT_ALLOWED, "only GET is supported")

    do_POST = do_PUT = do_PATCH = do_DELETE = do_HEAD = do_OPTIONS = _refuse_method

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Also called by the base class, for input that is not HTTP."""
        self._answer(code, {"error": message or HTTPStatus(code).phrase})

    def _answer(self, status: int, body: dict[str, Any]) -> None:
        content = json.dumps(body).encode()
        self.close_connection = True
        self._log(status, len(content), body.get("error"))
        # The caller disconnected; the log has the answer.
        with contextlib.suppress(OSError):
            self._send(status, content)

    def _send(self, status: int, content: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.send_header("Connection", "close")
        self.end_headers()
        if getattr(self, "command", None) != "HEAD":
            self.wfile.write(content)

    def _log(self, status: int, size: int, reason: str | None) -> None:
        line = str(getattr(self, "requestline", ""))[:MAX_LOGGED_CHARACTERS]
        seconds = time.monotonic() - self.begun
        fields = f"request={json.dumps(line)} status={status:d} bytes={size} seconds={seconds:.3f}"
        log.info("%s%s", fields, f" reason={json.dumps(reason)}" if reason else "")

    def log_message(self, format: str, *args: Any) -> None:
        """The base class has nothing to add."""
