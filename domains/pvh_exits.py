"""What each intercept of a PVH vCPU does."""

from collections.abc import Callable, Mapping

from domains.pvh_exceptions import PvhExceptions
from domains.pvh_instructions import PvhInstructions
from domains.vmcb import EXIT_BASE, Exit

_UNDEFINED = (Exit.RSM, Exit.INVLPGA, Exit.VMRUN, Exit.VMLOAD, Exit.VMSAVE, Exit.STGI, Exit.CLGI, Exit.SKINIT,
              Exit.MONITOR, Exit.MWAIT, Exit.ICEBP)


def exits_of(exceptions: PvhExceptions, instructions: PvhInstructions,
             own: Mapping[int, Callable[[], None]]) -> dict[int, Callable[[], None]]:
    """The handlers of one vCPU by the engine's number; `own` are those that are the vCPU's itself."""
    handlers: dict[int, Callable[[], None]] = {
        **own,
        Exit.READ_CR8: instructions.cr8, Exit.WRITE_CR8: instructions.cr8,
        Exit.CPUID: instructions.cpuid, Exit.MSR: instructions.msr, Exit.RDTSC: instructions.rdtsc,
        Exit.RDTSCP: instructions.rdtsc, Exit.WBINVD: instructions.nothing, Exit.INVD: instructions.nothing,
        Exit.NPF: exceptions.nested_page_fault, Exit.SHUTDOWN: exceptions.shutdown,
        Exit.RDPMC: exceptions.general_protection, Exit.TASK_SWITCH: exceptions.general_protection,
    }
    handlers |= dict.fromkeys(_UNDEFINED, exceptions.undefined)
    handlers |= {Exit.EXCEPTION + vector: exceptions.handler(vector) for vector in range(32)}
    return {EXIT_BASE + code: handler for code, handler in handlers.items()}
