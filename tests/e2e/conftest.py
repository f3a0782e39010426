"""Shops for tests. Nothing is built here: `./dev test` hands in a built program."""

import pathlib
import random
import os
import subprocess

import pytest

import api
import contract
from shop import Shop

contract.install()
shops: list[Shop] = []


def pytest_addoption(parser):
    parser.addoption("--program", default="build/release/bookcart", help="the built program")
    parser.addoption("--kills", type=int, default=24, help="how often the kill test kills something")
    parser.addoption("--generated", type=int, default=5, help="generated requests of each route and kind (schemathesis)")


def first_line(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return (done.stdout + done.stderr).strip().splitlines()[0]


def pytest_report_header(config):
    program = config.getoption("--program")
    if not pathlib.Path(program).exists():
        return f"bookcart: {program} is not built"
    libraries = ("libulfius2.7", "libmicrohttpd12", "libsqlite3-0", "libsodium23", "libssl3")
    versions = subprocess.run(
        ["dpkg-query", "-W", "-f=${Package} ${Version}, ", *libraries], capture_output=True, text=True, check=False
    ).stdout
    return [
        f"program: {first_line(program, '--version')} ({program})",
        f"engines: {first_line('/usr/sbin/nginx', '-v')}, {versions.rstrip(', ')}",
        "ports: free ones, chosen by the system; each test that fails shows its shop's",
    ]


@pytest.fixture(scope="session")
def program(request) -> str:
    return request.config.getoption("--program")


@pytest.fixture(scope="session")
def seed() -> int:
    value = int(os.environ.get("BOOKCART_TEST_SEED", random.SystemRandom().randrange(2**32)))
    print(f"BOOKCART_TEST_SEED={value}")
    return value


@pytest.fixture(scope="session")
def shop(program):
    """A running shop that tests share and leave whole."""
    made = Shop(program, name="shared")
    shops.append(made)
    try:
        made.import_catalogue()
        yield made.start()
    finally:
        made.destroy()
        shops.remove(made)


@pytest.fixture(scope="module")
def module_shop(program):
    """A running shop of one file's own, which its tests may fill and change."""
    made = Shop(program, name="module")
    shops.append(made)
    try:
        made.import_catalogue()
        yield made.start()
    finally:
        made.destroy()
        shops.remove(made)


@pytest.fixture
def make_shop(program):
    """make_shop(settings, start=True): a shop of the test's own."""
    own = []

    def make(settings=None, start=True, catalogue=True) -> Shop:
        made = Shop(program, settings, name="own")
        own.append(made)
        shops.append(made)
        if catalogue:
            made.import_catalogue()
        return made.start() if start else made

    yield make
    for made in own:
        made.destroy()
        shops.remove(made)


@pytest.fixture
def anyone(shop):
    caller = api.Caller(shop.url)
    yield caller
    caller.close()


@pytest.fixture
def guest(shop):
    caller = api.guest(shop.url)
    yield caller
    caller.close()


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    outcome = yield
    report = outcome.get_result()
    if report.failed:
        for made in shops:
            title = f"shop {made.url} (operations {made.operations}, data {made.data})"
            report.sections.append((title, made.tail(80)))


def pytest_configure(config):
    config.addinivalue_line("markers", "whole_run: speaks about all tests together; the last one, and only when all run")


def pytest_collection_modifyitems(config, items):
    """Whether every route was called can be asked at the end of a whole run only."""
    last = [item for item in items if item.get_closest_marker("whole_run")]
    files = {path.name for path in pathlib.Path(__file__).parent.glob("test_*.py")}
    is_whole = files == {item.path.name for item in items} and not config.option.keyword and not config.option.deselect
    items[:] = [item for item in items if item not in last] + (last if is_whole else [])
    if last and not is_whole:
        config.hook.pytest_deselected(items=last)


def fail_for_violations(outcome, phase: str) -> None:
    """What an answer of this phase did against the contract fails the test, unless it failed for another reason already."""
    found = contract.take_violations()
    if found and outcome.excinfo is None:
        listed = "\n".join(found[:20])
        outcome.force_exception(AssertionError(f"{len(found)} answers in {phase} are not what api/openapi.yaml says:\n{listed}"))


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_setup():
    fail_for_violations((yield), "setup")


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_call():
    fail_for_violations((yield), "the test")


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_teardown():
    fail_for_violations((yield), "teardown")
