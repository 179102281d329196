"""A wrong setting stops the start with name, value and expectation; secrets are never shown."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from alert_responder.errors import SettingsError
from alert_responder.incidents import Policy
from alert_responder.settings import Settings, load_settings

if TYPE_CHECKING:
    from pathlib import Path


def write(folder: Path, text: str) -> Path:
    (folder / "responder.yml").write_text(text)
    return folder / "responder.yml"


def test_paths_start_where_they_are_written(tmp_path: Path) -> None:
    """Project and state start at the file's folder; what belongs to the project starts there."""
    file = write(
        tmp_path,
        "project: checkout\nstate: /var/lib/responder\ninventory: inventories/lab\n"
        "tls_certificate: tls/responder.pem\ntls_key: /etc/responder.key\n",
    )
    settings = load_settings(file, {})

    assert settings.project == tmp_path / "checkout"
    assert settings.inventory == tmp_path / "checkout" / "inventories" / "lab"
    assert settings.runbooks == tmp_path / "checkout" / "runbooks"
    assert settings.collections == (tmp_path / "checkout" / "collections",)
    assert settings.tls_certificate == tmp_path / "tls" / "responder.pem"
    assert str(settings.tls_key) == "/etc/responder.key"
    assert str(settings.file) == "/var/lib/responder/incidents.sqlite3"


def test_the_environment_wins(tmp_path: Path) -> None:
    """Each setting has a variable; lists are separated by commas, the policy is YAML."""
    settings = load_settings(
        write(tmp_path, "concurrency: 2\nlisten: 127.0.0.1:1\n"),
        {
            "ALERT_RESPONDER_CONCURRENCY": "3",
            "ALERT_RESPONDER_LISTEN": "127.0.0.1:19099, [::1]:19099",
            "ALERT_RESPONDER_TOKENS": "0123456789abcdef,fedcba9876543210",
            "ALERT_RESPONDER_POLICY": "{unknown_probes: 9}",
            "ALERT_RESPONDER_CONFIG": "not a setting",
            "OTHER": "x",
        },
    )

    assert settings.concurrency == 3
    assert settings.listen == ("127.0.0.1:19099", "[::1]:19099")
    assert [token.get_secret_value() for token in settings.tokens] == ["0123456789abcdef", "fedcba9876543210"]
    assert settings.policy == Policy(unknown_probes=9)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        pytest.param("concurency: 4", "concurency is not a known key", id="typo"),
        pytest.param("concurrency: 0", "concurrency is 0: input should be greater than 0", id="zero"),
        pytest.param("concurrency: many", "concurrency is 'many'", id="type"),
        pytest.param("listen: 19099", "listen is 19099", id="listen-number"),
        pytest.param("listen: ['127.0.0.1']", "listen.0 is '127.0.0.1'", id="listen-without-port"),
        pytest.param("listen: []", "at least 1 item", id="listen-nothing"),
        pytest.param("policy: {unknown_probe: 3}", "policy.unknown_probe is not a known key", id="policy-typo"),
        pytest.param("concurrency: 1\nconcurrency: 2", "key 'concurrency' is given twice", id="twice"),
        pytest.param("- a", "expected a mapping of settings", id="list"),
        pytest.param("a: [", "Cannot read the settings", id="not-yaml"),
        pytest.param("tls_key: key.pem", "expected tls_certificate and tls_key together", id="tls-half"),
        pytest.param("tls_client_ca: ca.pem", "expected tls_certificate and tls_key beside", id="tls-ca-alone"),
        pytest.param("log_level: loud", "log_level is 'loud'", id="choice"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, text: str, said: str) -> None:
    """Each row names the file and the setting."""
    with pytest.raises(SettingsError) as caught:
        load_settings(write(tmp_path, text), {})

    assert said in str(caught.value)
    assert "responder.yml" in str(caught.value)


def test_an_unknown_variable_stops_the_start() -> None:
    """A typo in the environment is no less wrong than one in the file."""
    with pytest.raises(SettingsError, match="the environment: concurency is not a known key"):
        load_settings(None, {"ALERT_RESPONDER_CONCURENCY": "4"})
    with pytest.raises(SettingsError, match="ALERT_RESPONDER_POLICY"):
        load_settings(None, {"ALERT_RESPONDER_POLICY": "{"})


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    """The error says which file."""
    with pytest.raises(SettingsError, match=r"missing\.yml"):
        load_settings(tmp_path / "missing.yml", {})


def test_secrets_print_as_stars(tmp_path: Path) -> None:
    """Neither the settings nor an error about them show a token."""
    settings = load_settings(None, {"ALERT_RESPONDER_TOKENS": "s3cr3t-s3cr3t-s3cr3t"})
    assert "s3cr3t" not in str(settings) + repr(settings)
    with pytest.raises(SettingsError) as caught:
        load_settings(write(tmp_path, "tokens: [s3cr3t]"), {})
    assert "s3cr3t" not in str(caught.value)
    assert "expected each token to have at least 16 characters" in str(caught.value)
    with pytest.raises(SettingsError) as caught:
        load_settings(None, {"ALERT_RESPONDER_APPROVERS": "{kim: [s3cr3t-s3cr3t-s3cr3t]}"})
    assert "s3cr3t" not in str(caught.value)
    with pytest.raises(SettingsError) as caught:
        load_settings(None, {"ALERT_RESPONDER_DATABASE": "mysql://kim:s3cr3t@db.example.com/x"})
    assert "s3cr3t" not in str(caught.value)
    assert "database: expected postgresql://USER:PASSWORD@HOST/DATABASE" in str(caught.value)
    with pytest.raises(SettingsError, match="expected every token to be given once"):
        load_settings(None, {"ALERT_RESPONDER_TOKENS": "a" * 16, "ALERT_RESPONDER_APPROVERS": "{kim: %s}" % ("a" * 16)})


def test_an_empty_file_is_all_defaults(tmp_path: Path) -> None:
    """Nothing has to be set to show or run something by hand."""
    assert load_settings(write(tmp_path, ""), {}).concurrency == 4


def test_each_setting_is_described(root: Path) -> None:
    """docs/responder.md has one row for every setting and every budget, and no other."""
    text = (root / "docs" / "responder.md").read_text()
    table = text.partition("\n## Settings\n")[2].partition("\n## ")[0]
    names = set(re.findall(r"^\| `([a-z_.]+)` \|", table, re.MULTILINE))

    assert names == (Settings.model_fields.keys() - {"policy"}) | {f"policy.{name}" for name in Policy.model_fields}
