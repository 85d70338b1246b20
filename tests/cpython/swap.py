"""
Puts libchime's create_connection and create_server in the place of those of Lib/socket.py, which are Python. Run by record.py
before any test is imported.
"""
import socket

import _socket


def create_connection(address, timeout=socket._GLOBAL_DEFAULT_TIMEOUT, source_address=None, *, all_errors=False):
    host, port = address
    if not isinstance(port, int) and not str(port).isdigit():
        port = socket.getaddrinfo(None, port, type=socket.SOCK_STREAM)[0][4][1]
    limit = socket.getdefaulttimeout() if timeout is socket._GLOBAL_DEFAULT_TIMEOUT else timeout
    source, source_port = source_address or (None, 0)
    try:
        s = socket.socket(fileno=_socket._chime_create_connection(host, int(port), limit, source, source_port))
    except OSError as e:
        if all_errors and not isinstance(e, socket.gaierror):
            raise ExceptionGroup("create_connection failed", [e]) from None
        raise
    if timeout is not socket._GLOBAL_DEFAULT_TIMEOUT:
        s.settimeout(timeout)
    return s


def create_server(address, *, family=socket.AF_INET, backlog=None, reuse_port=False, dualstack_ipv6=False):
    if dualstack_ipv6 and family != socket.AF_INET6:
        raise ValueError("dualstack_ipv6 requires AF_INET6 family")
    host, port = address[:2]
    try:
        return socket.socket(fileno=_socket._chime_create_server(family, host, port, -1 if backlog is None else backlog,
                                                                 reuse_port, dualstack_ipv6))
    except OSError as e:
        if e.errno is None or isinstance(e, socket.gaierror):
            raise
        raise OSError(e.errno, f"{e.strerror} (while attempting to bind on address {address!r})") from None


create_connection.__module__ = create_server.__module__ = "socket"
socket.create_connection, socket.create_server = create_connection, create_server
