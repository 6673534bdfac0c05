"""What a host's actors are called, so that others find them."""

NAMESPACE = "domus"


def hypervisor_name(host: str) -> str:
    """The name of the hypervisor's actor of the host called `host`."""
    return f"{host}/hypervisor"


def domain_name(host: str, domain: str) -> str:
    """The name of the actor that runs the domain called `domain`, or that the plan calls so."""
    return f"{host}/{domain}"


def node_name(host: str, number: int) -> str:
    """The name of the actor that owns the memory of node `number` of the host; the first node's is the hypervisor."""
    return f"{host}/node-{number}"
