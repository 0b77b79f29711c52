"""Certificates for tests, and which addresses speak TLS.

VEDETTE_TLS in the environment of the tests gives TLS to every Redis, Sentinel and proxy that a test
starts without a word of its own on it, so that any test can be run over TLS.
"""

import atexit
import functools
import os
import shutil
import ssl
import subprocess
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
NAME = "localhost"  # one of those that server.crt is for

_contexts = {}  # address: how clients speak to it


class Certs:
    """The files that certs.sh makes, in a directory that goes with the process."""

    def __init__(self):
        self.directory = tempfile.mkdtemp(prefix="vedette-certs-")
        atexit.register(shutil.rmtree, self.directory, ignore_errors=True)
        subprocess.run(["sh", os.path.join(HERE, "certs.sh"), self.directory], check=True)

    def path(self, name):
        return os.path.join(self.directory, name)

    def client_context(self, cert="client", ca="ca", version=None):
        """How a client speaks to what shows server.crt. cert, ca: None for none."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        if ca:
            context.load_verify_locations(self.path(f"{ca}.crt"))
        else:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        if cert:
            context.load_cert_chain(self.path(f"{cert}.crt"), self.path(f"{cert}.key"))
        if version:
            context.minimum_version = context.maximum_version = version
        return context

    def server_context(self):
        """How to show server.crt to clients of whom none is expected."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.path("server.crt"), self.path("server.key"))
        return context

    def redis_lines(self, port, cert="server", auth="yes"):
        """Configuration of a Redis or Sentinel that speaks TLS only."""
        return ["port 0", f"tls-port {port}", "tls-replication yes",
                f"tls-cert-file {self.path(cert + '.crt')}",
                f"tls-key-file {self.path(cert + '.key')}",
                f"tls-ca-cert-file {self.path('ca.crt')}", f"tls-auth-clients {auth}"]

    def upstream(self, section):
        """Settings of the proxy for TLS to others."""
        return {f"{section}.tls": "yes", f"{section}.tls-ca-cert-file": self.path("ca.crt"),
                f"{section}.tls-client-cert-file": self.path("client.crt"),
                f"{section}.tls-client-key-file": self.path("client.key")}

    def listener(self, section):
        """Settings of the proxy for TLS of clients, besides tls-listen."""
        return {f"{section}.tls-cert-file": self.path("server.crt"),
                f"{section}.tls-key-file": self.path("server.key")}


@functools.lru_cache(maxsize=None)
def certs():
    return Certs()


def default():
    """The certificates, if tests are to use TLS throughout; else None."""
    return certs() if os.environ.get("VEDETTE_TLS") else None


def port_key():
    """What Redis calls the port that tests connect to."""
    return "tls-port" if default() else "port"


def speaks(address, context):
    """Whoever connects to the address uses TLS from now on; None: no longer."""
    if context:
        _contexts[address] = context
    else:
        _contexts.pop(address, None)


def context_of(address):
    return _contexts.get(address) if isinstance(address, tuple) else None


def wrapped(sock, address):
    """The connected socket, with TLS over it where the address speaks that."""
    context = context_of(address)
    return context.wrap_socket(sock, server_hostname=NAME) if context else sock
