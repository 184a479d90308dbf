"""`python -m pgcn_cluster`: the `pgcn` command where its code is there, but not installed."""

from pgcn_cluster.cli.app import main

if __name__ == "__main__":
    main()
