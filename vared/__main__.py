"""`python -m vared` is the command line, taken from the folder it is called in rather than from an installed copy."""

import sys

from vared.cli import main

if __name__ == "__main__":
    sys.exit(main())
