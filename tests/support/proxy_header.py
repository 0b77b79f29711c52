"""Headers of the PROXY protocol, as a proxy before Vedette would send them."""

import ipaddress
import struct

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
LOCAL, PROXY = 0x20, 0x21
CLIENT = ("192.0.2.1", 40000)  # of nobody (RFC 5737)


def v1(client=CLIENT):
    family = "TCP6" if ":" in client[0] else "TCP4"
    return f"PROXY {family} {client[0]} {client[0]} {client[1]} 6379\r\n".encode()


def v2(client=CLIENT, command=PROXY, tlvs=b""):
    address = ipaddress.ip_address(client[0]).packed
    body = address + address + struct.pack("!HH", client[1], 6379) + tlvs
    family = 0x21 if len(address) == 16 else 0x11
    return SIGNATURE + struct.pack("!BBH", command, family, len(body)) + body
