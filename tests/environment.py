"""What commands started by tests see: nothing of the user's runs and data, and the engines of the session."""

import os

ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith("DOGFAST") or name == "DOGFAST_ENGINES"}
