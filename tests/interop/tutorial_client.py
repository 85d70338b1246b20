"""The tutorial's client, in our own words: a prompt, a line, its answer; an empty line ends. usage: PORT"""
import sys
from socket import AF_INET, SOCK_STREAM, socket

HOST = "127.0.0.1"
BUFSIZ = 1024

client = socket(AF_INET, SOCK_STREAM)
client.connect((HOST, int(sys.argv[1])))
while True:
    line = input(">>:")
    if not line:
        break
    client.send(bytes(line, encoding="utf-8"))
    answer = client.recv(BUFSIZ)
    if not answer:
        break
    print(str(answer, encoding="utf-8"))
client.close()
