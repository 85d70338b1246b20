"""The tutorial's server, in our own words: one client at a time, each chunk answered by the time and itself. usage: PORT"""
import sys
from socket import AF_INET, SO_REUSEADDR, SOCK_STREAM, SOL_SOCKET, socket
from time import ctime

HOST = ""
BUFSIZ = 1024

server = socket(AF_INET, SOCK_STREAM)
server.setsockopt(SOL_SOCKET, SO_REUSEADDR, 1)
server.bind((HOST, int(sys.argv[1])))
server.listen(5)
while True:
    print("waiting for connection...", flush=True)
    client, address = server.accept()
    print("...connected from:", address, flush=True)
    while True:
        data = client.recv(BUFSIZ)
        if not data:
            break
        client.send(bytes(ctime(), encoding="utf-8") + data)
    client.close()
