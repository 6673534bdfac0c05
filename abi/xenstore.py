"""The page that a guest shares with xenstore, the messages in it, and the states of a device.

From io/xs_wire.h and io/xenbus.h.
"""

from enum import IntEnum

from abi.layout import U8, U32, Array, Layout
from abi.naming import c_prefix


@c_prefix("XS_")
class XsMessage(IntEnum):
    """`xsd_sockmsg.type`."""

    CONTROL = 0
    DIRECTORY = 1
    READ = 2
    GET_PERMS = 3
    WATCH = 4
    UNWATCH = 5
    TRANSACTION_START = 6
    TRANSACTION_END = 7
    INTRODUCE = 8
    RELEASE = 9
    GET_DOMAIN_PATH = 10
    WRITE = 11
    MKDIR = 12
    RM = 13
    SET_PERMS = 14
    WATCH_EVENT = 15
    ERROR = 16
    IS_DOMAIN_INTRODUCED = 17
    RESUME = 18
    SET_TARGET = 19
    RESET_WATCHES = 21
    DIRECTORY_PART = 22
    INVALID = 0xFFFF


XS_TYPE_COUNT = 23
XS_WATCH_PATH = 0
XS_WATCH_TOKEN = 1
"""Which string of a WATCH_EVENT is which."""
XS_WRITE_NONE = "NONE"
XS_WRITE_CREATE = "CREATE"
XS_WRITE_CREATE_EXCL = "CREATE|EXCL"

XENSTORE_RING_SIZE = 1024
XENSTORE_PAYLOAD_MAX = 4096
XENSTORE_ABS_PATH_MAX = 3072
XENSTORE_REL_PATH_MAX = 2048
XENSTORE_SERVER_FEATURE_RECONNECTION = 1
XENSTORE_SERVER_FEATURE_ERROR = 2
XENSTORE_CONNECTED = 0
XENSTORE_RECONNECT = 1


@c_prefix("XENSTORE_ERROR_")
class XenstoreError(IntEnum):
    """`xenstore_domain_interface.error`."""

    NONE = 0
    COMM = 1
    RINGIDX = 2
    PROTO = 3


@c_prefix("XenbusState")
class XenbusState(IntEnum):
    Unknown = 0
    Initialising = 1
    InitWait = 2
    Initialised = 3
    Connected = 4
    Closing = 5
    Closed = 6
    Reconfiguring = 7
    Reconfigured = 8


XSD_SOCKMSG = Layout("xsd_sockmsg", type=U32, req_id=U32, tx_id=U32, len=U32)
"""The header of a message; `len` bytes follow, at most XENSTORE_PAYLOAD_MAX."""
XENSTORE_DOMAIN_INTERFACE = Layout(
    "xenstore_domain_interface",
    req=Array(U8, XENSTORE_RING_SIZE), rsp=Array(U8, XENSTORE_RING_SIZE),
    req_cons=U32, req_prod=U32, rsp_cons=U32, rsp_prod=U32,
    server_features=U32, connection=U32, error=U32,
)
"""`req` goes from the guest to the store."""
