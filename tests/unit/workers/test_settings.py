"""Settings as people type them: what is forgiven, and what is refused by the name that was typed, without the value."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from producers.cli import main
from schemas.synthesis import TeacherSource
from workers.configuration.settings_sources import check_proxies, read_password
from workers.errors import SettingsError
from workers.inference import engines
from workers.settings import Settings, get_settings
from workers.synthesis.teacher.factory import teacher_of

SECRET = "xyzzy7plugh"


@pytest.fixture(autouse=True)
def own_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    for name in os.environ:
        if name.startswith(("TWEETMILL_", "PG", "OPENAI_")) or name in ("DATABASE_URL", "CELERY_BROKER_URL"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("TWEETMILL_HOME", str(tmp_path / "home"))
    get_settings.cache_clear()
    yield
    get_settings.cache_clear()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("TWEETMILL_LEASE", value) for value in ("inf", "-inf", "nan", "0", "-1", "1e300", "1e-9", "６０", "60 s", "9" * 400, "0x10")),
        *(("TWEETMILL_STATEMENT_TIMEOUT", value) for value in ("2147484", "1e18", "0.0001", "nan")),
        *(("TWEETMILL_VISIBILITY_TIMEOUT", value) for value in ("9", "1e5", "10.5", str(2**63), str(2**31), "-600")),
        *(("TWEETMILL_MAX_FAILURES", value) for value in ("0", str(2**31), str(2**64), "many")),
        *(("TWEETMILL_THREADS", value) for value in ("0", "-1", "٣x", "5000", str(2**70))),
        *(("TWEETMILL_UPKEEP_INTERVAL", value) for value in ("31", "0", "inf")),
        *(("TWEETMILL_FLOWER_PORT", value) for value in ("0", "65536", "http", str(2**65))),
        ("TWEETMILL_FLOWER_USER", "a:b"),
        ("TWEETMILL_LOG_JSON", "perhaps"),
        ("TWEETMILL_ENGINE", "parrot"),
        ("TWEETMILL_HOME", "~nobody-of-that-name/x"),
        ("OPENAI_API_KEY", f"{SECRET} x"),
        ("OPENAI_API_KEY", f"{SECRET}é"),
    ],
)
def test_a_wrong_setting_is_named_as_it_is_typed_and_costs_exit_code_2(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str, value: str
):
    monkeypatch.setenv(name, value)
    assert main(["jobs"]) == 2
    told = capsys.readouterr().err
    assert f"{name}: " in told
    assert len(told) < 300
    assert SECRET not in told
    assert "Traceback" not in told


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"TWEETMILL_HEARTBEAT": "60"}, "TWEETMILL_HEARTBEAT must be below 0.75 times TWEETMILL_LEASE"),
        ({"TWEETMILL_LEASE": "12"}, "TWEETMILL_HEARTBEAT must be below 0.75 times TWEETMILL_LEASE"),
        ({"TWEETMILL_REPUBLISH_AFTER": "1"}, "TWEETMILL_REPUBLISH_AFTER must not be below TWEETMILL_UPKEEP_INTERVAL"),
        ({"TWEETMILL_LEASE": "900"}, "TWEETMILL_VISIBILITY_TIMEOUT must not be below TWEETMILL_LEASE"),
    ],
)
def test_settings_that_contradict_each_other_are_both_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], values: dict[str, str], named: str
):
    for name, value in values.items():
        monkeypatch.setenv(name, value)
    assert main(["jobs"]) == 2
    assert named in " ".join(capsys.readouterr().err.split())


def test_every_wrong_setting_is_told_at_once(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("TWEETMILL_LEASE", "soon")
    monkeypatch.setenv("TWEETMILL_THREADS", "all")
    with pytest.raises(SettingsError, match="TWEETMILL_LEASE: ") as told:
        get_settings()
    assert "TWEETMILL_THREADS: " in str(told.value)


@pytest.mark.parametrize("value", ['"{}"', "'{}'", " {} ", "{}\n", '"{}\r\n"', " ' {}' "])
def test_what_a_file_of_settings_leaves_around_a_value_is_taken_off(monkeypatch: pytest.MonkeyPatch, value: str):
    monkeypatch.setenv("DATABASE_URL", value.format("postgresql://me@host/db"))
    monkeypatch.setenv("CELERY_BROKER_URL", value.format("redis://host/1"))
    monkeypatch.setenv("TWEETMILL_LEASE", value.format("90"))
    monkeypatch.setenv("OPENAI_API_KEY", value.format("sk-1"))
    settings = get_settings()
    assert settings.database() == "postgresql+psycopg://me@host/db"
    assert settings.broker() == "redis://host/1"
    assert settings.lease == 90
    assert settings.openai_api_key is not None
    assert settings.openai_api_key.get_secret_value() == "sk-1"


@pytest.mark.parametrize("value", ["", " ", "\n", '""', "' '"])
def test_a_setting_without_a_value_is_not_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, value: str):
    for name in ("DATABASE_URL", "CELERY_BROKER_URL", "TWEETMILL_LEASE", "TWEETMILL_DATABASE_CA_FILE", "OPENAI_BASE_URL", "PGOPTIONS"):
        monkeypatch.setenv(name, value)
    settings = get_settings()
    assert (settings.lease, settings.database_ca_file, settings.openai_base_url) == (60, None, None)
    with pytest.raises(SettingsError, match=r"no database \(DATABASE_URL is empty\)"):
        settings.database()
    with pytest.raises(SettingsError, match=r"no broker \(CELERY_BROKER_URL is empty\)"):
        settings.broker()
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("TWEETMILL_HOME", value)
    monkeypatch.setenv("XDG_STATE_HOME", "relative")
    get_settings.cache_clear()
    assert get_settings().home == tmp_path / ".local/state/tweetmill"


def test_a_relative_home_and_one_of_a_user_become_absolute(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "me"))
    for written, meant in (("mill", tmp_path / "mill"), ("~/mill", tmp_path / "me/mill"), ("./a/../mill", tmp_path / "mill")):
        monkeypatch.setenv("TWEETMILL_HOME", written)
        meant.mkdir(parents=True, exist_ok=True)
        (meant / "stack.json").write_text(json.dumps({"settings": {"broker_url": "redis://host/7"}}))
        get_settings.cache_clear()
        assert get_settings().home == meant
        assert get_settings().broker() == "redis://host/7"


@pytest.mark.parametrize("said", ["", "{", "[]", "[1]", '"x"', "7", "null", '{"settings": 3}', '{"settings": [1]}', "[" * 100_000, "\xff"])
def test_a_spoilt_file_of_the_stack_is_as_good_as_none(tmp_path: Path, said: str):
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "stack.json").write_text(said, encoding="latin-1")
    with pytest.raises(SettingsError, match="no database: run `tweetmill up`"):
        get_settings().database()


def test_a_wrong_value_in_the_file_of_the_stack_is_told_as_such(tmp_path: Path):
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "stack.json").write_text(json.dumps({"settings": {"threads": SECRET}}))
    with pytest.raises(SettingsError, match=r"TWEETMILL_THREADS \(of stack.json\): ") as complaint:
        get_settings()
    assert SECRET not in str(complaint.value)


@pytest.mark.parametrize("name", ["DATABASE_URL", "CELERY_BROKER_URL"])
@pytest.mark.parametrize("sign", list("/?#"))
def test_an_address_that_leaves_a_doubt_is_named_by_its_setting(monkeypatch: pytest.MonkeyPatch, name: str, sign: str):
    monkeypatch.setenv(name, f"{'redis' if 'BROKER' in name else 'postgresql'}://me:{SECRET}{sign}t@127.0.0.1:1/0")
    settings = get_settings()
    with pytest.raises(SettingsError, match=f"^{name}: ") as complaint:
        (settings.broker if "BROKER" in name else settings.database)()
    assert SECRET not in str(complaint.value)
    assert SECRET not in repr(settings)


@pytest.mark.parametrize(
    ("written", "told"),
    [(b"", "the password is empty"), (b" \n", "the password is empty"), (b"a\nb", "more than one line"), (b"\xff\xfe", "not UTF-8")],
)
def test_a_file_that_holds_no_password_is_named_by_its_setting(tmp_path: Path, written: bytes, told: str):
    file = tmp_path / SECRET
    file.write_bytes(written)
    for password_file in (file, tmp_path, tmp_path / f"{SECRET}.none"):
        with pytest.raises(SettingsError, match=r"^TWEETMILL_BROKER_PASSWORD_FILE: ") as complaint:
            Settings(broker_url="redis://host/0", broker_password_file=password_file).broker()
        assert SECRET not in str(complaint.value)
        if password_file == file:
            assert told in str(complaint.value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("DATABASE_URL", f"postgresql://me:{SECRET}/x@host/db"),
        ("CELERY_BROKER_URL", f"redis://:{SECRET}/x@host/0"),
        ("TWEETMILL_FLOWER_PASSWORD_FILE", SECRET),
    ],
)
def test_up_starts_nothing_with_a_wrong_setting(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path, name: str, value: str
):
    monkeypatch.setenv(name, value)
    assert main(["up", "--detach"]) == 2
    told = capsys.readouterr().err
    assert f"{name}: " in told
    assert SECRET not in told
    assert not (tmp_path / "home" / "run").exists()


def test_a_password_of_a_file_is_taken_as_it_stands(tmp_path: Path):
    file = tmp_path / "password"
    file.write_text("\ufeffp/a ss:@#?%é\n", encoding="utf-8")
    assert read_password("X", file) == "p/a ss:@#?%é"
    settings = Settings(
        database_url="postgresql://me:old@host/db", database_password_file=file, broker_url="redis://h", broker_password_file=file
    )
    assert settings.database() == "postgresql+psycopg://me:p%2Fa%20ss%3A%40%23%3F%25%C3%A9@host/db"
    assert settings.broker() == "redis://:p%2Fa%20ss%3A%40%23%3F%25%C3%A9@h/0"


@pytest.mark.parametrize("name", ["HTTPS_PROXY", "http_proxy", "ALL_PROXY"])
@pytest.mark.parametrize(
    "value", [f"http://me:{SECRET}/x@proxy:3128", f"me:{SECRET}#x@proxy:3128", f"http://proxy:{SECRET}", f"http://me:x?{SECRET}@proxy"]
)
def test_a_proxy_that_is_no_address_is_named_before_a_client_quotes_it(monkeypatch: pytest.MonkeyPatch, name: str, value: str):
    monkeypatch.setenv("OPENAI_BASE_URL", "http://localhost:8000/v1")
    monkeypatch.setenv("TWEETMILL_ENGINE", "openai")
    monkeypatch.setenv(name, value)
    for asked in (lambda: teacher_of(TeacherSource(model="m")), lambda: engines.engine_for("m")):
        with pytest.raises(SettingsError, match=f"^{name}: ") as complaint:
            asked()
        assert SECRET not in str(complaint.value)


@pytest.mark.parametrize("value", ["http://me:p@ss:w@proxy:3128", "proxy:3128", "me:pw@proxy:3128", ""])
def test_a_proxy_that_is_one_is_taken(value: str):
    check_proxies({"HTTPS_PROXY": value})


def test_options_of_libpq_s_own_variables_are_kept():
    settings = Settings(
        database_url="postgresql://h/db?options=-csearch_path%3Dtm", postgres_options="-c geqo=off", postgres_service="mill"
    )
    assert "options=-c%20geqo%3Doff%20-csearch_path%3Dtm" in settings.database()
    assert "service=mill" in settings.database()
