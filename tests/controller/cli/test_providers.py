"""What the verbs that run a controller say about metric providers they cannot use."""

from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from controller.cli.serving import provider_options
from controller.crd.providers import Provider


@click.command()
@provider_options
def shown(providers: dict[str, Provider]) -> None:
    for name, provider in sorted(providers.items()):
        click.echo(f"{name} {provider.url} {provider.limits.per_second:g}")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "providers.yaml"
    path.write_text("providers: {mesh: {url: https://thanos.example, limits: {perSecond: 2}}}")
    return path


def test_flags_and_the_file_together_are_all_providers(file: Path) -> None:
    done = CliRunner().invoke(shown, ["--providers", str(file), "--prometheus", "main=http://127.0.0.1:9090"])
    assert done.output == "main http://127.0.0.1:9090 100\nmesh https://thanos.example 2\n"


def test_a_name_that_is_there_twice_is_refused(file: Path) -> None:
    done = CliRunner().invoke(shown, ["--providers", str(file), "--prometheus", "mesh=http://127.0.0.1:9090"])
    assert done.exit_code == 2
    assert "mesh is there twice" in done.output


def test_everything_that_is_wrong_with_the_file_is_said_at_once(file: Path) -> None:
    file.write_text(
        "providers: {a: {url: http://x, tls: {caFile: y}}, b: {url: https://x, tls: {keyFile: y}}}"
    )
    done = CliRunner().invoke(shown, ["--providers", str(file)])
    assert done.exit_code == 2
    assert f"{file} is not accepted:\n  providers.a.tls: the address is http" in done.output
    assert "  providers.b.tls: certFile and keyFile belong together" in done.output
