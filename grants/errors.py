"""How a grant operation says no."""

from abi.grant_table import GrantStatus


class GrantError(Exception):
    """One element of a grant operation failed with `status` (GNTST_*).  The others of its batch go on."""

    def __init__(self, status: GrantStatus) -> None:
        super().__init__(status.name)
        self.status = status
