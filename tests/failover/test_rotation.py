"""The passwords of the proxy at nodes and Sentinels are changed under load, with a failover between
the one half of the change and the other."""

import os
import tempfile

import pytest

from support.case import check_load, judged
from support.cluster import Cluster
from support.load import Load
from support.oracles import INDOUBT
from support.proxy import Proxy
from support.wait import wait_until

pytestmark = pytest.mark.exclusive


class Keys:
    """The user `app` of all nodes and Sentinels, and the file with its password."""

    def __init__(self, cluster, directory):
        self.daemons = [*cluster.nodes, *cluster.sentinels]
        self.path = os.path.join(directory, "password")
        self.write("one")
        for daemon in self.daemons:
            daemon.call("ACL", "SETUSER", "app", "on", ">one", "~*", "&*", "+@all")

    def write(self, password):
        with open(self.path + ".new", "w", encoding="ascii") as file:
            file.write(password + "\n")
        os.rename(self.path + ".new", self.path)

    def serve(self, password):
        for daemon in self.daemons:
            daemon.call("ACL", "SETUSER", "app", "resetpass", f">{password}")


@pytest.mark.parametrize("first", ["server", "file"])
@judged
def test_rotation_around_a_failover(first):
    with tempfile.TemporaryDirectory() as directory, Cluster(1) as cluster:
        keys = Keys(cluster, directory)
        who = {"user": "app", "password-file": keys.path}
        with Proxy(cluster.sentinel_addresses, who, sentinel_settings=who) as proxy:
            proxy.wait_serving()
            with Load(proxy.address, 20, 8, rate=1000) as load:
                load.wait_acks(300)
                change = [lambda: keys.serve("two"), lambda: keys.write("two")]
                if first == "file":
                    change.reverse()
                change[0]()
                if first == "file":
                    wait_until(lambda: len(proxy.entries("password-loaded")) == 2, 10, "the file")
                old = cluster.failover()
                new = cluster.wait_primary(old)
                change[1]()
                load.wait_acks(300)
                for sentinel in cluster.sentinels:  # they are asked anew
                    sentinel.call("CLIENT", "KILL", "USER", "app")
                load.wait_acks(300)
                load.stop()
                assert check_load(load, new)[INDOUBT] == 0
            with proxy.connect() as client:
                assert client.ok("ACL", "WHOAMI") == b"app"
            if first == "file":
                assert not proxy.entries("link-refused")
                assert not proxy.entries("sentinel-auth-failed")
