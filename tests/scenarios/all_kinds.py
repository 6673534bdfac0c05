"""A host with domains of all kinds, in groups that form, part, and end."""


def build(host):
    """Three pairs that share pages and signal, of all kinds, beside lone domains and two that die."""
    host.domain("writer", name="w0", cmdline="peer=${r0.domid} pages=2", memory="16MiB")
    host.domain("reader", name="r0", cmdline="peer=${w0.domid} pages=2", memory="16MiB")
    host.domain("writer", name="w1", type="pv", bits=32, cmdline="peer=${r1.domid} pages=2", memory="16MiB")
    host.domain("reader", name="r1", type="pv", cmdline="peer=${w1.domid} pages=2", memory="16MiB")
    host.domain("pingpong", name="ping", cmdline="role=ping peer=${pong.domid} rounds=2000", memory="16MiB")
    host.domain("pingpong", name="pong", type="pv", cmdline="role=pong peer=${ping.domid} rounds=2000", memory="16MiB")
    host.domain("abuse/spin", name="busy", cmdline="for=30", memory="16MiB")
    host.domain("first_steps", name="sleeper", memory="16MiB")
    host.domain("smp", name="both", vcpus=2, cmdline="count=20000 rounds=200", memory="16MiB")
    host.domain("abuse/void", name="crasher", cmdline="where=stack", memory="16MiB")
    host.configure(hypercalls=["hypercalls/greet.py"], expect={"crasher": {"exit": "reboot"}})
