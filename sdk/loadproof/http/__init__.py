"""The HTTP engine: `user.http` for one virtual user, `HttpEngine` for all users of a worker, and its errors."""

from loadproof.http.call import RequestOptions
from loadproof.http.client import HttpClient
from loadproof.http.cookies import Cookie, CookieJar
from loadproof.http.engine import HttpEngine
from loadproof.http.errors import (
    ConnectError,
    DecodeError,
    DnsError,
    HttpError,
    InvalidRequest,
    ProtocolError,
    RequestTimeout,
    ResponseTooLarge,
    ServerDisconnected,
    TargetRefused,
    TlsError,
    TooManyRedirects,
)
from loadproof.http.headers import Headers
from loadproof.http.limits import HttpLimits, StageTimeouts
from loadproof.http.policy import TargetPolicy
from loadproof.http.resolver import Resolver
from loadproof.http.response import Response
from loadproof.http.scope import RequestInfo, RequestScope
from loadproof.http.tls import TlsOptions

__all__ = [
    "ConnectError",
    "Cookie",
    "CookieJar",
    "DecodeError",
    "DnsError",
    "Headers",
    "HttpClient",
    "HttpEngine",
    "HttpError",
    "HttpLimits",
    "InvalidRequest",
    "ProtocolError",
    "RequestInfo",
    "RequestOptions",
    "RequestScope",
    "RequestTimeout",
    "Resolver",
    "Response",
    "ResponseTooLarge",
    "ServerDisconnected",
    "StageTimeouts",
    "TargetPolicy",
    "TargetRefused",
    "TlsError",
    "TlsOptions",
    "TooManyRedirects",
]
