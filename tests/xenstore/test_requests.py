"""What a guest can ask of the store, and what it is told."""

import pytest
from store_host import StoreHost

from abi.xenstore import XsMessage

OK = b"OK\0"


@pytest.fixture
def host():
    return StoreHost()


@pytest.fixture
def guest(host):
    return host.guests[1]


@pytest.fixture
def other(host):
    return host.guests[2]


def test_a_guest_finds_what_libxl_writes_for_it(guest):
    assert guest.read("name") == b"guest-1"
    assert guest.read("domid") == b"1"
    assert guest.read("memory/target") == b"4096"
    assert guest.read("cpu/0/availability") == b"online"
    assert guest.read("store/port") == str(guest.port).encode()
    assert guest.read(guest.read("vm").decode() + "/name") == b"guest-1"
    assert guest.read("console/type") == b"xenconsoled"
    assert guest.read(guest.read("console/backend").decode() + "/frontend") == b"/local/domain/1/console"
    assert set(guest.directory("control")) >= {"shutdown", "feature-poweroff", "platform-feature-xs_reset_watches"}


def test_it_can_write_where_libxl_lets_it_and_nowhere_else(guest):
    assert guest.write("data/x/y", b"1") == OK
    assert guest.read("/local/domain/1/data/x/y") == b"1"
    assert guest.write("control/feature-poweroff", b"1") == OK
    for path in ("name", "new", "device/vif/0/x", "/local/domain/2/data/x", "/x", "/local/domain/1/memory/target"):
        assert guest.write(path, b"1") == "EACCES"
    assert guest.rm("name") == "EACCES"
    assert guest.mkdir("/tool") == "EACCES"


def test_it_sees_nothing_of_others(guest, other):
    assert other.write("data/secret", b"x") == OK
    for path in ("/local/domain/2/data/secret", "/local/domain/2/data/none", "/local/domain", "/libxl/1/type"):
        assert guest.read(path) == "EACCES"


def test_any_bytes_are_a_value_up_to_its_limit(guest):
    for value in (b"", b"\0", bytes(range(256)), b"x" * 2048):
        assert guest.write("data/v", value) == OK
        assert guest.read("data/v") == value
    assert guest.write("data/w", b"x" * 2049) == "ENOSPC"
    assert guest.read("data/w") == "ENOENT"


def test_what_is_missing_above_is_made(guest):
    assert guest.write("data/a/b/c", b"1") == OK
    assert guest.read("data/a/b") == b""
    assert guest.directory("data") == ["a"]
    assert guest.mkdir("data/a/d") == OK
    assert guest.mkdir("data/a/d") == OK
    assert guest.directory("data/a") == ["b", "d"]


def test_rm_takes_all_that_is_below(guest):
    guest.write("data/a/b/c", b"1")
    assert guest.rm("data/a") == OK
    assert guest.read("data/a/b/c") == "ENOENT"
    assert guest.directory("data") == []
    assert guest.rm("data/a") == OK
    assert guest.rm("data/x/y") == "ENOENT"
    assert guest.rm("/") == "EINVAL"


@pytest.mark.parametrize("path", ["", "/data/", "data/", "a//b", "a b", "@x", "ä", "x" * 2049, "/" + "x" * 3072])
def test_a_path_may_be_wrong(guest, path):
    assert guest.read(path) == "EINVAL"


@pytest.mark.parametrize("raw", [b"", b"data", b"data\0x\0", b"data\0\0"])
def test_a_payload_may_be_wrong(guest, raw):
    assert guest.ask(XsMessage.READ, raw=raw) == "EINVAL"


