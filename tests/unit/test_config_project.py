"""Reading a suite's folder: what is right becomes a plan, what is wrong is told at once with file and line."""

from __future__ import annotations

from pathlib import Path

import pytest

from loadproof.config import (
    ConfigErrors,
    Project,
    build_plan,
    build_plans,
    load_project,
    rules_for,
    run_spec,
    secret_values,
)
from loadproof.plan import NS_PER_S, ArrivalPhase, UserPhase
from suite_folders import SUITE, TOML, write_suite

INTERFACE = """
[suite]
module = "suite.py"

[environment]
name = "staging"
build = "${BUILD_VERSION:-dev}"
targets = ["*.staging.example.com", "127.0.0.1"]
max_rate = "1000/s"
secrets = ["SHOP_API_KEY"]

[profiles.smoke]
arrivals = [{ rate = "5/s", for = "30s" }]

[profiles.release]
arrivals = [
  { name = "ramp", from = "10/s", to = "400/s", for = "5m" },
  { name = "peak", rate = "400/s", for = "20m" },
]
mix = { "Search" = 70, "Checkout" = 30 }
spacing = "poisson"
session = "new"
max_in_flight = 20000
graceful_stop = "10s"
timeout = "20s"
seed = 5

[profiles.soak]
users = [{ from = 0, to = 500, for = "2m", warmup = true }, { users = 500, for = "2h" }]
pace = "10s"

[profiles.count]
users = [{ users = 10, iterations = 1000 }]

[[rules]]
transaction = "Checkout"
require = "p95 <= 800ms over 30s"
severity = "warn"
step = "Pay"

[[rules]]
transaction = "*"
require = "success_rate >= 99.5%"
abort_after = "30s"
profiles = ["release"]
phase = "peak"

[[rules]]
tag = "catalog"
require = "p95 <= baseline + 10%"
waiver = { reason = "known", owner = "me", until = 2999-12-31 }
"""


MISTAKES = """\
[suit]
module = "suite.py"

[environment]
nam = "staging"
max_rate = 1000
targets = ["http://shop.example.com/"]

[profiles.smoke]
arrivals = [
  { rate = "5/sec", for = "30s" },
  { rate = "5/s", from = "1/s", to = "2/s", for = "30s" },
  { rat = "5/s", for = 30 },
  { rate = "5/s", for = "0s" },
]
spacing = "evn"
mix = { "Serch" = 1, "Checkout" = -1 }
max_in_flight = 0

[profiles.both]
users = [{ users = 3 }]
pace = "10 secs"
sesion = "keep"

[[rules]]
transaction = "Chekout"
require = "p95 =< 800ms"

[[rules]]
tag = "catlog"
profiles = ["smok"]
severity = "blok"
require = "p95 <= 800"

[[rules]]
require = "sucess_rate >= 99%"
waiver = { reason = "x", owners = "y", until = "soon" }
"""

P95 = ' (did you mean "p95 <= 800ms"?)'
SUCCESS = ' (did you mean "success_rate >= 99%"?)'


def load(folder: Path, **environ: str) -> Project:
    return load_project(folder, environ=environ)


def problems(folder: Path, **environ: str) -> list[str]:
    with pytest.raises(ConfigErrors) as caught:
        load(folder, **environ)
    return str(caught.value).replace(f"{folder.as_posix()}/", "").splitlines()


