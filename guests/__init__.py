"""Guest programs in C and what builds them: `guests.build`."""
