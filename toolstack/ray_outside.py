"""The way into a host on Ray from any process of the machine or the cluster: see `xenctrl`."""

from collections.abc import Callable
from typing import Any

import toolstack.ray_environment  # noqa: F401 - Ray reads its environment when it is imported

# isort: split
import ray
from ray.exceptions import RayTaskError

from toolstack.jobs import RunOverError
from toolstack.outside import FromAfar
from toolstack.ray_names import NAMESPACE, hypervisor_name


class RemoteHost(FromAfar):
    """A running host, by calls to the hypervisor's actor."""

    def __init__(self, hypervisor: Any) -> None:
        self._hypervisor = hypervisor

    def call(self, method: str, *arguments: object) -> Any:
        """See `FromAfar`."""
        try:
            return ray.get(getattr(self._hypervisor, method).remote(*arguments))
        except RayTaskError as error:
            raise error.cause from None
        except Exception as error:  # the actor has gone, or Ray has, for which it has no exception of its own
            raise RunOverError("the host's actor is gone") from error


class _Connection:
    """This process's connection to Ray: one for all of its handles, made and ended here unless it was there before."""

    def __init__(self) -> None:
        self._users = 0

    def open(self) -> None:
        """Raises LookupError where there is no Ray to connect to."""
        if not self._users and ray.is_initialized():
            return  # somebody else's, who will end it
        if not self._users:
            try:
                ray.init(address="auto", namespace=NAMESPACE, configure_logging=False, log_to_driver=False)
            except (ConnectionError, RuntimeError, ValueError) as error:
                raise LookupError(f"no host runs here on Ray: {' '.join(str(error).split())}") from None
        self._users += 1

    def close(self) -> None:
        if self._users:
            self._users -= 1
            if not self._users:
                ray.shutdown()


_connection = _Connection()


def connect(name: str) -> tuple[RemoteHost, Callable[[], None]]:
    """The host `name`, and what ends the connection.  Raises LookupError where there is none."""
    _connection.open()
    try:
        actor = ray.get_actor(hypervisor_name(name), namespace=NAMESPACE)
    except ValueError:
        _connection.close()
        raise LookupError(f"no host named {name!r} runs on Ray") from None
    return RemoteHost(actor), _connection.close
