"""greeter: a function in Python that uses the platform's services with the standard library only.

GET  /greetings/{name}  counts the visit in the bucket "greetings" and greets
POST /greetings/{name}  asynchronous: publishes the greeting that is its body
POST /events/joined     mails the team about a new member, and answers with an event
"""

import hashlib
import json
import os
import signal
import threading
import urllib.error
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

MAX_BODY = 64 << 10
DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # the services are never behind a proxy


def service(method, url, value=None, headers={}):
    """Calls a service and returns the status, the headers and the JSON of the answer; failures are statuses, too."""
    with open(os.environ["SERVICEFUL_TOKEN_FILE"]) as file:  # read for every call: the platform replaces it
        token = file.read().strip()
    request = urllib.request.Request(url, method=method, data=None if value is None else json.dumps(value).encode())
    for name, text in {"Content-Type": "application/json", "Authorization": "Bearer " + token, **headers}.items():
        request.add_header(name, text)
    try:
        with DIRECT.open(request, timeout=10) as answer:
            body = answer.read()
            return answer.status, answer.headers, json.loads(body) if body else None
    except urllib.error.HTTPError as failure:
        with failure:
            return failure.code, failure.headers, None


def expect(wanted, status):
    if status not in wanted:
        raise RuntimeError(f"the services answered {status}")


def count_visit(name):
    """Adds one to the visits of name by compare-and-set, and returns how many there are."""
    key = "visits." + hashlib.sha256(name.encode()).hexdigest()  # not every name is a key
    url = f"{os.environ['SERVICEFUL_URL']}/v1/buckets/greetings/keys/{key}"
    while True:
        status, headers, value = service("GET", url)
        expect({200, 404}, status)
        visits = value["visits"] + 1 if status == 200 else 1
        condition = {"If-Match": headers["ETag"]} if status == 200 else {"If-None-Match": "*"}
        status, _, _ = service("PUT", url, {"visits": visits}, condition)
        if status != 412:  # 412: another visit came first, so count again
            expect({200, 201, 204}, status)
            return visits


def event_headers(event_type, event_id):
    return {"Ce-Specversion": "1.0", "Ce-Type": event_type, "Ce-Source": "/greeter", "Ce-Id": event_id}


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.respond(lambda: self.greet(self.name()))

    def do_POST(self):
        event = urlsplit(self.path).path == "/events/joined"
        self.respond(self.joined if event else lambda: self.post(self.name()))

    def greet(self, name):
        return 200, {"greeting": f"Hello, {name}!", "visits": count_visit(name)}, {}

    def post(self, name):
        call = self.headers["Serviceful-Call-Id"]  # the same for every delivery of one call, and so is the event's id
        greeting = {"name": name, "text": self.body().decode()}
        headers = event_headers("greeter.greeting.posted.v1", call)
        status, _, _ = service("POST", os.environ["K_SINK"], greeting, headers)
        expect({202}, status)
        return 200, greeting, {}

    def joined(self):
        number, event = json.loads(self.body())["number"], self.headers["Ce-Id"]
        mail = {"to": ["team@example.com"], "subject": "Greet the new member", "text": f"Member {number} has joined."}
        status, _, _ = service("POST", os.environ["SERVICEFUL_URL"] + "/v1/mail", mail, {"Idempotency-Key": "greeter-" + event})
        expect({202}, status)
        return 200, {"number": number}, event_headers("greeter.member.greeted.v1", "greeted-" + event)

    def name(self):
        folder, _, name = urlsplit(self.path).path.lstrip("/").partition("/")
        if folder != "greetings" or not name:
            raise LookupError(self.path)
        return unquote(name)

    def body(self):
        length = int(self.headers["Content-Length"] or 0)
        if length > MAX_BODY:
            raise ValueError("the body is too long")
        return self.rfile.read(length)

    def respond(self, handle):
        """Answers what handle returns: status, JSON, headers. A failure of the services is 503, so that the call is repeated."""
        content_type = "application/json"
        try:
            status, value, headers = handle()
        except Exception as failure:
            status = 404 if type(failure) is LookupError else 400 if isinstance(failure, (ValueError, KeyError)) else 503
            content_type, headers = "application/problem+json", {}
            value = {"title": self.responses[status][0], "status": status, "detail": str(failure)}
        body = json.dumps(value).encode()
        self.send_response(status)
        for name, text in {"Content-Type": content_type, "Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, text)
        self.end_headers()
        self.wfile.write(body)


class Server(ThreadingHTTPServer):
    daemon_threads = False  # so that closing waits for the calls that run
    request_queue_size = 128


def main():
    server = Server(("", int(os.environ["PORT"])), Handler)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: threading.Thread(target=server.shutdown).start())
    server.serve_forever()
    server.server_close()


if __name__ == "__main__":
    main()
