"""The tutorial's server, in our own words: one client at a time. usage: tutorial.py [PORT] (0: any, printed)."""
import socket
import sys
import time

CHUNK = 1024


def serve(port):
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("", port))
        listener.listen(5)
        print("listening", listener.getsockname()[1], flush=True)
        while True:
            print("waiting for connection...", flush=True)
            client, address = listener.accept()
            print("...connected from:", address, flush=True)
            with client:
                while chunk := client.recv(CHUNK):
                    client.send(time.ctime().encode() + chunk)


if __name__ == "__main__":
    serve(int(sys.argv[1]) if len(sys.argv) > 1 else 9999)