def test_everything_the_interface_shows_is_understood(tmp_path: Path) -> None:
    """Each key reaches the plan, the rules, the environment or the spec."""
    project = load(write_suite(tmp_path, toml=INTERFACE), SHOP_URL="http://shop:80", SHOP_API_KEY="s3cret", OTHER="x")
    plan = build_plan(project, "release")
    assert plan.phases == (
        ArrivalPhase("ramp", 10_000, 400_000, 300 * NS_PER_S),
        ArrivalPhase("peak", 400_000, 400_000, 1200 * NS_PER_S),
    )
    assert [(entry.name, entry.weight, entry.dataset) for entry in plan.transactions] == [
        ("Search", 7, "products"),
        ("Checkout", 3, None),
    ]
    assert (plan.spacing, plan.session, plan.max_in_flight, plan.seed) == ("poisson", "new", 20_000, 5)
    assert (plan.graceful_stop_ns, plan.timeout_ns) == (10 * NS_PER_S, 20 * NS_PER_S)
    assert [(dataset.name, dataset.rows) for dataset in plan.datasets] == [("products", 3)]
    assert [(dataset.different, dataset.most_alike) for dataset in plan.datasets] == [(3, 1)]
    soak = build_plan(project, "soak")
    assert soak.phases[0] == UserPhase("phase 1", 0, 500, 120 * NS_PER_S, None, warmup=True)
    assert (soak.pace_ns, soak.model, soak.timeout_ns) == (10 * NS_PER_S, "closed", 30 * NS_PER_S)
    assert build_plan(project, "count").phases == (UserPhase("phase 1", 10, 10, None, 1000),)
    assert project.environment.build == "dev"
    assert project.environment.max_rate_text == "1000/s"
    assert project.rules[0].criterion.window_ns == 30 * NS_PER_S
    assert project.rules[2].waiver is not None
    assert project.rules[2].waiver.until == "2999-12-31"
    spec = run_spec(project)
    assert spec.variables == {"SHOP_URL": "http://shop:80"}
    assert (spec.secret_names, spec.max_rate) == (("SHOP_API_KEY",), 1_000_000)
    assert project.suite.resolved_base_url(spec.variables) == "http://shop:80"


def test_rules_apply_to_the_profiles_and_phases_they_name(tmp_path: Path) -> None:
    """A rule of another profile judges nothing here."""
    project = load(write_suite(tmp_path, toml=INTERFACE))
    assert [rule.transaction or rule.tag for rule in rules_for(project, build_plan(project, "smoke"))] == [
        "Checkout",
        "catalog",
    ]
    assert len(rules_for(project, build_plan(project, "release"))) == 3


def test_a_seed_of_the_command_line_replaces_the_profile_s(tmp_path: Path) -> None:
    """And an impossible one is refused."""
    project = load(write_suite(tmp_path))
    assert build_plan(project, "smoke", seed=9).seed == 9
    assert build_plan(project, "smoke", seed=9).sha256 != build_plan(project, "smoke").sha256
    with pytest.raises(ConfigErrors, match="a seed lies between"):
        build_plan(project, "smoke", seed=-1)
    with pytest.raises(ConfigErrors, match=r'unknown profile "smok".*did you mean "smoke"'):
        build_plan(project, "smok")


def test_the_plan_s_identity_is_the_load_and_nothing_else(tmp_path: Path) -> None:
    """Other environment, rules, build, or 70/30 for 7/3: one hash. Other data: another."""
    one = write_suite(tmp_path / "one", toml=INTERFACE)
    other = INTERFACE.replace("staging", "production").replace("800ms", "900ms")
    other = other.replace('"Search" = 70, "Checkout" = 30', '"Checkout" = 0.3, "Search" = 0.7')
    two = write_suite(tmp_path / "two", toml=other)
    first = build_plan(load(one), "release").sha256
    assert build_plan(load(two, BUILD_VERSION="7"), "release").sha256 == first
    (two / "data" / "products.csv").write_text("sku\nZ\n")
    assert build_plan(load(two), "release").sha256 != first


