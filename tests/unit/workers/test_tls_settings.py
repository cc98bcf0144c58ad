"""Settings of TLS: nobody switches the checks off by mistake."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Any

import pytest

from workers.errors import SettingsError
from workers.settings import Settings


@pytest.fixture
def ca(tmp_path: Path) -> Path:
    file = tmp_path / "ca.pem"
    file.write_text("a certificate")
    return file


def settings(broker: str = "rediss://redis:6380/0", database: str = "postgresql://me@db/mill", **files: Any) -> Settings:
    return Settings(broker_url=broker, database_url=database, **files)


def test_a_rediss_url_is_checked_by_default():
    tls = settings().broker_tls()
    assert tls == {"ssl_cert_reqs": ssl.CERT_REQUIRED, "ssl_check_hostname": True}


def test_an_authority_of_ones_own_is_named_by_file(ca: Path):
    tls = settings(broker_ca_file=ca).broker_tls()
    assert tls is not None
    assert tls["ssl_ca_certs"] == str(ca)


def test_without_tls_there_is_nothing_to_check():
    assert settings("redis://redis/0").broker_tls() is None
    assert settings("redis+socket:///run/valkey.sock?virtual_host=0").broker_tls() is None


def test_a_certificate_of_ones_own_goes_along_and_the_url_is_left_clean():
    told = settings("rediss://w:secret@redis:6380/0?ssl_certfile=/a.pem&ssl_keyfile=/a.key")
    assert told.broker() == "rediss://w:secret@redis:6380/0"
    tls = told.broker_tls()
    assert tls is not None
    assert (tls["ssl_certfile"], tls["ssl_keyfile"], tls["ssl_cert_reqs"]) == ("/a.pem", "/a.key", ssl.CERT_REQUIRED)


@pytest.mark.parametrize("option", ["ssl_cert_reqs=none", "ssl_cert_reqs=CERT_OPTIONAL", "ssl_check_hostname=false", "ssl_ca_certs=/x.pem"])
def test_no_option_of_the_url_switches_the_checks_off(option: str):
    with pytest.raises(SettingsError, match="always checked"):
        settings(f"rediss://redis/0?{option}").broker_tls()


def test_an_authority_without_tls_is_a_mistake(ca: Path):
    with pytest.raises(SettingsError, match="rediss://"):
        settings("redis://redis/0", broker_ca_file=ca).broker_tls()


def test_postgres_is_checked_by_name_and_authority(ca: Path):
    url = settings(database_ca_file=ca).database()
    assert url.startswith("postgresql+psycopg://me@db/mill?")
    assert "sslmode=verify-full" in url
    assert "sslrootcert=" in url


@pytest.mark.parametrize("option", ["sslmode=disable", "sslmode=require", "sslmode=verify-ca", "sslrootcert=system"])
def test_a_url_that_asks_for_less_is_a_mistake(ca: Path, option: str):
    with pytest.raises(SettingsError, match="verify-full"):
        settings(database=f"postgresql://db/mill?{option}", database_ca_file=ca).database()


def test_what_else_the_url_says_is_kept(ca: Path):
    url = settings(database="postgresql://me@/mill?host=%2Frun%2Fpg&options=-c%20geqo%3Doff", database_ca_file=ca).database()
    assert "host=%2Frun%2Fpg" in url
    assert "geqo%3Doff" in url


def test_a_missing_file_is_named(tmp_path: Path):
    with pytest.raises(SettingsError, match=r"TWEETMILL_BROKER_CA_FILE: the certificate can't be read"):
        settings(broker_ca_file=tmp_path / "missing.pem").broker_tls()
    with pytest.raises(SettingsError, match=r"TWEETMILL_DATABASE_CA_FILE: the certificate can't be read"):
        settings(database_ca_file=tmp_path / "missing.pem").database()
