"""Where a policy may lie, and what it may name, where a commit decides on the folders around it."""

import ast
import hashlib
from pathlib import Path

import pytest

from gate.errors import PolicyError, UsageError
from gate.uris import _OPTIONS, parse_uri
from gate.wiring import LoadedPolicy, load_policy
from tests.replay import certificates
from tests.world import World

GATE = Path(__file__).parents[1] / "gate"


class Place:
    """A checkout that an attacker commits to, and a folder outside of it where the state is."""

    def __init__(self, folder: Path) -> None:
        self.checkout, self.state = folder / "work/shop", folder / "state"
        for made in (self.checkout, self.state, folder / "attic"):
            made.mkdir(parents=True)
        (folder / "world").mkdir()
        self.world = World(folder / "world")
        self.folder = folder

    def policy(self, path: Path, replay: str, audit: str = "") -> Path:
        """A policy at `path`, with this state."""
        self.world.replay, self.world.audit = replay, audit or f"file://{self.state}/audit"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(self.world.text)
        return path

    def load(self, path: Path, *, pinned: bool = True, unsafe: bool = False) -> LoadedPolicy:
        """The policy at `path`, as a gate in the checkout loads it."""
        pin = hashlib.sha256(path.read_bytes()).hexdigest() if pinned else ""
        return load_policy(str(path), pin=pin, untrusted=[self.checkout], unsafe_from_checkout=unsafe)

    def refusal(self, path: Path, *, pinned: bool = True) -> PolicyError:
        """Why it is refused."""
        with pytest.raises(PolicyError) as caught:
            self.load(path, pinned=pinned)
        assert caught.value.hint
        return caught.value


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


class TestInside:
    """A pinned policy in the checkout."""

    def test_the_same_bytes_behind_a_link_do_not_move_the_state(self, place: Place) -> None:
        real = place.policy(place.checkout / "gate.yaml", "sqlite:../../state/replay.db")
        assert "has no absolute path" in place.refusal(real).message
        moved = place.checkout / "a/b/gate.yaml"
        moved.parent.mkdir(parents=True)
        real.rename(moved)
        real.symlink_to(moved)
        assert "has no absolute path" in place.refusal(real).message

    def test_absolute_places_are_good(self, place: Place) -> None:
        path = place.policy(place.checkout / "gate.yaml", f"sqlite://{place.state}/replay.db")
        loaded = place.load(path)
        assert loaded.base is None
        assert loaded.replay_store().head(place.world.deployment().stream) is None

    @pytest.mark.parametrize("option", ["password_file", "ca"])
    @pytest.mark.parametrize("value", ["secret", "../../state/secret"])
    def test_options_are_paths_too(self, place: Place, option: str, value: str) -> None:
        path = place.policy(place.checkout / "gate.yaml", f"rediss://:hunter2@r.example/0?{option}={value}")
        error = place.refusal(path)
        assert "its replay has no absolute path" in error.message
        assert option in error.actual
        assert "hunter2" not in f"{error} {error.actual} {error.expected} {error.hint}"
        good = place.policy(place.checkout / "gate.yaml", f"rediss://r.example/0?{option}={place.state}/secret")
        assert place.load(good)

    def test_the_unsafe_option_still_takes_everything(self, place: Place) -> None:
        path = place.policy(place.checkout / "gate.yaml", "sqlite:replay.db")
        assert place.load(path, pinned=False, unsafe=True).base == place.checkout


class TestOutside:
    """A policy elsewhere."""

    @pytest.mark.parametrize("option", ["", "password_file", "ca"])
    @pytest.mark.parametrize("way", ["inside", "link", "link in a folder", "link to a link", "link out"])
    def test_nothing_that_it_names_is_reached_through_the_checkout(self, place: Place, option: str, way: str) -> None:
        named = place.checkout / "place"
        if way != "inside":
            named = place.state / "place"
            named.symlink_to(place.checkout / "x")
        if way == "link in a folder":
            named = named / "y/z"
        elif way == "link to a link":
            (place.state / "first").symlink_to("place")
            named = place.state / "first"
        elif way == "link out":  # through the checkout, and out again
            (place.checkout / "x").symlink_to(place.folder / "attic")
            named = named / "replay.db"
        uri = f"rediss://r.example/0?{option}={named}" if option else f"sqlite://{named}"
        error = place.refusal(place.policy(place.state / "gate.yaml", uri), pinned=False)
        assert "replay lies inside the checkout" in error.message
        assert error.actual == str(named)

    def test_a_way_to_it_that_leads_through_the_checkout(self, place: Place) -> None:
        place.policy(place.state / "gate.yaml", "sqlite:replay.db")
        (place.folder / "etc").symlink_to(place.checkout / "link")
        (place.checkout / "link").symlink_to(place.state)
        path = place.folder / "etc/gate.yaml"
        assert "The policy lies inside the checkout" in place.refusal(path, pinned=False).message
        assert "has no absolute path" in place.refusal(path).message

    def test_links_that_only_pass_by_are_good(self, place: Place) -> None:
        place.policy(place.state / "gate.yaml", "sqlite:replay.db")
        (place.folder / "etc").symlink_to("attic/../state")
        assert place.load(place.folder / "etc/gate.yaml", pinned=False).base == place.state

    def test_links_in_a_circle_are_refused(self, place: Place) -> None:
        for name, target in (("a", "b"), ("b", "a")):
            (place.state / name).symlink_to(target)
        path = place.policy(place.state / "gate.yaml", f"sqlite://{place.state}/a/replay.db")
        assert "can't be told where" in place.refusal(path, pinned=False).message


