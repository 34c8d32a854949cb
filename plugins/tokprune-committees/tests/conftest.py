import os

os.environ.setdefault("TOKPRUNE_PLUGINS", "committees")  # other installed plugins are no matter of these tests
