"""Who may what over HTTP: every route of the table by every role, and what a browser's cookie is protected by."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from loadproof_controller.errors import ServiceError
from loadproof_controller.house import HouseOptions, open_house
from loadproof_controller.security import Caller, Role
from loadproof_controller.web.access import Sessions
from loadproof_controller.web.guard import PAGE_POLICY
from loadproof_controller.web.routes import Route
from loadproof_controller.web.server import WebOptions
from web_house import WebHouse, browser_of, csrf_of, web_house


@pytest.fixture
async def up(tmp_path: Path) -> AsyncIterator[WebHouse]:
    async with web_house(tmp_path / "data", metrics=True) as house:
        yield house


def _path(route: Route) -> str:
    path = route.path.replace("{run_id}", "none-such").replace("{format}", "json").replace("{token_id}", "00000000")
    return path.replace("{version}", "0").replace("{name}", "live.js")


OPEN_PATHS = {"/login", "/static/{version}/{name}", "/healthz", "/api/v1/openapi.json"}


async def test_every_route_asks_every_role(up: WebHouse) -> None:
    """No token: 401; a wrong one: 401; a role the table does not list: 403; one it lists: neither."""
    assert up.house.web is not None
    table = up.house.web.routes
    assert {route.path for route in table if route.roles is None} == OPEN_PATHS
    assert len(table) >= 30
    roles: tuple[Role, ...] = ("viewer", "operator", "agent")
    async with aiohttp.ClientSession(up.url) as nobody:
        for route in table:
            where = f"{route.method} {route.path}"
            for headers in ({}, {"Authorization": "Bearer lp1.insecure.wrong"}, {"Authorization": "Basic eDp5"}):
                async with nobody.request(route.method, _path(route), headers=headers, allow_redirects=False) as answer:
                    asks = route.roles is not None or where == "POST /login"
                    assert (answer.status == 401) == asks, (where, headers, answer.status)
            if route.kind == "api":
                for role in roles:
                    async with nobody.request(route.method, _path(route), headers=up.headers(role)) as answer:
                        wanted = route.roles is None or role in route.roles
                        assert (answer.status not in {401, 403}) == wanted, (where, role, answer.status)
                        assert answer.status < 500, (where, role)
                        if answer.status >= 400:
                            assert answer.content_type == "application/problem+json", where
    for role in ("viewer", "operator"):
        async with browser_of(up, role) as session:
            for route in table:
                if route.kind == "page" and route.path not in {"/logout", "/login"}:
                    async with session.request(route.method, _path(route), allow_redirects=False) as answer:
                        allowed = route.roles is None or role in route.roles
                        where = f"{route.method} {route.path} {role}"
                        if route.method == "POST":
                            assert answer.status in {403, 415}, where  # none has the form's own token
                        else:
                            assert (answer.status not in {401, 403}) == allowed, (where, answer.status)
                            assert answer.status < 500, where


async def test_a_cookie_changes_nothing_without_the_forms_own_token(up: WebHouse) -> None:
    """Another site's form, a form of ours without its token, and a call to the REST interface by cookie are refused."""
    async with browser_of(up, "operator") as session:
        csrf = await csrf_of(session)
        for data, headers in (
            ({}, {}),
            ({"csrf": "0" * 64}, {}),
            ({"csrf": csrf}, {"Origin": "https://elsewhere.example"}),
            ({"csrf": csrf}, {"Sec-Fetch-Site": "cross-site"}),
        ):
            async with session.post("/runs/x/stop", data=data, headers=headers) as answer:
                assert answer.status == 403, (data, headers)
        async with session.post("/runs/x/stop", data={"csrf": csrf}) as answer:
            assert answer.status == 404
        async with session.post("/api/v1/tokens", json={"role": "operator", "name": "mine"}) as answer:
            assert answer.status == 401
        async with session.get("/api/v1/runs") as answer:
            assert answer.status == 200


async def test_the_cookie_is_strict_and_ends_with_its_token(up: WebHouse) -> None:
    """HttpOnly and SameSite=Strict; a changed cookie is nobody's; a revoked token ends its sessions at once."""
    jar = aiohttp.CookieJar(unsafe=True)
    async with aiohttp.ClientSession(up.url, cookie_jar=jar) as session:
        async with session.post("/login", data={"token": up.tokens["viewer"]}, allow_redirects=False) as answer:
            cookie = answer.headers["Set-Cookie"]
            assert answer.status == 303
        assert {"HttpOnly", "SameSite=Strict"} <= set(cookie.split("; "))
        assert up.tokens["viewer"] not in cookie
        async with session.get("/") as answer:
            assert answer.status == 200
        value = cookie.partition("=")[2].partition(";")[0]
        for changed in (value[:-1] + ("0" if value[-1] != "0" else "1"), "x." + value.partition(".")[2], "", "a.b"):
            headers = {"Cookie": f"loadproof={changed}"}
            async with aiohttp.ClientSession(up.url) as other, other.get("/", headers=headers) as answer:
                assert answer.status == 401
        entry = next(token for token in up.house.service.tokens() if token.name == "test viewer")
        up.house.service.revoke_token(entry.token_id)
        async with session.get("/") as answer:
            assert answer.status == 401


