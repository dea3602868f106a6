"""`python -m router`: the verb `headgate router` alone, without loading the rest of the command."""

import sys

import click

from router.cli.router import router

try:
    code = router.main(prog_name="headgate router", standalone_mode=False)
except click.ClickException as error:
    error.show()
    sys.exit(1)
except click.Abort:
    sys.exit(1)
sys.exit(code if isinstance(code, int) else 0)
