"""Every mistake in a configuration is one line: file, line, place, what was expected and what is there."""

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from toolstack_fakes import FakePrograms

from toolstack.errors import ConfigError
from toolstack.load import load
from toolstack.yaml_lines import read

ONE = "domains:\n  writer:\n    kernel: writer\n"


def mistakes(folder: Path, text: str | bytes) -> list[str]:
    file = folder / "host.yaml"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ConfigError) as caught:
        load(str(file), FakePrograms())
    lines = caught.value.lines()
    assert str(caught.value) == "\n".join(lines)
    return [line.replace(str(file), "host.yaml") for line in lines]


UNSIZED = "host.yaml:4: domains.writer.memory: expected a size such as 64 (MiB), 64MiB or 1GiB, got "
FORM = [
    ("", "host.yaml:1: expected a mapping with domains, got an empty file"),
    ("# nothing\n", "host.yaml:1: expected a mapping with domains, got an empty file"),
    ("5", "host.yaml:1: expected a mapping, got 5"),
    ("- a", "host.yaml:1: expected a mapping, got a list"),
    ("name: x", "host.yaml:1: domains: expected a mapping of domains, got nothing"),
    ("domains: {}", "host.yaml:1: domains: expected at least one domain"),
    ("name: x\ndomains: [a]", "host.yaml:2: domains: expected a mapping, got a list"),
    (ONE + "name: 5", "host.yaml:4: name: expected text, got 5 (put it in quotes)"),
    (ONE + "name: ''", "host.yaml:4: name: expected text that is not empty"),
    (ONE + "name: true", "host.yaml:4: name: expected text, got true (put it in quotes)"),
    (ONE + "seed: -1", "host.yaml:4: seed: expected at least 0, got -1"),
    (ONE + "seed: 18446744073709551616",
     "host.yaml:4: seed: expected less than 18446744073709551616, got 18446744073709551616"),
    (ONE + "seed: x", "host.yaml:4: seed: expected a whole number, got 'x'"),
    (ONE + "seed: 1.5", "host.yaml:4: seed: expected a whole number, got '1.5'"),
    (ONE + "seed: true", "host.yaml:4: seed: expected a whole number, got true"),
    (ONE + "domain: x", "host.yaml:4: domain: unknown key (did you mean 'domains'?)"),
    (ONE + "zzz: x",
     "host.yaml:4: zzz: unknown key: expected one of name, seed, clock, machine, checkpoint, placement, timeline, "
     "ray, hypercalls, domains, expect"),
    (ONE + "checkpoint:", "host.yaml:4: checkpoint: expected a mapping, got nothing"),
    (ONE + "checkpoint: 5", "host.yaml:4: checkpoint: expected a mapping, got 5"),
    (ONE + "checkpoint: {}", "host.yaml:4: checkpoint.every: expected a time such as 10s, got nothing"),
    (ONE + "checkpoint: {every: 10}",
     "host.yaml:4: checkpoint.every: expected a time such as 10ms, 250us or 1.5s, got 10"),
    (ONE + "checkpoint: {every: 0s}", "host.yaml:4: checkpoint.every: expected a time above 0, got 0"),
    (ONE + "checkpoint: {every: 1s, keep: 0}", "host.yaml:4: checkpoint.keep: expected at least 1, got 0"),
    (ONE + "checkpoint: {every: 1s, dir: x}",
     "host.yaml:4: checkpoint.dir: unknown key: expected one of every, directory, keep"),
    (ONE + "clock: fast", "host.yaml:4: clock: expected a mapping, got 'fast'"),
    (ONE + "clock:", "host.yaml:4: clock: expected a mapping, got nothing"),
    (ONE + "clock:\n  mode: fast", "host.yaml:5: clock.mode: expected virtual or host, got 'fast'"),
    (ONE + "clock:\n  speed: 1", "host.yaml:5: clock.speed: unknown key: expected one of mode, epoch, frequency"),
    (ONE + "clock: {epoch: soon}",
     "host.yaml:4: clock.epoch: expected an instant such as 2026-01-01T00:00:00Z or 1767225600, got 'soon'"),
    (ONE + "clock: {epoch: [1]}",
     "host.yaml:4: clock.epoch: expected an instant such as 2026-01-01T00:00:00Z or 1767225600, got a list"),
    (ONE + "clock: {epoch: 1969-12-31T23:59:59Z}",
     "host.yaml:4: clock.epoch: expected an instant from 1970 to 9999, got '1969-12-31T23:59:59Z'"),
    (ONE + "clock: {epoch: -5}", "host.yaml:4: clock.epoch: expected an instant from 1970 to 9999, got -5"),
    (ONE + "clock: {frequency: fast}",
     "host.yaml:4: clock.frequency: expected a frequency such as 1GHz or 1000000000 (Hz), got 'fast'"),
    (ONE + "clock: {frequency: 1}", "host.yaml:4: clock.frequency: expected 1MHz to 10GHz, got 1"),
    (ONE + "clock: {frequency: 11GHz}", "host.yaml:4: clock.frequency: expected 1MHz to 10GHz, got '11GHz'"),
    (ONE + "machine:\n  xen_version: 3.4",
     "host.yaml:5: machine.xen_version: expected a Xen version such as 4.17, got '3.4'"),
    (ONE + "machine: {xen_version: 4}", "host.yaml:4: machine.xen_version: expected a Xen version such as 4.17, got 4"),
    (ONE + "machine: {memry: 4}", "host.yaml:4: machine.memry: unknown key (did you mean 'memory'?)"),
    (ONE + "placement: {domains_per_actor: 0}",
     "host.yaml:4: placement.domains_per_actor: expected at least 1, got 0"),
    (ONE + "placement: {domains_per_actor: many}",
     "host.yaml:4: placement.domains_per_actor: expected a whole number, got 'many'"),
    (ONE + "placement:\n  apart: true", "host.yaml:5: placement.apart: unknown key: expected one of domains_per_actor,"
     " nodes"),
    (ONE + "ray: {address: here}", "host.yaml:4: ray.address: expected auto or HOST:PORT, got 'here'"),
    (ONE + "ray: {address: 'ray://head:10001'}",
     "host.yaml:4: ray.address: expected auto or HOST:PORT, got 'ray://head:10001' (a program that a client connects "
     "cannot place actors; run it on the cluster, with 'ray job submit')"),
    (ONE + "ray: {metrics: 5}", "host.yaml:4: ray.metrics: expected true or false, got 5"),
    (ONE + "ray: {adress: auto}", "host.yaml:4: ray.adress: unknown key (did you mean 'address'?)"),
    (ONE + "hypercalls: x.py", "host.yaml:4: hypercalls: expected a list, got 'x.py'"),
    (ONE + "hypercalls:\n  - 5", "host.yaml:5: hypercalls[0]: expected text, got 5 (put it in quotes)"),
    (ONE + "expect: [x]", "host.yaml:4: expect: expected a mapping, got a list"),
    (ONE + "expect:\n  writer: poweroff", "host.yaml:5: expect.writer: expected a mapping, got 'poweroff'"),
    (ONE + "expect:\n  writer:\n    exit: gone",
     "host.yaml:6: expect.writer.exit: expected poweroff, reboot, suspend, crash, watchdog, soft_reset or running, "
     "got 'gone'"),
    (ONE + "expect:\n  writer:\n    console: hello",
     "host.yaml:6: expect.writer.console: expected a list, got 'hello'"),
    (ONE + "expect:\n  writer:\n    console:\n      - hello\n      - /(/",
     "host.yaml:8: expect.writer.console[1]: expected a regular expression between the slashes, got '/(/': "
     "missing ), unterminated subpattern at position 0"),
    (ONE + "expect:\n  writer:\n    console: ['']",
     "host.yaml:6: expect.writer.console[0]: expected text that is not empty"),
]  # fmt: skip

