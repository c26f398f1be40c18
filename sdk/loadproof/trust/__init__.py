"""How two sides that share only a token come to trust each other: the token's text, and the authority it pins."""

from loadproof.trust.pin import AUTHORITY_OID, CONTROLLER_NAME, RELAY_NAME, fetch_authority
from loadproof.trust.token import Token, TrustError, authority_pin, parse_token, split_address

__all__ = [
    "AUTHORITY_OID",
    "CONTROLLER_NAME",
    "RELAY_NAME",
    "Token",
    "TrustError",
    "authority_pin",
    "fetch_authority",
    "parse_token",
    "split_address",
]
