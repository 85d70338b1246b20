"""
The modules that are run once more with libchime's create_connection and create_server in Lib/socket.py (swap.py), and the tests that
cannot hold then, each with its reason.
"""

MODULES = {
    "test_socket": {
        "*.NetworkConnectionNoServer.test_create_connection_timeout":
            "puts a mock in the place of socket.socket, which a function in C does not look at",
        "*.NetworkConnectionNoServer.test_create_connection_all_errors":
            "counts the exceptions, one for each address: libchime has them in one sentence (.why of the configuration)",
    },
    "test_asyncio.test_sendfile": {},
    "test_httplib": {},
    "test_ftplib": {},
    "test_smtplib": {},
    "test_poplib": {},
    "test_telnetlib": {},
}
