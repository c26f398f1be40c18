"""The smallest suite that says something: one transaction, one request, one check."""

from loadproof import Suite, VirtualUser

suite = Suite("Minimal", base_url="${TARGET_URL:-http://127.0.0.1:8080}")


@suite.transaction("See whether it is up")
async def is_it_up(user: VirtualUser) -> None:
    """Ask for the health page."""
    answer = await user.http.get("/health")
    answer.check(status=200)
