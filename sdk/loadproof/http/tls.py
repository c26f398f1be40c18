"""TLS of the client: system roots unless told otherwise; not verifying needs the word."""

from __future__ import annotations

import ssl
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class TlsOptions:
    """How servers are verified and how the client shows who it is.

    `ca_file`, `cert_file` and `key_file` are paths of PEM files, or what such a file holds (as a secret would).
    `verify=False` accepts any certificate: for test systems only, and the suite's author has to write it.
    `server_name` replaces the host in SNI and verification (a system under test behind another name).
    """

    verify: bool = True
    ca_file: str | None = None
    cert_file: str | None = None
    key_file: str | None = None
    key_password: str | None = None
    server_name: str | None = None

    @property
    def texts(self) -> tuple[str, ...]:
        """Every text that was given."""
        given = (self.ca_file, self.cert_file, self.key_file, self.key_password, self.server_name)
        return tuple(text for text in given if text is not None)

    @property
    def paths(self) -> tuple[str, ...]:
        """The files among them, as they were written."""
        given = (self.ca_file, self.cert_file, self.key_file)
        return tuple(text for text in given if text is not None and not _is_pem(text))

    def filled(self, fill: Callable[[str], str], folder: Path) -> TlsOptions:
        """Return the same with `fill` applied to every text, and its paths, where they are relative, in `folder`."""

        def whole(text: str | None) -> str | None:
            return None if text is None else fill(text)

        def file(text: str | None) -> str | None:
            text = whole(text)
            return text if text is None or _is_pem(text) else str(folder / text)

        return TlsOptions(
            self.verify, file(self.ca_file), file(self.cert_file), file(self.key_file),
            whole(self.key_password), whole(self.server_name),
        )  # fmt: skip

    def context(self) -> ssl.SSLContext:
        """A client context. Raises OSError or ssl.SSLError for files that can't be used."""
        told = self.ca_file is not None and _is_pem(self.ca_file)
        context = ssl.create_default_context(
            cafile=None if told else self.ca_file, cadata=self.ca_file if told else None
        )
        if not self.verify:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        if self.cert_file is not None:
            with tempfile.TemporaryDirectory() as private:  # of mode 0700: the library reads keys from files only
                certificate = _as_file(self.cert_file, Path(private) / "cert")
                key = None if self.key_file is None else _as_file(self.key_file, Path(private) / "key")
                context.load_cert_chain(certificate, key, self.key_password)
        context.set_alpn_protocols(["http/1.1"])
        return context


def _is_pem(text: str) -> bool:
    return text.lstrip().startswith("-----BEGIN ")


def _as_file(given: str, place: Path) -> str:
    if not _is_pem(given):
        return given
    place.write_text(given, encoding="ascii")
    return str(place)
