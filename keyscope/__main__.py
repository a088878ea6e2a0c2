"""`python -m keyscope`: the command line."""

from keyscope.cli.main import main

if __name__ == "__main__":
    main()
