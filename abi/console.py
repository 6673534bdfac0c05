"""The page that a guest shares with its console's back end (io/console.h)."""

from abi.layout import U8, U32, Array, Layout

XENCONS_INTERFACE = Layout(
    "xencons_interface",
    in_=Array(U8, 1024), out=Array(U8, 2048), in_cons=U32, in_prod=U32, out_cons=U32, out_prod=U32,
)
"""`out` goes from the guest to the back end.  Indices run freely; the lower bits are the place in the ring."""
