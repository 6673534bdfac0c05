"""What the agents of a host's nodes say to each other: the first element of each message."""

from enum import IntEnum

FIRST = 0
"""The node that ends the rounds."""


class Kind(IntEnum):
    """`toolstack.node_agent` has what follows in a message, and what it means."""

    BUILT = 0
    """A node's domains are loaded."""
    ROUND = 1
    """A round begins, with what there is to know of all domains."""
    BATON = 2
    THROUGH = 3
    """Teams are through with the round, on a node that does not end rounds."""
    COLD = 4
    """Asks for the cold part of a domain."""
    LENT = 5
    PAGE = 6
    """Asks for the content of a page."""
    CONTENT = 7
    STOP = 8
    """The run is to be ended."""
    OVER = 9
    """It has ended."""
    WHERE = 10
    """Something is lost: which teams are on your node?"""
    HERE = 11
    RECLAIM = 12
    """Your node has the latest state of a team that is nowhere: go on from there."""
    FORGET = 13
    """A team is given up where it is: a node that is lost had borrowed something, or had its baton."""
    LANE = 14
    """A node's processes that run domains of a team listen, to be handed its baton straight (`domains.lanes`)."""
    SEARCH = 15
    """A process died, and may have had a team's baton that no table shows."""
    MOVE_BEGIN = 16
    """Of a domain that moves (`toolstack.node_moves`): copy its memory while it runs."""
    MOVE_CLEAR = 17
    MOVE_MEMORY = 18
    MOVE_READY = 19
    """Little is left to be copied."""
    MOVE_GO = 20
    """All stand still: let it go."""
    MOVE_ARRIVE = 21
    MOVE_ARRIVED = 22
    MOVED = 23
    """It lives on another node from now on."""
    MOVE_OFF = 24
    """It does not move after all."""
    MOVE_BACK = 25
    """The same, when it had been let go and where it was to go is lost."""
    IMAGE = 26
    """The first node needs the memory of all domains, for a checkpoint."""
    IMAGE_SENT = 27
