"""Plain requests to an API server: a status and a JSON object come back."""

from __future__ import annotations

import json
import ssl
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPSConnection
from typing import Any
from urllib.parse import urlsplit

LIMIT_S = 60.0


@dataclass(frozen=True, slots=True)
class Api:
    """An API server and who asks it; without a token that is nobody. `authority` is the file that vouches for it."""

    server: str
    token: str | None
    authority: str = ""

    def call(self, method: str, path: str, body: Any = None) -> tuple[int, dict[str, Any]]:
        """Ask; return status and answer. Of a watch's stream the first event is returned."""
        connection = self._connection()
        try:
            connection.request(method, path, None if body is None else json.dumps(body), self._headers(method))
            answer = connection.getresponse()
            data = answer.readline() if "watch=" in path else answer.read()
            return answer.status, json.loads(data or b"{}")
        finally:
            connection.close()

    def do(self, method: str, path: str, body: Any = None) -> dict[str, Any]:
        """Ask for what must succeed; return the answer."""
        status, answer = self.call(method, path, body)
        assert 200 <= status < 300, f"{method} {path}: {status} {answer.get('message')}"
        return answer

    def _connection(self) -> HTTPConnection:
        place = urlsplit(self.server)
        if place.scheme == "https":
            context = ssl.create_default_context(cafile=self.authority)
            return HTTPSConnection(place.netloc, timeout=LIMIT_S, context=context)
        return HTTPConnection(place.netloc, timeout=LIMIT_S)

    def _headers(self, method: str) -> dict[str, str]:
        headers = {"Content-Type": "application/merge-patch+json" if method == "PATCH" else "application/json"}
        if self.token is not None:
            headers["Authorization"] = f"Bearer {self.token}"
        return headers
