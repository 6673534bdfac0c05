"""The store against a model, with guests, transactions, and processes that take turns in serving it."""

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, rule
from store_host import StoreHost

from xenstore.tree import Tree

OK = b"OK\0"
paths = st.lists(st.sampled_from("abc"), min_size=1, max_size=3).map(lambda parts: "/".join(["data", *parts]))
guests = st.sampled_from([1, 2])
values = st.binary(max_size=6)


class Model:
    """A guest's data: values by their paths; `changes` counts what may have changed."""

    def __init__(self):
        self.values = {"data": b""}
        self.changes = 0

    def write(self, path, value):
        parts = path.split("/")
        for end in range(1, len(parts)):
            self.values.setdefault("/".join(parts[:end]), b"")
        self.values[path] = value
        self.changes += 1

    def remove(self, path):
        for gone in [other for other in self.values if other == path or other.startswith(path + "/")]:
            del self.values[gone]
        self.changes += 1

    def children(self, path):
        return {other.split("/")[path.count("/") + 1] for other in self.values if other.startswith(path + "/")}


class StoreMachine(RuleBasedStateMachine):
    """What a guest reads is what it wrote, whichever process served it."""

    PROCESSES = 2
    begun = Bundle("begun")

    def __init__(self):
        super().__init__()
        self.host = StoreHost(2, self.PROCESSES)
        self.guests = self.host.guests
        self.models = {1: Model(), 2: Model()}
        self.transactions = {}

    @rule(domid=guests, path=paths, value=values)
    def write(self, domid, path, value):
        assert self.guests[domid].write(path, value) == OK
        self.models[domid].write(path, value)

    @rule(domid=guests, path=paths)
    def remove(self, domid, path):
        known = {path, path.rpartition("/")[0]} & set(self.models[domid].values)
        assert self.guests[domid].rm(path) == (OK if known else "ENOENT")
        self.models[domid].remove(path)

    @rule(domid=guests, path=paths)
    def read(self, domid, path):
        model = self.models[domid]
        assert self.guests[domid].read(path) == model.values.get(path, "ENOENT")
        found = self.guests[domid].directory(path)
        assert (found if found == "ENOENT" else set(found)) == (
            model.children(path) if path in model.values else "ENOENT")

    @rule(domid=guests, path=paths)
    def others_see_nothing(self, domid, path):
        assert self.guests[domid].read(f"/local/domain/{3 - domid}/{path}") == "EACCES"

    @rule(target=begun, domid=guests)
    def begin(self, domid):
        if sum(mine == domid for mine, _ in self.transactions) >= 10:
            return None
        number = self.guests[domid].begin()
        self.transactions[domid, number] = (self.models[domid].changes, [])
        return domid, number

    @rule(key=begun, path=paths, value=values)
    def write_within(self, key, path, value):
        if key in self.transactions:
            assert self.guests[key[0]].write(path, value, key[1]) == OK
            assert self.guests[key[0]].read(path, key[1]) == value
            self.transactions[key][1].append((path, value))

    @rule(key=begun, word=st.sampled_from("TTF"))
    def end(self, key, word):
        if key not in self.transactions:
            return
        model = self.models[key[0]]
        changes, writes = self.transactions.pop(key)
        result = self.guests[key[0]].end(key[1], word)
        if word == "F" or changes == model.changes:  # other guests' changes are no conflict
            assert result == OK
        assert result in (OK, "EAGAIN")
        if word == "T" and result == OK:
            for path, value in writes:
                model.write(path, value)

    @invariant()
    def the_tree_hangs_together(self):
        for store in self.host.stores:
            store._attach()
            nodes, again = store._tree.nodes, Tree()
            for path, node in nodes.items():
                if path != "/":
                    again.put(path, node)
                    assert path.rpartition("/")[2] in nodes[path.rpartition("/")[0] or "/"].children
                assert all(f"{path.rstrip('/')}/{child}" in nodes for child in node.children)
            assert +store._tree.owned == +again.owned


StoreMachine.TestCase.settings = settings(max_examples=20, stateful_step_count=30, deadline=None)
TestStore = StoreMachine.TestCase


class OneProcess(StoreMachine):
    PROCESSES = 1


OneProcess.TestCase.settings = settings(max_examples=12, stateful_step_count=30, deadline=None)
TestStoreInOneProcess = OneProcess.TestCase
