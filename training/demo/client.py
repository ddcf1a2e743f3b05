"""A small client of Plumb's own API, with nothing but the standard library."""

import json
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from typing import Any

POLL_SECONDS = 1.0
TRIES = 30


class ApiRefusal(Exception):
    """The API said no: its status, and its sentence."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(f"{message} ({status})")
        self.status = status


class Client:
    """Speaks for one token. `revive` is called while the server does not answer, so that it may be started again."""

    def __init__(self, address: str, token: str, revive: Callable[[], Any] = lambda: None) -> None:
        self.address = address
        self.token = token
        self.revive = revive

    def get(self, path: str) -> Any:
        return self.call("GET", path)

    def post(self, path: str, body: Any = None) -> Any:
        return self.call("POST", path, body)

    def call(self, method: str, path: str, body: Any = None) -> Any:
        """The JSON of the answer, or None for 204. A server that is away is asked again; posts carry their own ids."""
        request = urllib.request.Request(  # noqa: S310 - the address is our own server's
            f"{self.address}/api/v1{path}",
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Authorization": f"Bearer {self.token}", "Content-Type": "application/json"},
        )
        for attempt in range(TRIES):
            try:
                with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310
                    return json.loads(answer.read() or b"null")
            except urllib.error.HTTPError as error:
                raise ApiRefusal(error.code, _sentence(error.read())) from None
            except (urllib.error.URLError, ConnectionError, TimeoutError):
                if attempt == TRIES - 1:
                    raise
                self.revive()
                time.sleep(POLL_SECONDS)
        raise AssertionError("unreachable")

    def wait_for_job(self, job: int, say: Callable[[str], Any]) -> dict[str, Any]:
        """Follow a job to its end. Raises ApiRefusal with its error when it did not end well."""
        said = ""
        while True:
            found = self.get(f"/jobs/{job}/")
            message = found["progress"]["message"]
            if message and message != said:
                say(f"    {found['progress']['fraction']:4.0%}  {message}")
                said = message
            if found["status"] == "done":
                return found
            if found["status"] in {"failed", "cancelled"}:
                raise ApiRefusal(409, f"{found['title']}: {found['error'] or found['status']}")
            self.revive()
            time.sleep(POLL_SECONDS)


def _sentence(body: bytes) -> str:
    try:
        return json.loads(body)["error"]["message"]
    except (ValueError, KeyError, TypeError):
        return body[:200].decode(errors="replace") or "no words"
