"""The `pgcn` command. `python -m pgcn_cluster` is the same, where its code is there but not installed."""

from pgcn_cluster.interrupts import INTERRUPTS


def main() -> None:
    """The entry point of `pgcn`."""
    INTERRUPTS.handle()  # before all other imports, which take longer than anything else in most commands
    from pgcn_cluster.cli.app import main as command

    command()


if __name__ == "__main__":
    main()
