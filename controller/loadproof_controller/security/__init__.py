"""Who may do what: the certificates a controller makes, the tokens it hands out, and the table of methods and roles."""

from loadproof_controller.security.access import AGENTS_TABLE, OPERATIONS_TABLE, Caller, Role
from loadproof_controller.security.authority import Authority, CertificateProblem, Member
from loadproof_controller.security.tokens import TokenEntry, TokenStore

__all__ = [
    "AGENTS_TABLE",
    "OPERATIONS_TABLE",
    "Authority",
    "Caller",
    "CertificateProblem",
    "Member",
    "Role",
    "TokenEntry",
    "TokenStore",
]