@pytest.mark.parametrize(
    ("referer", "then"),
    [("{up}/fleet?a=b", "/fleet?a=b"), ("", "/"), ("https://evil.example/fleet", "/"), ("http://[", "/")],
)
async def test_a_form_sent_after_the_session_s_end_leads_back_to_its_page(
    up: WebHouse, referer: str, then: str
) -> None:
    """Whoever logs in again is not sent to an address that only takes forms, nor to another site."""
    async with browser_of(up, "operator") as session:
        csrf = await csrf_of(session)
        entry = next(token for token in up.house.service.tokens() if token.name == "test operator")
        up.house.service.revoke_token(entry.token_id)
        headers = {"Referer": referer.format(up=up.url)}
        for path in ("/logout", "/runs/none-such/stop"):
            async with session.post(path, data={"csrf": csrf}, headers=headers) as answer:
                assert answer.status == 401
                assert f'name="next" value="{then}"' in await answer.text()


async def test_wrong_tokens_at_the_login_have_to_wait(up: WebHouse) -> None:
    """An agent's token opens nothing; after ten failures the right token waits, too."""
    async with aiohttp.ClientSession(up.url) as session:
        async with session.post("/login", data={"token": up.tokens["agent"]}) as answer:
            assert answer.status == 403
        for _ in range(9):
            async with session.post("/login", data={"token": "lp1.insecure.wrong"}) as answer:
                assert answer.status == 401
        async with session.post("/login", data={"token": up.tokens["viewer"]}) as answer:
            assert answer.status == 429
            assert 1 <= int(answer.headers["Retry-After"]) <= 61


@pytest.mark.parametrize(
    "target", ["//evil.example", "https://evil.example", "/\\evil.example", "javascript:0", "/\r\nX: y"]
)
async def test_login_never_leads_to_another_site(up: WebHouse, target: str) -> None:
    """Where to go after logging in is a path of ours."""
    async with aiohttp.ClientSession(up.url) as session:
        form = {"token": up.tokens["viewer"], "next": target}
        async with session.post("/login", data=form, allow_redirects=False) as answer:
            assert answer.headers["Location"] == "/"


async def test_every_answer_has_its_security_headers(up: WebHouse) -> None:
    """Pages, problems, files and unknown addresses: a strict policy, no sniffing, no frames, nothing kept."""
    async with aiohttp.ClientSession(up.url) as session:
        for path in ("/", "/login", "/nothing", "/api/v1/nothing", "/api/v1/runs", "/static/0/live.js"):
            async with session.get(path) as answer:
                assert answer.headers["Content-Security-Policy"] == PAGE_POLICY, path
                assert answer.headers["X-Content-Type-Options"] == "nosniff"
                assert answer.headers["X-Frame-Options"] == "DENY"
                assert "aiohttp" not in answer.headers["Server"]
        async with session.get("/api/v1/nothing") as answer:
            assert answer.content_type == "application/problem+json"
            assert (await answer.json())["status"] == 404


async def test_metrics_are_off_by_default(tmp_path: Path) -> None:
    """Without the flag there is nothing at /metrics."""
    async with web_house(tmp_path / "data") as up:
        asked = aiohttp.request("GET", f"{up.url}/metrics", headers=up.headers("viewer"))
        async with asked as answer:
            assert answer.status == 404


async def test_plaintext_pages_are_for_loopback_only(tmp_path: Path) -> None:
    """Without TLS nothing is served where other machines reach it, and the message says why; nor at a taken port."""
    options = HouseOptions("127.0.0.1", 0, tmp_path / "a", 0, insecure=True, web=WebOptions("192.0.2.1", 0))
    with pytest.raises(ServiceError, match="takes TLS"):
        async with open_house(options):
            pass
    async with web_house(tmp_path / "b") as up:
        with pytest.raises(ServiceError, match="cannot serve pages"):
            async with web_house(tmp_path / "c", port=int(up.url.rpartition(":")[2])):
                pass


def test_a_cookie_over_tls_is_bound_to_its_host_and_to_tls(tmp_path: Path) -> None:
    """Named __Host-, Secure: no other host or plaintext page can set or read it."""
    sessions = Sessions(tmp_path, lambda _token: None, secure=True)
    response = web.Response()
    sessions.begin(response, Caller("viewer", "board", "00000000"))
    cookie = response.cookies["__Host-loadproof"]
    assert (cookie["secure"], cookie["httponly"], cookie["samesite"], cookie["path"]) == (True, True, "Strict", "/")
    assert not cookie["domain"]
