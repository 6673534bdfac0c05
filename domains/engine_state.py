"""An engine's processor as bytes: all of it that a guest can notice, and nothing that the engine makes of it itself."""

from typing import NamedTuple

from domains.engine import PRIVATE, PRIVATE_END, Engine


class EngineState(NamedTuple):
    """A processor between two runs."""

    words: bytes
    """CPUX86State, as far as `envlayout` has it: registers, hidden segments, FPU and SSE, MSRs, intercepts."""
    interrupt_request: int
    int_vector: int
    private: bytes
    """The engine's own pages from PRIVATE on, as many as are in use."""


def save_engine(engine: Engine, private: int = 0) -> EngineState:
    """The processor, between two runs, with `private` bytes of the engine's own pages."""
    assert not engine.parked
    return EngineState(engine.q.tobytes(), engine.interrupt_request[0], engine.int_vector[0],
                       engine.low[PRIVATE:PRIVATE + private])


def restore_engine(engine: Engine, state: EngineState) -> None:
    """Put a saved processor into an engine that is in guest mode.  Raises ValueError where it does not fit."""
    put_processor(engine, state)
    engine.flush_tlb()
    engine.forget_code()


def put_processor(engine: Engine, state: EngineState) -> None:
    """The same of an engine whose code is up to date; the translations have to be flushed before it runs."""
    words = engine.q.cast("B")
    if len(state.words) != len(words) or len(state.private) > PRIVATE_END - PRIVATE:
        raise ValueError("expected the state of a processor")
    words[:] = state.words
    engine.interrupt_request[0], engine.int_vector[0] = state.interrupt_request, state.int_vector
    engine.low[PRIVATE:PRIVATE + len(state.private)] = state.private