def test_permissions_are_read_and_given(guest, other):
    guest.write("data/x", b"1")
    assert guest.permissions("data/x") == ["n1"]
    assert guest.ask(XsMessage.SET_PERMS, "data/x", "n1", "r2") == OK
    assert guest.permissions("data/x") == ["n1", "r2"]
    path = "/local/domain/1/data/x"
    assert other.read(path) == b"1"
    assert other.write(path, b"2") == "EACCES"
    assert guest.ask(XsMessage.SET_PERMS, "data/x", "n1", "b2") == OK
    assert other.write(path, b"2") == OK
    assert other.ask(XsMessage.SET_PERMS, path, "n2") == "EACCES"
    assert guest.ask(XsMessage.SET_PERMS, "data/x", "n2") == "EPERM"
    assert guest.ask(XsMessage.SET_PERMS, "data/x", *["n1"] * 6) == "ENOSPC"
    for wrong in ("x1", "n", "n-1", "nn", "n65536", ""):
        assert guest.ask(XsMessage.SET_PERMS, "data/x", wrong) == "EINVAL"


def test_a_long_directory_comes_in_parts(guest):
    names = [f"{number:03}" + "n" * 40 for number in range(150)]
    for name in names:
        assert guest.mkdir(f"data/{name}") == OK
    assert guest.directory("data") == "E2BIG"
    found, generations = b"", set()
    while not found.endswith(b"\0\0"):
        part = guest.ask(XsMessage.DIRECTORY_PART, "data", str(len(found)))
        assert len(part) <= 4096
        generation, _, part = part.partition(b"\0")
        generations.add(generation)
        found += part
    assert found[:-2].decode().split("\0") == names
    assert len(generations) == 1
    guest.mkdir("data/more")
    again = guest.ask(XsMessage.DIRECTORY_PART, "data", "99999")
    assert again.partition(b"\0")[0] not in generations
    assert again.endswith(b"\0\0")


@pytest.mark.parametrize("kind", [XsMessage.CONTROL, XsMessage.INTRODUCE, XsMessage.RELEASE, XsMessage.RESUME,
                                  XsMessage.IS_DOMAIN_INTRODUCED, XsMessage.SET_TARGET])
def test_what_is_the_toolstacks_is_refused(guest, kind):
    assert guest.ask(kind, "1") == "EACCES"


@pytest.mark.parametrize("kind", [XsMessage.ERROR, 20, 23, 0xFFFF, 0xFFFFFFFF])
def test_what_is_no_request_is_said_to_be_none(guest, kind):
    assert guest.ask(kind, "x") == "ENOSYS"


def test_a_domains_path_is_told(guest):
    assert guest.ask(XsMessage.GET_DOMAIN_PATH, "7") == b"/local/domain/7\0"
    for wrong in ("", "x", "-1", "1" * 10):
        assert guest.ask(XsMessage.GET_DOMAIN_PATH, wrong) == "EINVAL"


def test_a_guest_owns_so_many_nodes_and_no_more(guest):
    results = [guest.mkdir(f"data/{number}") for number in range(1000)]
    assert results == [OK] * results.count(OK) + ["ENOSPC"] * (1000 - results.count(OK))
    assert 950 < results.count(OK) < 1000
    assert guest.write("data/0", b"still") == OK
    assert guest.rm("data/1") == OK
    assert guest.mkdir("data/again") == OK


def test_its_nodes_take_so_much_room_and_no_more(guest):
    results = [guest.write(f"data/{number}", b"x" * 2048) for number in range(300)]
    assert results == [OK] * results.count(OK) + ["ENOSPC"] * (300 - results.count(OK))
    assert 200 < results.count(OK) < 300


def test_what_has_ended_is_forgotten(host, guest, other):
    guest.write("data/x", b"1")
    guest.ask(XsMessage.SET_PERMS, "data/x", "r1")
    assert other.read("/local/domain/1/data/x") == b"1"
    other.watch("/local/domain/1/data/x")
    other.heard()
    host.processes[0].destroy(1)
    assert other.heard() == [("/local/domain/1/data/x", "t")]
    assert other.read("/local/domain/1/data/x") == "EACCES"
