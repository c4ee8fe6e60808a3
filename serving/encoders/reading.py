"""What an encoder is handed for one session of a batch."""

import msgspec

from serving.session import Carried, Moment


class Reading(msgspec.Struct, gc=False):
    """One session's new moments in a batch, in order, and what is carried from the last one (updated in place)."""

    moments: list[Moment]
    carried: list[Carried]