class TestAuthorities:
    """Whose certificates are believed is for no commit to say."""

    @pytest.fixture(autouse=True)
    def files(self, place: Place) -> None:
        certificates.make(place.checkout, "localhost")
        (place.state / "link.pem").symlink_to(place.checkout / "ca.pem")

    def policy(self, place: Place, folder: Path, ca: object) -> Path:
        place.world.extra = f"ca: {ca}\n"
        return place.policy(folder / "gate.yaml", f"sqlite://{place.state}/replay.db")

    @pytest.mark.parametrize("inside", ["ca.pem", "../../state/ca.pem"])
    def test_a_pinned_policy_in_the_checkout_names_an_absolute_place(self, place: Place, inside: str) -> None:
        assert "its ca has no absolute path" in place.refusal(self.policy(place, place.checkout, inside)).message

    @pytest.mark.parametrize("way", ["inside", "link"])
    def test_no_policy_names_one_in_the_checkout(self, place: Place, way: str) -> None:
        ca = place.checkout / "ca.pem" if way == "inside" else place.state / "link.pem"
        error = place.refusal(self.policy(place, place.state, ca), pinned=False)
        assert "ca lies inside the checkout" in error.message

    @pytest.mark.parametrize("way", ["inside", "link"])
    def test_no_option_names_one_in_the_checkout(self, place: Place, way: str) -> None:
        path = place.policy(place.state / "gate.yaml", f"sqlite://{place.state}/replay.db")
        ca = place.checkout / "ca.pem" if way == "inside" else place.state / "link.pem"
        with pytest.raises(UsageError, match="The CA file lies inside the checkout"):
            load_policy(str(path), untrusted=[place.checkout], ca_file=ca)
        assert load_policy(str(path), untrusted=[place.checkout], unsafe_from_checkout=True, ca_file=ca).ca == ca

    def test_others_are_good(self, place: Place) -> None:
        good = place.state / "ca.pem"
        good.write_bytes((place.checkout / "ca.pem").read_bytes())
        assert place.load(self.policy(place, place.checkout, good)).ca == good
        assert place.load(self.policy(place, place.state, "ca.pem")).ca == good


def test_the_checkout_may_itself_be_named_by_a_link(place: Place) -> None:
    path = place.policy(place.checkout / "gate.yaml", f"sqlite://{place.checkout}/replay.db")
    link = place.folder / "link"
    link.symlink_to(place.checkout)
    with pytest.raises(PolicyError, match="The policy lies inside the checkout"):
        load_policy(str(path), untrusted=[link])


class Options(ast.NodeVisitor):
    """The options that code reads from a URI: what it passes to `only` or `check_options`, or takes from a query."""

    def __init__(self) -> None:
        self.found: set[str] = set()

    def visit_Call(self, node: ast.Call) -> None:
        name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        read: list[ast.expr] = node.args if name in ("only", "check_options", "option_path") else []
        if name == "get" and self.is_query(node.func):
            read = node.args[:1]
        parts = [part for each in read if not isinstance(each, ast.Call) for part in ast.walk(each)]
        constants = [part for part in parts if isinstance(part, ast.Constant)]
        self.found |= {part.value for part in constants if isinstance(part.value, str)}
        self.generic_visit(node)

    def visit_Subscript(self, node: ast.Subscript) -> None:
        if self.is_query(node) and isinstance(node.slice, ast.Constant):
            self.found.add(node.slice.value)
        self.generic_visit(node)

    @staticmethod
    def is_query(node: ast.expr) -> bool:
        of = getattr(node, "value", None)
        return isinstance(of, ast.Attribute) and of.attr.endswith("query")


def test_every_option_of_a_uri_says_whether_it_is_a_path() -> None:
    """A new one is told here; until then it is taken for a path."""
    from gate.signers.pkcs11uri import _QUERY

    options = Options()
    for path in [*GATE.glob("*.py"), *(GATE / "signers").glob("*.py"), *(GATE / "replay").glob("*.py"),
                 *(GATE / "audit").glob("*.py")]:  # fmt: skip
        options.visit(ast.parse(path.read_text()))
    assert {"ca", "password_file", "region", "owner"} <= options.found
    assert options.found | set(_QUERY) == _OPTIONS.keys(), "say in gate/uris.py whether it is a path"
    assert {name for name, is_path in _OPTIONS.items() if is_path} == {"ca", "password_file", *_QUERY}


@pytest.mark.parametrize(
    ("uri", "paths"),
    [
        ("sqlite:///a/b", ["/a/b"]),
        ("file:b", ["/base/b"]),
        ("s3://bucket/b?region=r", []),
        ("rediss://h?password_file=/p&ca=c&unsafe_may_forget=true", ["/p", "/base/c"]),
        ("pkcs11:token=t?module-path=/m.so&pin-source=file:/pin", ["/m.so", "/pin"]),
        ("redis://h?still_unknown=x", ["/base/x"]),
    ],
)
def test_the_paths_of_a_uri(uri: str, paths: list[str]) -> None:
    assert [str(path) for path in parse_uri(uri).paths(Path("/base"))] == paths
