"""What commands started by tests see: nothing of the user's runs and data, and the caches of the session."""

import os

from tests.caches import CACHES

ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith("DOGFAST") or name in CACHES}
