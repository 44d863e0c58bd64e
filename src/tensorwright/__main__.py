"""``python -m tensorwright``: the same as the command ``tensorwright``."""

from tensorwright.cli.main import app

app(prog_name="tensorwright")
