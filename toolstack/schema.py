"""The JSON Schema of a configuration, for editors: `python -m toolstack.schema > configs/domus.schema.json`.

An editor completes and checks a configuration that begins with `# yaml-language-server: $schema=domus.schema.json`.
"""

import ast
import inspect
import json
from typing import Any

from toolstack import config


def schema() -> dict[str, Any]:
    """The schema, with the models' attribute docstrings as descriptions."""
    result = config.HostConfig.model_json_schema()
    result["properties"]["domains"]["additionalProperties"] = False  # names that do not have a name's form
    described = _attribute_docstrings()
    for model in (result, *result["$defs"].values()):
        for key, entry in model["properties"].items():
            if isinstance(entry.get("default"), dict):  # its parts have their own
                del entry["default"]
            text = described.get((model["title"], key))
            if text:
                entry["description"] = text
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **result,
        "title": "A simulated Xen host",
    }


def text() -> str:
    """The schema as it is kept in `configs/`."""
    return json.dumps(schema(), indent=2) + "\n"


def _attribute_docstrings() -> dict[tuple[str, str], str]:
    """(class, attribute) to the string that follows the attribute in `toolstack.config`."""
    found: dict[tuple[str, str], str] = {}
    for definition in ast.parse(inspect.getsource(config)).body:
        if isinstance(definition, ast.ClassDef):
            for statement, after in zip(definition.body, definition.body[1:], strict=False):
                match statement, after:
                    case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(words))):
                        found[definition.name, name] = inspect.cleandoc(words).replace("\n", " ")
    return found


if __name__ == "__main__":
    print(text(), end="")