def test_every_mistake_is_told_at_once_with_its_line_and_a_suggestion(tmp_path: Path) -> None:
    """No mistake hides another, in whatever table it stands."""
    assert problems(write_suite(tmp_path, toml=MISTAKES)) == [
        'loadproof.toml:1: unknown key "suit" (did you mean "suite"?)',
        'loadproof.toml:5: unknown key "nam" in [environment] (did you mean "name"?)',
        'loadproof.toml:6: "max_rate" must be a rate with its unit, in quotes (did you mean "1000/s"?)',
        'loadproof.toml:7: "http://shop.example.com/" must be a host, not a URL (did you mean "shop.example.com"?)',
        'loadproof.toml:11: "5/sec" has no known unit of time after "/" (s, m, h) (did you mean "5/s"?)',
        'loadproof.toml:12: a phase has either "rate", or "from" and "to", not both',
        'loadproof.toml:13: "for" must be a duration with its unit, in quotes (did you mean "30s"?)',
        'loadproof.toml:13: unknown key "rat" in arrivals of [profiles.smoke] (did you mean "rate"?)',
        "loadproof.toml:14: a phase of zero length does nothing",
        'loadproof.toml:16: "spacing" must be one of "even", "poisson", not "evn" (did you mean "even"?)',
        'loadproof.toml:17: "Checkout" must lie between 0 and 1,000,000',
        'loadproof.toml:17: unknown transaction "Serch" (did you mean "Search"?)',
        'loadproof.toml:18: "max_in_flight" must be at least 1, not 0',
        'loadproof.toml:21: a phase needs "for" (or "iterations")',
        'loadproof.toml:22: "10 secs" has no known unit of time (us, ms, s, m, h) (did you mean "10s"?)',
        'loadproof.toml:23: unknown key "sesion" in [profiles.both] (did you mean "session"?)',
        'loadproof.toml:26: unknown transaction "Chekout" (did you mean "Checkout"?)',
        'loadproof.toml:27: "p95 =< 800ms": column 5: operator "=<" is not one of <=, <, >=, >' + P95,
        'loadproof.toml:30: unknown tag "catlog" (did you mean "catalog"?)',
        'loadproof.toml:31: unknown profile "smok" (did you mean "smoke"?)',
        'loadproof.toml:32: "severity" must be one of "block", "warn", not "blok" (did you mean "block"?)',
        'loadproof.toml:33: "p95 <= 800": column 11: p95 needs a duration such as 800ms (did you mean "p95 <= 800ms"?)',
        'loadproof.toml:35: a rule needs "transaction" (a name or "*") or "tag"',
        'loadproof.toml:36: "sucess_rate >= 99%": column 1: "sucess_rate" is not a metric' + SUCCESS,
        'loadproof.toml:37: "owner" is missing in waiver of [[rules]]',
        'loadproof.toml:37: "until" must be a date such as "2026-12-31"',
        'loadproof.toml:37: unknown key "owners" in waiver (did you mean "owner"?)',
    ]


