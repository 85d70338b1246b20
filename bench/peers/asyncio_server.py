"""The stamp service on asyncio, as a natural Protocol. usage: asyncio_server.py [PORT] (0: any, printed)."""
import asyncio
import resource
import sys
import time

CHUNK = 1024


class Stamp(asyncio.Protocol):
    def connection_made(self, transport):
        self.transport = transport

    def data_received(self, data):
        stamp = time.ctime().encode()
        if len(data) <= CHUNK:
            self.transport.write(stamp + data)
            return
        pieces = []
        for at in range(0, len(data), CHUNK):
            pieces += (stamp, data[at:at + CHUNK])
        self.transport.write(b"".join(pieces))


async def serve(port):
    server = await asyncio.get_running_loop().create_server(Stamp, "127.0.0.1", port, backlog=4096)
    print("listening", server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    asyncio.run(serve(int(sys.argv[1]) if len(sys.argv) > 1 else 9999))
