"""`micro certs`: what it writes, that it overwrites nothing, and that TLS takes it."""

from __future__ import annotations

import datetime as dt
import os
import re
import shutil
import ssl
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID
from micro_cli.commands.certs import command

FILES = {"ca.pem", "ca-key.pem", "greeter.pem", "greeter-key.pem"}


def certs(*arguments: str) -> Result:
    return CliRunner().invoke(command, arguments)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    result = certs("greeter", "--dir", str(tmp_path / "certs"), "--host", "10.1.2.3", "--host", "greeter.internal")
    assert result.exit_code == 0, result.output
    return tmp_path / "certs"


def read(path: Path) -> x509.Certificate:
    return x509.load_pem_x509_certificate(path.read_bytes())


def test_a_ca_and_a_certificate_are_written_keys_for_their_owner_alone(folder: Path) -> None:
    assert {path.name for path in folder.iterdir()} == FILES
    assert {path.name for path in folder.iterdir() if path.stat().st_mode & 0o777 == 0o600} == {
        "ca-key.pem",
        "greeter-key.pem",
    }


def test_the_certificate_holds_the_services_name_and_hosts_for_both_ends(folder: Path) -> None:
    certificate = read(folder / "greeter.pem")
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert {"greeter", "localhost", "greeter.internal"} <= set(names.get_values_for_type(x509.DNSName))
    assert {"127.0.0.1", "::1", "10.1.2.3"} <= {str(ip) for ip in names.get_values_for_type(x509.IPAddress)}
    usage = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert set(usage) == {ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH}


def test_it_is_short_lived_and_does_not_outlive_its_ca(folder: Path) -> None:
    lasts = read(folder / "greeter.pem").not_valid_after_utc - dt.datetime.now(dt.UTC)
    assert dt.timedelta(days=29) < lasts <= dt.timedelta(days=30)
    assert certs("billing", "--dir", str(folder), "--days", "800").exit_code == 0
    assert read(folder / "billing.pem").not_valid_after_utc == read(folder / "ca.pem").not_valid_after_utc


def test_both_ends_of_a_connection_take_them(folder: Path) -> None:
    server, client = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    for context in (server, client):
        context.load_verify_locations(folder / "ca.pem")
        context.load_cert_chain(folder / "greeter.pem", folder / "greeter-key.pem")
        context.verify_flags |= ssl.VERIFY_X509_STRICT
    server.verify_mode = ssl.CERT_REQUIRED
    for name in ("greeter", "localhost", "127.0.0.1", "10.1.2.3"):
        there, back = ssl.MemoryBIO(), ssl.MemoryBIO()
        ends = [client.wrap_bio(back, there, server_hostname=name), server.wrap_bio(there, back, server_side=True)]
        for end in ends * 3:
            try:
                end.do_handshake()
            except ssl.SSLWantReadError:
                continue
        assert all(end.version() for end in ends)


def test_another_service_is_issued_by_the_same_ca(folder: Path) -> None:
    ca = (folder / "ca.pem").read_bytes()
    result = certs("billing", "payments", "--dir", str(folder))
    assert result.exit_code == 0
    assert (folder / "ca.pem").read_bytes() == ca
    for name in ("billing", "payments"):
        read(folder / f"{name}.pem").verify_directly_issued_by(read(folder / "ca.pem"))


@pytest.mark.parametrize("name", sorted(FILES - {"ca.pem", "ca-key.pem"}))
def test_nothing_is_overwritten(folder: Path, name: str) -> None:
    for path in list(folder.iterdir()):
        if path.name != name:
            path.unlink()
    before = (folder / name).read_bytes()
    result = certs("billing", "greeter", "--dir", str(folder))
    assert result.exit_code == 2
    assert f"{folder / name} is there already" in result.output
    assert (folder / name).read_bytes() == before
    assert {path.name for path in folder.iterdir()} == {name}, "nothing was written"


def test_a_ca_that_can_issue_nothing_is_told(folder: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    certs("greeter", "--dir", str(other))
    shutil.copy(other / "ca-key.pem", folder / "ca-key.pem")
    assert "is not the key of ca.pem" in certs("billing", "--dir", str(folder)).output
    (folder / "ca-key.pem").unlink()
    assert "without ca-key.pem" in certs("billing", "--dir", str(folder)).output
    (folder / "ca-key.pem").write_text("nonsense")
    assert "cannot be read" in certs("billing", "--dir", str(folder)).output
    assert not (folder / "billing.pem").exists()


@pytest.mark.parametrize("name", ["", "ca", "../greeter", "a b", "-x.y", ".hidden", "grüße", "a..b", "x" * 64])
def test_what_no_certificate_can_be_for_is_refused(tmp_path: Path, name: str) -> None:
    result = certs("--dir", str(tmp_path / "certs"), "--", name)
    assert result.exit_code == 2
    assert "is no name for a certificate" in result.output
    assert not (tmp_path / "certs").exists()


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    result = certs("greeter", "--dir", str(tmp_path / "file" / "certs"))
    assert result.exit_code == 2
    assert "cannot be written" in result.output


def test_the_variables_to_set_are_printed_and_name_what_is_there(folder: Path, tmp_path: Path) -> None:
    result = certs("billing", "--dir", str(folder))
    set_to = dict(re.findall(r"export MICRO_TRANSPORT_(TLS_\w+)=(\S+)", result.output))
    assert set(set_to) == {"TLS_CERT", "TLS_KEY", "TLS_CA"}
    assert all(Path(path).is_file() for path in set_to.values())


def test_without_cryptography_it_says_what_to_install(tmp_path: Path) -> None:
    program = (
        "import sys; sys.modules['cryptography'] = None\n"
        "import importlib.util; find = importlib.util.find_spec\n"
        "importlib.util.find_spec = lambda name, *a: None if name == 'cryptography' else find(name, *a)\n"
        "from micro_cli.program import run; run(['certs', 'greeter'])\n"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, timeout=30)
    assert done.returncode == 2
    assert "pip install cryptography" in done.stderr


@pytest.mark.parametrize("serves", [True, False])
def test_doctor_is_well_with_them_and_says_what_it_did_not_try(folder: Path, serves: bool) -> None:
    variables = {"MICRO_REGISTRY": "memory", "MICRO_TRANSPORT_TLS_CA": str(folder / "ca.pem")}
    if serves:
        variables["MICRO_TRANSPORT_TLS_CERT"] = str(folder / "greeter.pem")
        variables["MICRO_TRANSPORT_TLS_KEY"] = str(folder / "greeter-key.pem")
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("MICRO_")}
    done = subprocess.run(
        [sys.executable, "-m", "micro", "doctor"],
        env={**inherited, **variables},
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "micro call asks one of yours" in done.stdout
    assert ("an event came back" if serves else "nothing is subscribed here") in done.stdout