@pytest.mark.parametrize(
    ("profile", "expected"),
    [
        ("", 'needs "arrivals" or "users"'),
        ('arrivals = [{ rate = "1/s", for = "1s" }]\nusers = [{ users = 1, for = "1s" }]', "not both"),
        ("arrivals = []", "zero length"),
        ('arrivals = [{ rate = "0/s", for = "1s" }]', "offers no load"),
        ('users = [{ users = 0, for = "1s" }]', "no users"),
        ('arrivals = [{ from = "1/s", for = "1s" }]', '"to" is missing'),
        ('arrivals = [{ for = "1s" }]', 'a phase needs "rate", or "from" and "to"'),
        ('arrivals = [{ rate = "1/s" }]', '"for" is missing in arrivals of [profiles.smoke]'),
        ('arrivals = "5/s"', "must be a list: [ ... ], not"),
        ('arrivals = [{ rate = "1/s", for = "1s" }]\npace = "1s"', '"pace" is for users'),
        ('users = [{ users = 1, for = "1s" }]\nspacing = "even"', '"spacing" is for arrivals'),
        ('users = [{ users = 1, iterations = 3 }, { users = 1, for = "1s" }]', "needs a profile of this one phase"),
        ("users = [{ from = 1, to = 2, iterations = 3 }]", "a fixed number of users"),
        (
            'arrivals = [{ name = "a", rate = "1/s", for = "1s" }, { name = "a", rate = "1/s", for = "1s" }]',
            "two phases",
        ),
        ('arrivals = [{ rate = "1/s", for = "1s" }]\nmix = {}', "the mix is empty"),
        ('arrivals = [{ rate = "1/s", for = "1s" }]\nmix = { Search = 9973, Checkout = 10007 }', "rounder weights"),
        ('arrivals = [{ rate = "1/s", for = "1s" }]\nmix = { Search = "a" }', "must be a number"),
        ('arrivals = [{ rate = "1/s", for = "1s" }]\nmix = { Search = inf }', "must lie between"),
        ('arrivals = [{ rate = "90000000/s", for = "1h" }]', "at most 1,000,000,000"),
        ('arrivals = [{ rate = "1/s", for = "1s", warmup = "yes" }]', "must be true or false"),
        ('arrivals = [{ rate = "1/s", for = "1s" }]\nseed = -1', "must be at least 0"),
        ('arrivals = [{ rate = "1/s", for = "1s" }]\ntimeout = "0s"', "would fail every request"),
    ],
)
def test_a_profile_that_means_nothing_is_refused(tmp_path: Path, profile: str, expected: str) -> None:
    """Each with the one thing that is wrong."""
    found = problems(write_suite(tmp_path, toml=f"[profiles.smoke]\n{profile}\n"))
    assert len(found) == 1
    assert expected in found[0]
    assert found[0].startswith("loadproof.toml:")


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ('transaction = "*"\ntag = "money"\nrequire = "p95 <= 1s"', "not both"),
        ('transaction = "*"', '"require" is missing in [[rules]]'),
        ('transaction = "*"\nrequire = "p95 <= 1s"\nprofiles = []', "would never apply"),
        ('transaction = "*"\nrequire = "p95 <= 1s"\nphase = "peek"', 'unknown phase "peek"'),
        ('transaction = "*"\nrequire = "p95 <= 1s"\nabort_after = "30"', '(did you mean "30s"?)'),
        ('transaction = "*"\nrequire = 5', "must be a text in quotes, not 5"),
    ],
)
def test_a_rule_that_means_nothing_is_refused(tmp_path: Path, rule: str, expected: str) -> None:
    """Each with the one thing that is wrong."""
    found = problems(write_suite(tmp_path, toml=f"{TOML}\n[[rules]]\n{rule}\n"))
    assert len(found) == 1
    assert expected in found[0]


def test_files_that_are_missing_or_broken(tmp_path: Path) -> None:
    """No configuration, no TOML, no module, no data."""
    assert "does not exist" in problems(tmp_path)[0]
    folder = write_suite(
        tmp_path / "a",
        toml='[suite]\nmodule = "sute.py"\n' + TOML.replace("[suite]", "").replace('module = "suite.py"', ""),
    )
    assert problems(folder) == ['loadproof.toml:2: the module "sute.py" does not exist (did you mean "suite.py"?)']
    folder = write_suite(tmp_path / "b", toml="[suite]\nmodule = \n")
    assert problems(folder) == ["loadproof.toml:2: is not TOML: Invalid value"]
    folder = write_suite(tmp_path / "c", suite=SUITE.replace("products.csv", "prodcts.csv"))
    assert problems(folder) == [
        'suite.py:15: dataset "products": data/prodcts.csv does not exist (did you mean data/products.csv?)'
    ]
    folder = write_suite(tmp_path / "d", toml="[suite]\n")
    assert problems(folder) == ["loadproof.toml: there is no profile, such as [profiles.smoke] with arrivals"]


def test_mistakes_of_the_suite_stand_beside_those_of_the_file(tmp_path: Path) -> None:
    """An import that fails does not hide what is wrong in the TOML, nor bad rows what is wrong in the suite."""
    folder = write_suite(
        tmp_path / "a", suite="import os\n\n1 / 0\n", toml=TOML + "\n[[rules]]\nrequire = 'p95 <= 3'\n"
    )
    assert problems(folder) == [
        'loadproof.toml:8: a rule needs "transaction" (a name or "*") or "tag"',
        'loadproof.toml:9: "p95 <= 3": column 9: p95 needs a duration such as 800ms (did you mean "p95 <= 3ms"?)',
        "suite.py:3: ZeroDivisionError: division by zero",
    ]
    folder = write_suite(tmp_path / "b", data__products_DOT_csv="sku,price\nA,1\nB,cheap\nC,x\n")
    assert problems(folder) == [
        "data/products.csv:3: 'price' should be a valid number, not 'cheap'",
        "data/products.csv:4: 'price' should be a valid number, not 'x'",
    ]


