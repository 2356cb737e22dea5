"""`python -m dogfast`, for launchers that want a module."""

from dogfast.cli.main import main

main()