DOMAIN = [
    ("domains:\n  a b: {kernel: writer}",
     "host.yaml:2: domains.a b: expected a name of at most 64 letters, digits, '_' and '-', got 'a b'"),
    ("domains:\n  self: {kernel: writer}",
     "host.yaml:2: domains.self: expected another name: 'self' has a meaning of its own"),
    ("domains:\n  writer:", "host.yaml:2: domains.writer: expected a mapping, got nothing"),
    ("domains:\n  writer: {}",
     "host.yaml:2: domains.writer.kernel: expected an ELF file, or a program of guests/, got nothing"),
    ("domains:\n  writer:\n    memory: 1\n",
     "host.yaml:2: domains.writer.kernel: expected an ELF file, or a program of guests/, got nothing"),
    (ONE + "    memory: lots", UNSIZED + "'lots'"),
    (ONE + "    memory: 64MB", UNSIZED + "'64MB'"),
    (ONE + "    memory: 0",
     "host.yaml:4: domains.writer.memory: expected at least 1MiB, got 0 (a plain number is in MiB)"),
    (ONE + "    memory: -1", UNSIZED + "-1"),
    (ONE + "    memory: 512KiB", "host.yaml:4: domains.writer.memory: expected at least 1MiB, got '512KiB'"),
    (ONE + "    memory: 1025KiB", "host.yaml:4: domains.writer.memory: expected whole pages of 4KiB, got '1025KiB'"),
    (ONE + "    memory: 67108864",
     "host.yaml:4: domains.writer.memory: expected at most 1TiB, got 67108864 (a plain number is in MiB)"),
    (ONE + "    memory: 99999999999999999999999999",
     "host.yaml:4: domains.writer.memory: expected at most 1TiB, got 99999999999999999999999999"),
    (ONE + "    memory: true", UNSIZED + "true"),
    (ONE + "    memory:\n", UNSIZED + "nothing"),
    (ONE + "    vcpus: 33", "host.yaml:4: domains.writer.vcpus: expected 1 to 32, got 33"),
    (ONE + "    vcpus: 0", "host.yaml:4: domains.writer.vcpus: expected 1 to 32, got 0"),
    (ONE + "    type: arm", "host.yaml:4: domains.writer.type: expected pvh, hvm or pv, got 'arm'"),
    (ONE + "    bits: 32",
     "host.yaml:4: domains.writer.bits: expected 64, which is what pvh programs are built for, got 32"),
    (ONE + "    type: pv\n    bits: 16", "host.yaml:5: domains.writer.bits: expected 64 or 32, got 16"),
    (ONE + "    count: 0", "host.yaml:4: domains.writer.count: expected at least 1, got 0"),
    (ONE + "    count: 40000", "host.yaml:4: domains.writer.count: expected at most 2047, got 40000"),
    (ONE + "    memroy: 64", "host.yaml:4: domains.writer.memroy: unknown key (did you mean 'memory'?)"),
    (ONE + "    vifs: []",
     "host.yaml:4: domains.writer.vifs: unknown key: expected one of type, bits, kernel, ramdisk, cmdline, memory, "
     "vcpus, input, placement, count"),
    (ONE + "    placement: {apart: true, actor: x}",
     "host.yaml:4: domains.writer.placement: expected apart or actor, got both"),
    (ONE + "    placement: {actor: a b}",
     "host.yaml:4: domains.writer.placement.actor: expected a name of at most 64 letters, digits, '_' and '-', "
     "got 'a b'"),
    (ONE + "    placement: {actor: hypervisor}",
     "host.yaml:4: domains.writer.placement.actor: expected another name: 'hypervisor' has a meaning of its own"),
    (ONE + "    placement: {actor: writer}",
     "host.yaml:4: domains.writer.placement.actor: expected a name that no domain has, got 'writer'"),
    (ONE + "    placement: {actr: x}",
     "host.yaml:4: domains.writer.placement.actr: unknown key (did you mean 'actor'?)"),
    (ONE + "    placement: apart", "host.yaml:4: domains.writer.placement: expected a mapping, got 'apart'"),
    (ONE + "    placement: {apart: 1}", "host.yaml:4: domains.writer.placement.apart: expected true or false, got 1"),
    (ONE + "    input: x", "host.yaml:4: domains.writer.input: expected a list, got 'x'"),
    (ONE + "    input:\n    - x", "host.yaml:5: domains.writer.input[0]: expected a mapping, got 'x'"),
    (ONE + "    input:\n    - send: x\n    - {}",
     "host.yaml:6: domains.writer.input[1]: expected a step with expect, send or both"),
    (ONE + "    input:\n    - send: x\n    - {expect: a, after: 5ms}",
     "host.yaml:6: domains.writer.input[1]: expected something to send after that time"),
    (ONE + "    input:\n    - sned: x",
     "host.yaml:5: domains.writer.input[0].sned: unknown key (did you mean 'send'?)"),
    (ONE + "    input:\n    - send: ''", "host.yaml:5: domains.writer.input[0].send: expected text that is not empty"),
    (ONE + "    input:\n    - send: 5",
     "host.yaml:5: domains.writer.input[0].send: expected text, got 5 (put it in quotes)"),
    (ONE + "    input:\n    - expect: /(/",
     "host.yaml:5: domains.writer.input[0].expect: expected a regular expression between the slashes, got '/(/': "
     "missing ), unterminated subpattern at position 0"),
    (ONE + "    input:\n    - send: x\n      after: 10",
     "host.yaml:6: domains.writer.input[0].after: expected a time such as 10ms, 250us or 1.5s, got 10"),
    (ONE + "    input:\n    - send: x\n      after: 2000min",
     "host.yaml:6: domains.writer.input[0].after: expected at most a day, got '2000min'"),
    (ONE + "    kernel: reader", "host.yaml:4: domains.writer.kernel: the key is here twice (first on line 3)"),
    (ONE + "  writer: {kernel: reader}", "host.yaml:4: domains.writer: the key is here twice (first on line 2)"),
    ("domains:\n  x: {kernel: writr}",
     "host.yaml:2: domains.x.kernel: no such program or file 'writr' (did you mean 'writer'?)"),
    ("domains:\n  x: {kernel: zzz}",
     "host.yaml:2: domains.x.kernel: no such program or file 'zzz': expected one of reader, writer"),
    ("domains:\n  x: {kernel: ./writer}",
     "host.yaml:2: domains.x.kernel: expected an ELF file, got './writer': no such file or directory"),
    ("domains:\n  x: {kernel: /usr/lib/grub-xen/grub-none.bin}",
     "host.yaml:2: domains.x.kernel: expected an ELF file, got '/usr/lib/grub-xen/grub-none.bin': no such file or "
     "directory (it is in Debian's package grub-xen-host)"),
    ("domains:\n  x: {kernel: host.yaml}",
     "host.yaml:2: domains.x.kernel: expected an ELF file, a compressed one or a Linux bzImage, got 'host.yaml'"),
    ("domains:\n  x: {kernel: /dev/zero}",
     "host.yaml:2: domains.x.kernel: expected an ELF file, got '/dev/zero', which is no regular file"),
    ("domains:\n  x: {kernel: /}", "host.yaml:2: domains.x.kernel: expected an ELF file, got the folder '/'"),
    ("domains:\n  x: {kernel: ''}", "host.yaml:2: domains.x.kernel: expected text that is not empty"),
    (ONE + "    ramdisk: initrd.gz",
     "host.yaml:4: domains.writer.ramdisk: expected a file, got 'initrd.gz': no such file or directory"),
    (ONE + '    cmdline: "a\\0b"', "host.yaml:4: domains.writer.cmdline: expected text without NUL characters"),
    (ONE + "    cmdline: 5", "host.yaml:4: domains.writer.cmdline: expected text, got 5 (put it in quotes)"),
    (ONE + "    cmdline: ${raeder.domid}\n  reader: {kernel: reader}",
     "host.yaml:4: domains.writer.cmdline: ${raeder.domid}: unknown domain 'raeder' (did you mean 'reader'?)"),
    (ONE + "    cmdline: ${zzz.domid}",
     "host.yaml:4: domains.writer.cmdline: ${zzz.domid}: unknown domain 'zzz': expected writer"),
    (ONE + "    cmdline: ${writer.domidd}",
     "host.yaml:4: domains.writer.cmdline: ${writer.domidd}: unknown 'domidd' (did you mean 'domid'?)"),
    (ONE + "    cmdline: ${self.size}",
     "host.yaml:4: domains.writer.cmdline: ${self.size}: unknown 'size': expected one of domid, index, count, name"),
    (ONE + "    cmdline: ${writer}",
     "host.yaml:4: domains.writer.cmdline: expected a reference such as ${writer.domid}, got ${writer}"),
    (ONE + "    cmdline: a ${writer.domid",
     "host.yaml:4: domains.writer.cmdline: expected '}' after '${writer.domid' (a plain '${' is written '$${')"),
    (ONE + "    cmdline: ${r.domid}\n  r: {kernel: reader, count: 2}",
     "host.yaml:4: domains.writer.cmdline: expected one domain, got ${r.domid}, which are 2: say ${r-0.domid}, "
     "or ${r.domids} for all"),
    (ONE + "  w: {kernel: writer, count: 2}\n  w-1: {kernel: reader}",
     "host.yaml:5: domains.w-1: expected another name: 'w-1' is a replica of another domain too"),
]  # fmt: skip