def test_a_unique_dataset_too_short_says_how_many_rows_are_needed(tmp_path: Path) -> None:
    """Arrivals that draw are counted exactly; users are not, they stop."""
    suite = SUITE.replace("row=Product)", 'row=Product, order="unique")')
    toml = TOML + '\n[profiles.users]\nusers = [{ users = 5, for = "1m" }]\n'
    toml += '[profiles.tiny]\narrivals = [{ rate = "4/s", for = "1s" }]\n'
    project = load(write_suite(tmp_path, suite=suite, toml=toml))
    with pytest.raises(ConfigErrors) as caught:
        build_plan(project, "smoke")
    (problem,) = caught.value.problems
    assert problem.line == 15
    assert 'profile "smoke" draws 105 rows, data/products.csv has 3' in problem.message
    assert build_plan(project, "users").datasets[0].order == "unique"
    assert build_plan(project, "tiny").phases


def test_variables_come_from_the_submitter_s_environment(tmp_path: Path) -> None:
    """Missing ones are told where they are used; defaults fill; secrets never enter the file or the variables."""
    toml = TOML + '\n[environment]\nname = "${STAGE}"\nbuild = "${BUILD:-b1}"\nsecrets = ["KEY"]\n'
    suite = SUITE.replace("${SHOP_URL:-http://127.0.0.1:8080}", "${SHOP_URL}").replace(
        'Suite("Shop",', 'Suite("Shop", headers={"X": "${KEY}"},'
    )
    folder = write_suite(tmp_path, toml=toml, suite=suite)
    assert problems(folder, STAG="x") == [
        'loadproof.toml:9: the environment variable STAGE is not set (did you mean "STAG"?)',
        "suite.py:6: the environment variable SHOP_URL is not set",
    ]
    project = load(folder, STAGE="test", SHOP_URL="https://shop", KEY="hush", BUILD="")
    assert (project.environment.name, project.environment.build) == ("test", "b1")
    assert project.variables == {"STAGE": "test", "SHOP_URL": "https://shop", "BUILD": ""}
    assert project.suite.resolved_headers(project.variables, {"KEY": "hush"}) == {"X": "hush"}
    assert secret_values(project, {"KEY": "hush"}) == {"KEY": "hush"}
    with pytest.raises(ConfigErrors, match="the secret KEY is not set"):
        secret_values(project, {"KEY": ""})
    assert "hush" not in repr(project)
    leaking = write_suite(tmp_path / "leak", toml=toml.replace("${STAGE}", "${KEY}"), suite=suite)
    assert "KEY is a secret" in problems(leaking, SHOP_URL="http://shop", KEY="hush")[0]


def test_a_base_url_must_be_one(tmp_path: Path) -> None:
    """A host without a scheme is the usual slip."""
    folder = write_suite(tmp_path, suite=SUITE.replace("${SHOP_URL:-http://127.0.0.1:8080}", "127.0.0.1:8080"))
    (problem,) = problems(folder)
    assert problem.startswith("suite.py:6: base_url")
    assert problem.endswith('(did you mean "http://127.0.0.1:8080"?)')


@pytest.mark.parametrize("host", ["bad host", "b\u00fc..de"])
def test_the_host_of_a_base_url_must_be_one(tmp_path: Path, host: str) -> None:
    """What no request could be sent to is a mistake of the suite, with its place."""
    folder = write_suite(tmp_path, suite=SUITE.replace("127.0.0.1:8080", host))
    (problem,) = problems(folder)
    assert problem.startswith("suite.py:6: base_url")
    assert repr(host) in problem
    assert "stage" not in problem


