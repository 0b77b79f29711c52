"""The sockets of another process: copies of its descriptors, so that what it has set is seen, and
can be changed to something that is waited for sooner."""

import contextlib
import ctypes
import os
import socket

_LIBC = ctypes.CDLL(None, use_errno=True)
_SYS_PIDFD_GETFD = 438

OPTIONS = {"nodelay": (socket.IPPROTO_TCP, socket.TCP_NODELAY),
           "keepalive": (socket.SOL_SOCKET, socket.SO_KEEPALIVE),
           "idle": (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE),
           "interval": (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL),
           "count": (socket.IPPROTO_TCP, socket.TCP_KEEPCNT),
           "user-timeout": (socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT)}


def why_not():
    """None where a child's descriptors can be copied, else the reason."""
    try:
        pidfd = os.pidfd_open(os.getpid())
    except OSError as error:
        return f"no pidfd_open here: {error}"
    try:
        os.close(_copy(pidfd, pidfd))
        return None
    except OSError as error:
        return f"no pidfd_getfd here: {error}"
    finally:
        os.close(pidfd)


def _copy(pidfd, number):
    fd = _LIBC.syscall(_SYS_PIDFD_GETFD, pidfd, number, 0)
    if fd < 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))
    return fd


@contextlib.contextmanager
def connected(pid):
    """[socket] of the process's TCP connections; they are closed here at the end, not there."""
    with contextlib.ExitStack() as stack:
        pidfd = os.pidfd_open(pid)
        stack.callback(os.close, pidfd)
        found = []
        for number in os.listdir(f"/proc/{pid}/fd"):
            with contextlib.suppress(OSError):  # gone by now, or no socket, or none with a peer
                if not os.readlink(f"/proc/{pid}/fd/{number}").startswith("socket:"):
                    continue
                sock = stack.enter_context(socket.socket(fileno=_copy(pidfd, int(number))))
                sock.getpeername()
                if sock.family in (socket.AF_INET, socket.AF_INET6):
                    found.append(sock)
        yield found


def options(sock):
    return {name: sock.getsockopt(*where) for name, where in OPTIONS.items()}
