"""Pytest plug-in, loaded by `-p` before everything else: skips a grammar that jsonschema compiles at import.

The grammar checks a string format that no notebook uses and costs seconds in every process. A conftest.py is too late,
because the notebook plug-in imports jsonschema first.
"""

import sys

sys.modules.setdefault("rfc3987_syntax", None)