@pytest.mark.parametrize("target", ["10.0.0.0/8", "::1", "[::1]:8080", "*.shop.example:443", "b\u00fccher.example"])
def test_hosts_addresses_networks_and_ports_are_targets(tmp_path: Path, target: str) -> None:
    """Everything that the guide promises."""
    toml = TOML + f'\n[environment]\ntargets = ["127.0.0.1", "{target}"]\n'
    project = load(write_suite(tmp_path, toml=toml))
    assert project.environment.targets == ("127.0.0.1", target)
    assert project.warnings == ()


@pytest.mark.parametrize("target", ["", " ", "a b", "a/b", "x@y", "*", "shop.*", "a:abc", "10.0.0.0/99"])
def test_what_is_no_target_is_a_mistake(tmp_path: Path, target: str) -> None:
    """It is told before a run, not by the agents."""
    folder = write_suite(tmp_path, toml=TOML + f'\n[environment]\ntargets = ["{target}"]\n')
    (problem,) = problems(folder)
    assert problem.startswith(f'loadproof.toml:9: "{target}" is no host such as')


def test_a_base_url_outside_of_the_targets_is_a_warning(tmp_path: Path) -> None:
    """The first thing that is forgotten when a suite moves to another system, and every request would be refused."""
    toml = TOML + '\n[environment]\ntargets = ["*.shop.example", "127.0.0.1:80"]\n'
    folder = write_suite(tmp_path, toml=toml)
    (warning,) = load(folder).warnings
    assert 'loadproof.toml:9: the suite\'s base_url is at "127.0.0.1", which is not among them' in warning
    assert load(folder, SHOP_URL="https://eu.shop.example").warnings == ()
    assert load(folder, SHOP_URL="http://127.0.0.1").warnings == ()


def test_what_is_allowed_but_surprising_is_a_warning(tmp_path: Path) -> None:
    """A rate that had to be rounded, a waiver that has ended, a transaction or a pause that is not awaited."""
    suite = SUITE.replace(
        "async def checkout(user):\n    await user.think(1)", "async def checkout(user):\n    user.think(1)"
    )
    toml = TOML.replace("5/s", "100/m") + (
        '\n[[rules]]\ntransaction = "*"\nrequire = "p95 <= 1s"\n'
        'waiver = { reason = "x", owner = "me", until = "2020-01-01" }\n'
    )
    project = load(write_suite(tmp_path, suite=suite, toml=toml))
    texts = [warning.replace(f"{tmp_path.as_posix()}/", "") for warning in project.warnings]
    assert texts == [
        'loadproof.toml:6: "100/m" is offered as 1.667/s',
        'loadproof.toml:11: the waiver of me for "p95 <= 1s" on * ended on 2020-01-01: the rule blocks again',
        "suite.py:23: transaction 'Checkout' never awaits: what it does holds up every other user of its worker",
        "suite.py:25: user.think(...) is not awaited: it does not wait",
    ]


def test_a_rule_that_can_have_no_data_is_a_warning(tmp_path: Path) -> None:
    """A blocking rule without data means NOT PROVEN, which is better known before the run."""
    toml = TOML + 'mix = { Checkout = 1 }\n\n[[rules]]\ntransaction = "Search"\nrequire = "p95 <= 1s"\n'
    (warning,) = load(write_suite(tmp_path, toml=toml)).warnings
    assert warning.endswith('loadproof.toml:9: profile "smoke" does not run "Search": the rule has no data there')


def test_several_profiles_tell_their_mistakes_together(tmp_path: Path) -> None:
    """Each profile that draws more rows than there are."""
    suite = SUITE.replace("row=Product)", 'row=Product, order="unique")')
    toml = TOML + '\n[profiles.long]\narrivals = [{ rate = "9/s", for = "1h" }]\n'
    project = load(write_suite(tmp_path, suite=suite, toml=toml))
    with pytest.raises(ConfigErrors) as caught:
        build_plans(project, project.profiles)
    assert [problem.message.split('"')[3] for problem in caught.value.problems] == ["smoke", "long"]


def test_required_files_are_those_no_agent_can_do_without(tmp_path: Path) -> None:
    """The configuration, the module and the data."""
    assert load(write_suite(tmp_path)).required_files == ("loadproof.toml", "suite.py", "data/products.csv")
