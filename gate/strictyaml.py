"""The part of YAML that a policy may use: mappings, lists and scalars, each with the line it stands on.

No anchors, aliases, tags, merge keys, second documents or duplicate keys: each reads differently to somebody.
Scalars stay text; what a field means is for the field to say, so `no` and `1e3` are no surprise.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

import yaml

from gate.errors import PolicyError
from gate.text import printable

MAX_BYTES = 256 * 1024
_MAX_DEPTH = 8
_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclass
class Node:
    """One value: exactly one of `text`, `items` and `members` is not None. `plain` text stood without quotes."""

    line: int
    text: str | None = None
    plain: bool = False
    items: "list[Node] | None" = None
    members: "dict[str, Node] | None" = None
    _key: "Node | None" = field(default=None, repr=False)


def parse(data: bytes) -> Node:
    """The document in `data`.

    Raises:
        PolicyError: it is too large, not UTF-8, not YAML, or uses more of YAML than is allowed; names the line.
    """
    if len(data) > MAX_BYTES:
        raise PolicyError("The policy is too large.", expected=f"at most {MAX_BYTES} bytes", actual=f"{len(data)}")
    try:
        text = data.decode("utf-8")
        return _build(yaml.parse(text, Loader=_Loader))
    except UnicodeDecodeError:
        raise PolicyError("The policy is not text in UTF-8.") from None
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise PolicyError(f"Line {line}: this is not YAML ({error.problem}).") from None
    except yaml.YAMLError:
        raise PolicyError("The policy holds characters that YAML does not allow.") from None


def _build(events: Iterator[yaml.Event]) -> Node:
    root: Node | None = None
    open_nodes: list[Node] = []
    for event in events:
        line = event.start_mark.line + 1 if event.start_mark else 1
        if isinstance(event, yaml.CollectionEndEvent):
            open_nodes.pop()
        elif isinstance(event, yaml.NodeEvent):
            node = _node(event, line)
            if open_nodes:
                _attach(open_nodes[-1], node)
            elif root is None:
                root = node
            else:
                raise PolicyError(f"Line {line}: a second document starts here; a policy is one.")
            if node.text is None:
                open_nodes.append(node)
            if len(open_nodes) > _MAX_DEPTH:
                raise PolicyError(f"Line {line}: this is nested too deeply.")
    return root or Node(line=1, text="", plain=True)


def _node(event: yaml.NodeEvent, line: int) -> Node:
    if event.anchor is not None:  # an alias has one too
        raise PolicyError(f"Line {line}: anchors and aliases (& and *) are not allowed; write the value out.")
    if getattr(event, "tag", None) is not None:
        raise PolicyError(f"Line {line}: tags (!) are not allowed.")
    if isinstance(event, yaml.ScalarEvent):
        return Node(line, text=event.value, plain=not event.style)
    if isinstance(event, yaml.SequenceStartEvent):
        return Node(line, items=[])
    return Node(line, members={})


def _attach(parent: Node, node: Node) -> None:
    if parent.items is not None:
        parent.items.append(node)
    elif parent._key is None:
        parent._key = node
    else:
        _add_member(parent, parent._key, node)
        parent._key = None


def _add_member(parent: Node, key: Node, value: Node) -> None:
    members = parent.members
    if key.text is None or members is None:
        raise PolicyError(f"Line {key.line}: a key is a word, not a list or a mapping.")
    if key.text == "<<":
        raise PolicyError(f"Line {key.line}: merge keys (<<) are not allowed; write the values out.")
    if key.text in members:
        name, first = printable(key.text, 60), members[key.text].line
        raise PolicyError(f"Line {key.line}: {name!r} stands here twice, first on line {first}.")
    value.line = key.line  # the line of `name:`, also where the value starts further down
    members[key.text] = value
