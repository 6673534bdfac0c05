"""Xen's public ABI as data: numbers, structures, error codes and ELF notes.  Nothing here has behaviour."""
