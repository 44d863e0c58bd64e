"""`python -m tensorwright.cli` is the command line."""

from tensorwright.cli.main import app

if __name__ == "__main__":
    app(prog_name="tensorwright")
