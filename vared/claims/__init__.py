"""Every empirical claim of the thesis with a verdict that is computed from the tables of results, by rules fixed here.

tables (a number with its interval, or why there is none) -> measures -> parts -> rules -> verdicts
"""

from vared.claims.verdicts import judge, write_claims

__all__ = ["judge", "write_claims"]
