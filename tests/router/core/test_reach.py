"""A router's processes are told which addresses may be asked."""

from argparse import ArgumentParser

import pytest

from headgate.reach import ANYWHERE, LOOPBACK, Reach, networks
from router.core.reach import add_to, told, words


@pytest.mark.parametrize("reach", [ANYWHERE, Reach(()), Reach(LOOPBACK), Reach(networks(["169.254.7.0/24"]))])
def test_a_process_is_told_on_its_command_line(reach: Reach):
    parser = ArgumentParser()
    add_to(parser)
    assert told(parser.parse_args(words(reach))) == reach