WHOLE = [
    (ONE + "    memory: 1GiB\nmachine:\n  memory: 512",
     "host.yaml:6: machine.memory: expected at least 1GiB, which the domains ask for together, got 512MiB"),
    (ONE + "    count: 3\nmachine: {memory: 100MiB}",
     "host.yaml:5: machine.memory: expected at least 192MiB, which the domains ask for together, got 100MiB"),
    (ONE + "    count: 2047\n  r: {kernel: reader}",
     "host.yaml:1: domains: expected at most 2047 domains, got 2048"),
    (ONE + "hypercalls:\n  - greet.py",
     "host.yaml:5: hypercalls[0]: expected a Python file, got 'greet.py': no such file or directory"),
    (ONE + "expect:\n  writr: {exit: crash}",
     "host.yaml:5: expect.writr: unknown domain 'writr' (did you mean 'writer'?)"),
    (ONE + "expect:\n  writer: {exit: running}",
     "host.yaml:4: expect: expected at least one domain that ends, got 'exit: running' for all"),
]  # fmt: skip

YAML: list[tuple[str | bytes, str]] = [
    ("domains: [", "host.yaml:1: not valid YAML: expected the node content, but found '<stream end>' "
     "(while parsing a flow node that begins on line 1)"),
    ("a: b: c", "host.yaml:1: not valid YAML: mapping values are not allowed here"),
    ("domains:\n\twriter: 1", "host.yaml:2: not valid YAML: a tab where spaces are expected"),
    ("name: 'x\ndomains: 1",
     "host.yaml:2: not valid YAML: found unexpected end of stream "
     "(while scanning a quoted scalar that begins on line 1)"),
    ("name: *nobody", "host.yaml:1: not valid YAML: found undefined alias 'nobody'"),
    ("a: 1\n---\nb: 2", "host.yaml:2: not valid YAML: but found another document "
     "(expected a single document in the stream that begins on line 1)"),
    ("name: !python/object:os.system x",
     "host.yaml:1: name: expected plain YAML, got 'x' with the tag !python/object:os.system"),
    ("name: !!python/name:os.system ''",
     "host.yaml:1: name: expected plain YAML, got '' with the tag !!python/name:os.system"),
    ("a: &a [*a]", "host.yaml:1: a[0]: expected a value, got an alias of something that contains it"),
    ("a: &a\n  <<: *a", "host.yaml:1: a: expected a value, got an alias of something that contains it"),
    ("a: {<<: 5}", "host.yaml:1: a.<<: expected a mapping to merge"),
    ("? [a]\n: 1", "host.yaml:1: expected a name as the key, got a list or a mapping"),
    ("[" * 5000, "host.yaml:1: expected plain YAML, got lists or mappings nested too deeply"),
    (b"name: x\nseed: \xff", "host.yaml:2: expected UTF-8 text, got byte 0xff"),
    (b"\x7fELF\x02\n\xd0",
     "host.yaml:1: expected a configuration, got an ELF file (launch.py --kernel host.yaml boots it)"),
    (b"name: x\nseed: \x07", "host.yaml:2: expected printable text, got character U+0007"),
    ("domains:\n  \"a\\nb\": {kernel: writer}",
     "host.yaml:2: domains.a\\x0ab: expected a name of at most 64 letters, digits, '_' and '-', got 'a\\nb'"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "line"), [*FORM, *DOMAIN, *WHOLE, *YAML])
