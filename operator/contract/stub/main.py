"""stub: the function of the contract's tests, which can play every part.

What it is called with it tells a director, by HTTP, before it answers, and answers as the director says. So a test sees
what a function sees, and decides what it does. It says when it starts, and when it is asked to end, too.

POST /<name>/do makes it act by itself: show its environment, or call a service with its token.

It uses the standard library only, and knows of the platform what docs/contract.md says.
"""

import base64
import hashlib
import http.client
import json
import os
import signal
import threading
import uuid
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

FUNCTION, INSTANCE = os.environ["K_SERVICE"], uuid.uuid4().hex


def encode(data):
    return base64.b64encode(data).decode()


def request(method, url, headers, body):
    """Makes one request and returns the answer: its status, headers and body."""
    where = urlsplit(url)
    connection = http.client.HTTPConnection(where.hostname, where.port or 80)
    try:
        connection.putrequest(method, (where.path or "/") + ("?" + where.query if where.query else ""), skip_accept_encoding=True)
        for name, value in headers:
            connection.putheader(name, value)
        connection.putheader("Content-Length", str(len(body)))
        try:
            connection.endheaders(body)
        except (BrokenPipeError, ConnectionResetError):
            pass  # it was refused before it had come whole: the answer says why
        answer = connection.getresponse()
        return answer.status, answer.getheaders(), answer.read()
    finally:
        connection.close()


def tell(kind, **what):
    """Tells the director, and returns what it says."""
    message = json.dumps({"kind": kind, "function": FUNCTION, "instance": INSTANCE, **what}).encode()
    status, _, body = request("POST", os.environ["DIRECTOR"], [("Content-Type", "application/json")], message)
    if status != 200:
        raise RuntimeError(f"the director answered {status}")
    return json.loads(body)


def call_service(order):
    """Calls a service as a function does: below $SERVICEFUL_URL, with its own token unless told otherwise."""
    headers = list(order.get("headers") or [])
    if not order.get("anonymous"):
        with open(os.environ["SERVICEFUL_TOKEN_FILE"]) as file:  # read for every call: the platform replaces it
            headers.append(("Authorization", "Bearer " + file.read().strip()))
    body = base64.b64decode(order.get("body") or "") * (order.get("times") or 1)
    url = os.environ["K_SINK"] if order.get("sink") else os.environ["SERVICEFUL_URL"] + order["path"]
    status, headers, body = request(order["method"], url, headers, body)
    kept = b"" if order.get("times") else body
    return {"status": status, "headers": headers, "body": encode(kept), "sha256": hashlib.sha256(body).hexdigest(), "size": len(body)}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def __getattr__(self, name):
        if name.startswith("do_"):
            return self.serve
        raise AttributeError(name)

    def serve(self):
        self.close_connection = True
        if self.path == f"/{FUNCTION}/do":
            try:
                return self.act(json.loads(self.body()))
            except Exception as failure:
                return self.send([], repr(failure).encode(), 500)
        head = {"method": self.command, "target": self.path, "headers": self.headers.items()}
        if "Stub-Early" in self.headers:
            tell("early", **head)
        self.answer(tell("request", body=encode(self.body()), **head))

    def act(self, order):
        value = dict(os.environ) if order["do"] == "environment" else call_service(order)
        self.send([("Content-Type", "application/json")], json.dumps(value).encode(), 200)

    def body(self):
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        chunks = []
        while size := int(self.rfile.readline().split(b";")[0], 16):
            chunks.append(self.rfile.read(size))
            self.rfile.readline()
        while self.rfile.readline().strip():
            pass  # trailers
        return b"".join(chunks)

    def answer(self, say):
        if say["do"] == "exit":
            os._exit(1)
        if say["do"] == "break":
            return  # the connection ends without an answer
        if say["do"] == "echo":
            return self.echo(say)
        if say.get("parts"):
            return self.stream(say)
        self.send(say["headers"] or [], base64.b64decode(say["body"] or ""), say["status"])

    def send(self, headers, body, status):
        self.head(status, headers)
        if status not in (204, 304):
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def head(self, status, headers):
        self.send_response_only(status)
        for name, value in headers:
            self.send_header(name, value)
        self.send_header("Connection", "close")

    def stream(self, say):
        """Answers in chunks, each when the director has nothing against it."""
        self.head(say["status"], [*(say["headers"] or []), ("Transfer-Encoding", "chunked")])
        self.end_headers()
        for number, part in enumerate(say["parts"]):
            if number:
                tell("part", id=say["id"])
            self.wfile.write(b"%x\r\n%s\r\n" % (len(part), part.encode()))
        self.wfile.write(b"0\r\n\r\n")

    def echo(self, say):
        """Changes the protocol, and then says whatever it hears."""
        self.send_response_only(101)
        for name, value in [("Connection", "Upgrade"), *say["headers"]]:
            self.send_header(name, value)
        self.end_headers()
        while heard := self.rfile.read1():
            self.wfile.write(heard)

    def log_message(self, *_):
        pass


class Server(ThreadingHTTPServer):
    daemon_threads = False  # so that closing waits for the calls that run
    request_queue_size = 128


def main():
    if tell("start")["do"] == "exit":
        raise SystemExit("told to end at once")
    server = Server((os.environ.get("LISTEN", ""), int(os.environ["PORT"])), Handler)

    def end(*_):
        def stop():
            tell("term")
            server.shutdown()

        threading.Thread(target=stop).start()

    signal.signal(signal.SIGTERM, end)
    server.serve_forever()
    server.server_close()


if __name__ == "__main__":
    main()
