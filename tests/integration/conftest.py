"""One Redis behind the proxy, watched by one Sentinel, and a second Redis to compare with."""

import contextlib

import pytest

from support.cluster import Cluster, Node
from support.proxy import Proxy


class Service:
    """node: the Redis behind `proxy`; cluster: it and its Sentinel."""

    def __init__(self, cluster, proxy):
        self.cluster, self.proxy = cluster, proxy
        self.node = cluster.nodes[0]

    def connect(self, *args, **kwargs):
        return self.proxy.connect(*args, **kwargs)


@contextlib.contextmanager
def start_service(settings=None, node_settings=(), sentinel_settings=(), **options):
    with Cluster(replicas=0, sentinels=1, node_settings=node_settings,
                 sentinel_settings=sentinel_settings) as cluster:
        with Proxy(cluster.sentinel_addresses, settings, **options) as proxy:
            proxy.wait_serving()
            yield Service(cluster, proxy)


@pytest.fixture(scope="module")
def service():
    with start_service() as started:
        yield started


@pytest.fixture(scope="session")
def reference(tmp_path_factory):
    """A Redis without any proxy."""
    node = Node(str(tmp_path_factory.mktemp("reference")))
    node.start()
    yield node
    node.close()


@pytest.fixture(name="start_service", scope="session")
def start_service_fixture():
    return start_service
