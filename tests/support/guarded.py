"""A Redis that lets nobody in without a password, and the proxy before it as a user with a file."""

import os
import tempfile

from .cluster import Node
from .fake_sentinel import FakeSentinel
from .proxy import Proxy
from .wait import wait_until

ALL = ("~*", "&*", "+@all")


class Guarded:
    """users: {name: password} at the server, of which the proxy is the first, and each of which has
    its file. settings: of the proxy; options: what else Proxy takes. upstream: {client's user: one
    of users}."""

    def __init__(self, stack, users=None, settings=None, upstream=None, **options):
        self.directory = stack.enter_context(tempfile.TemporaryDirectory())
        users = users or {"app": "one"}
        first = next(iter(users))
        self.node = Node(self.directory)
        stack.callback(self.node.close)
        self.node.start()
        self.admin = stack.enter_context(self.node.connect())
        for name, password in users.items():
            self.write(name, password)
            self.admin.ok("ACL", "SETUSER", name, "on", f">{password}", *ALL)
        self.admin.ok("ACL", "SETUSER", "default", "resetpass", ">nobody-knows")
        self.sentinel = stack.enter_context(FakeSentinel(self.node.address, epoch=1))
        arguments = [word for client, name in (upstream or {}).items() for word in
                     ("--set", f"service.mymaster.upstream-user={client} {name} {self.path(name)}")]
        self.proxy = stack.enter_context(Proxy([self.sentinel.address], {
            "proxy.workers": 1, "user": first, "password-file": self.path(first),
            **{key: value.replace("@DIR@", self.directory) if isinstance(value, str) else value
               for key, value in (settings or {}).items()}}, arguments=arguments, **options))
        self.proxy.wait_serving()

    def path(self, name):
        return os.path.join(self.directory, name)

    def write(self, name, *lines):
        """As a careful operator does: at once, by a rename."""
        with open(self.path(name) + ".new", "w", encoding="utf-8") as file:
            file.write("".join(f"{line}\n" for line in lines))
        os.rename(self.path(name) + ".new", self.path(name))

    def wait_event(self, event, count=1):
        wait_until(lambda: len(self.proxy.entries(event)) == count, 15, f"{count} times {event}")

    def connections(self):
        """(user, last command) of each connection to the server but ours."""
        lines = self.admin.ok("CLIENT", "LIST").decode().splitlines()
        found = [dict(pair.split("=", 1) for pair in line.split(" ")) for line in lines]
        return sorted((fields["user"], fields["cmd"]) for fields in found
                      if fields["cmd"] != "client|list")

    def serve(self, name, *passwords):
        """What the server takes of that user from now on."""
        self.admin.ok("ACL", "SETUSER", name, "resetpass", *(f">{one}" for one in passwords))
