"""YAML as plain data that remembers its lines.

Scalars are read as YAML 1.2 reads them, less what surprises people in a configuration: `no` and `1:30` are text, and so
are numbers with a point (4.10 is a version, not 4.1) and dates.  Keys are always text.  A key that appears twice is a
mistake.
"""

import re
from typing import Any

import yaml
from yaml.composer import Composer
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode
from yaml.parser import Parser
from yaml.reader import Reader, ReaderError
from yaml.resolver import BaseResolver
from yaml.scanner import Scanner

from toolstack.errors import ConfigError, Problem, Where

_TAG = "tag:yaml.org,2002:"
_MERGE = _TAG + "merge"


class _Loader(Reader, Scanner, Parser, Composer, BaseResolver):
    """PyYAML as far as its nodes."""

    def __init__(self, text: str) -> None:
        Reader.__init__(self, text)
        Scanner.__init__(self)
        Parser.__init__(self)
        Composer.__init__(self)
        BaseResolver.__init__(self)


for _name, _form, _first in (
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("bool", r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    ("int", r"[-+]?[0-9]{1,30}|0x[0-9a-fA-F]{1,16}|0o[0-7]{1,22}", list("-+0123456789")),
    ("merge", r"<<", ["<"]),
):
    _Loader.add_implicit_resolver(_TAG + _name, re.compile(rf"^(?:{_form})$"), _first)


class Document:
    """A file's data, and the line of every place in it."""

    def __init__(self, source: str, root: Node | None) -> None:
        self.source = source
        self._root = root
        self._seen: dict[int, Any] = {}
        self.data: Any = None if root is None else self._value(root, ())

    def line(self, where: Where) -> int:
        """The line, from 1, of the key or list item at `where`, or of the nearest place above it that exists."""
        node, line = self._root, 1
        for part in where:
            if isinstance(node, MappingNode):
                found = _pairs(node).get(str(part))
                if found is None:
                    break
                line, node = _line(found[0]), found[1]
            elif isinstance(node, SequenceNode) and isinstance(part, int) and part < len(node.value):
                node = node.value[part]
                line = _line(node)
            else:
                break
        return line

    def error(self, where: Where, text: str) -> ConfigError:
        """A ConfigError about one place."""
        return ConfigError(self.source, [Problem(where, text, self.line(where))])

    def _value(self, node: Node, where: Where) -> Any:
        if id(node) in self._seen:  # an alias; shared, so that aliases of aliases cost nothing
            value = self._seen[id(node)]
            if value is _OPEN:
                raise self._at(node, where, "expected a value, got an alias of something that contains it")
            return value
        self._seen[id(node)] = _OPEN
        value = self._seen[id(node)] = self._construct(node, where)
        return value

    def _construct(self, node: Node, where: Where) -> Any:
        if isinstance(node, MappingNode) and node.tag == _TAG + "map":
            self._refuse_duplicates(node, where)
            return {key: self._value(value, (*where, key)) for key, (_, value) in _pairs(node).items()}
        if isinstance(node, SequenceNode) and node.tag == _TAG + "seq":
            return [self._value(item, (*where, index)) for index, item in enumerate(node.value)]
        if isinstance(node, ScalarNode):
            return self._scalar(node, where)
        raise self._at(node, where, f"expected plain YAML, got the tag {_short(node.tag)}")

    def _scalar(self, node: ScalarNode, where: Where) -> Any:
        text: str = node.value
        match node.tag.removeprefix(_TAG):
            case "str" | "float" | "timestamp" | "merge":
                return text
            case "null":
                return None
            case "bool" if text.lower() in ("true", "false"):
                return text.lower() == "true"
            case "int" if re.fullmatch(r"[-+]?[0-9]{1,30}", text):
                return int(text)
            case "int" if re.fullmatch(r"0x[0-9a-fA-F]+|0o[0-7]+", text):
                return int(text, 0)
        raise self._at(node, where, f"expected plain YAML, got {text!r} with the tag {_short(node.tag)}")

    def _refuse_duplicates(self, node: MappingNode, where: Where) -> None:
        first: dict[str, Node] = {}
        for key, value in node.value:
            if not isinstance(key, ScalarNode):
                raise self._at(key, where, "expected a name as the key, got a list or a mapping")
            if key.tag == _MERGE:
                _refuse_bad_merge(self, value, where)
            elif key.value in first:
                before = _line(first[key.value])
                raise self._at(key, (*where, key.value), f"the key is here twice (first on line {before})")
            first[key.value] = key

    def _at(self, node: Node, where: Where, text: str) -> ConfigError:
        return ConfigError(self.source, [Problem(where, text, _line(node))])


_OPEN = object()


def _refuse_bad_merge(document: Document, value: Node, where: Where) -> None:
    for node in value.value if isinstance(value, SequenceNode) else [value]:
        if not isinstance(node, MappingNode):
            raise document._at(node, (*where, "<<"), "expected a mapping to merge")
        document._value(node, where)


def _pairs(node: MappingNode) -> dict[str, tuple[Node, Node]]:
    """The mapping's keys and values, those merged with `<<` first so that its own win."""
    merged: dict[str, tuple[Node, Node]] = {}
    own: dict[str, tuple[Node, Node]] = {}
    for key, value in node.value:
        if key.tag == _MERGE:
            for source in value.value if isinstance(value, SequenceNode) else [value]:
                merged = {**_pairs(source), **merged}
        else:
            own[key.value] = (key, value)
    return {**merged, **own}


def _line(node: Node) -> int:
    return int(node.start_mark.line) + 1


_ELF = b"\x7fELF"


def _short(tag: str) -> str:
    return tag.replace(_TAG, "!!")


def read(source: str, raw: bytes) -> Document:
    """The document in `raw`; `source` is the file's name as messages show it.  Raises ConfigError."""
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        unwanted = f"expected UTF-8 text, got byte {raw[error.start]:#04x}"
        if raw.startswith(_ELF):
            line, unwanted = 1, f"expected a configuration, got an ELF file (launch.py --kernel {source} boots it)"
        raise ConfigError(source, [Problem((), unwanted, line)]) from None
    try:
        return Document(source, _Loader(text).get_single_node())
    except yaml.MarkedYAMLError as error:
        raise ConfigError(source, [_syntax(error)]) from None
    except ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        unwanted = f"expected printable text, got character U+{ord(text[error.position]):04X}"
        raise ConfigError(source, [Problem((), unwanted, line)]) from None
    except RecursionError:
        unwanted = "expected plain YAML, got lists or mappings nested too deeply"
        raise ConfigError(source, [Problem((), unwanted, 1)]) from None


def _syntax(error: yaml.MarkedYAMLError) -> Problem:
    mark = error.problem_mark or error.context_mark
    text = f"not valid YAML: {error.problem or error.context}"
    if error.context and error.problem and error.context_mark is not None:
        text += f" ({error.context} that begins on line {error.context_mark.line + 1})"
    if "'\\t'" in text:
        text = "not valid YAML: a tab where spaces are expected"
    return Problem((), " ".join(text.split()), None if mark is None else mark.line + 1)