def test_a_mistake_is_one_line_that_says_where_and_what(tmp_path: Path, text: str | bytes, line: str) -> None:
    assert mistakes(tmp_path, text) == [line]


def test_several_mistakes_are_told_at_once_in_the_order_of_the_file(tmp_path: Path) -> None:
    text = ONE + "    memory: x\n    vcpus: 0\nsede: 1\nexpect:\n  writer: {exit: no}\n"
    assert [line.split(":")[1] for line in mistakes(tmp_path, text)] == ["4", "5", "6", "8"]


def test_the_line_is_right_inside_an_anchor_that_is_used_elsewhere(tmp_path: Path) -> None:
    text = "domains:\n  a: &base\n    kernel: writer\n    memory: x\n  b:\n    <<: *base\n    memory: 5\n"
    assert [line.split(": ")[0] for line in mistakes(tmp_path, text)] == ["host.yaml:4"]


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("none.yaml", "cannot read the configuration: no such file or directory"),
        ("", "cannot read the configuration: is a directory"),
        ("a\0b", "expected a file name"),
    ],
)
def test_a_file_that_cannot_be_read_is_said_without_a_line(tmp_path: Path, name: str, reason: str) -> None:
    file = f"{tmp_path}/{name}"
    with pytest.raises(ConfigError) as caught:
        load(file, FakePrograms())
    assert caught.value.lines() == [f"{file}: {reason}".replace("\0", "\\x00")]


def test_aliases_of_aliases_take_no_time_and_no_room(tmp_path: Path) -> None:
    rows = ["a0: &a0 [x, x]"] + [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 60)]
    assert len(mistakes(tmp_path, "\n".join(rows))) == 61  # sixty unknown keys, and no domains


@given(st.text(alphabet="ab:- \n\t{}[],'\"&*!|>#%@`?<=/\\0.~é\u2028", max_size=40))
def test_any_text_is_data_or_a_mistake_with_a_line(text: str) -> None:
    try:
        lines = [f"host.yaml:{read('host.yaml', text.encode()).line(('a', 0, 'b'))}: "]
    except ConfigError as error:
        lines = error.lines()
    assert all(re.match("host.yaml:[1-9][0-9]*: ", line) and line.isprintable() for line in lines)
