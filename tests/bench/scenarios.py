"""What clients do. `load`: options of bench_load."""

from .contenders import (ALONE, EVERYTHING, FOLLOWED, MESSAGES, SELECT, TLS_BOTH, TLS_CLIENTS,
                         TRANSACTIONS)

ROOM = 64 << 20  # for all values together


class Scenario:
    """quick: a part of --quick too. needs: what a contender must be able to do. replicas: so many
    follow the Redis. where: only those contenders take part that say so."""

    def __init__(self, name, what, quick=False, needs=(), databases=1, replicas=0, where=None,
                 **load):
        self.name, self.what, self.quick = name, what, quick
        self.needs, self.databases, self.replicas = frozenset(needs), databases, replicas
        self.where = where or (FOLLOWED if replicas else ALONE)
        assert self.needs <= EVERYTHING
        self.size = load.setdefault("size", 64)
        self.keys = load.setdefault("keys", max(16, min(1000, ROOM // self.size)))
        self.load = load


SCENARIOS = (
    Scenario("p1", "50 clients, depth 1, GET of 64 bytes, as in all others unless said", True),
    Scenario("p16", "depth 16", True, depth=16),
    Scenario("p100", "depth 100", depth=100),
    Scenario("c1", "1 client", True, connections=1),
    Scenario("c500", "500 clients", True, connections=500),
    Scenario("c5000", "5,000 clients", connections=5000),
    Scenario("v1k", "values of 1 KiB", size=1024),
    Scenario("v16k", "values of 16 KiB", True, size=16384),
    Scenario("v1m", "values of 1 MiB", size=1 << 20),
    Scenario("mix90", "nine GETs for a SET", True, mix="mix90"),
    Scenario("many", "MSET and MGET of 10 keys", mix="many"),
    Scenario("tx", "one request in ten is MULTI, SET, GET, EXEC; each reply counts", True,
             needs=[TRANSACTIONS], mix="tx"),
    Scenario("select", "SELECT 0 or 1 before each GET; each reply counts", needs=[SELECT],
             databases=2, mix="select"),
    Scenario("publish", "100 subscribers, one publisher; each message counts",
             needs=[MESSAGES], mix="publish", connections=1, readers=100),
    Scenario("beside", "50 clients as in p1, beside one that sends 10,000 GETs at once",
             beside=10000),
    Scenario("reads", "nine GETs for a SET, and two replicas that may serve the GETs", replicas=2,
             mix="mix90"),
    Scenario("tls", "as p1, clients with TLS; Redis, and who is direct, without", True,
             where=TLS_CLIENTS),
    Scenario("tls16", "the same at depth 16", where=TLS_CLIENTS, depth=16),
    Scenario("tls2", "TLS on both sides, and of who is direct", True, where=TLS_BOTH),
    Scenario("tls2-16", "the same at depth 16", where=TLS_BOTH, depth=16),
    Scenario("tls2-16k", "the same with values of 16 KiB", where=TLS_BOTH, size=16384),
)
IDLE = "idle"
IDLE_WHAT = "memory of a client that did one GET and is quiet"
