"""A real S3 server for one test: moto's, on a free port, with a bucket. Prints its port, then does what the lines on its stdin
say and answers each by one line; ends when stdin does.

    refuse N         from the Nth writing request on, every writing request is refused (403)
    busy N           the next N requests are answered 503: try again
    lose TEXT        of the next write of a key that holds TEXT the answer is lost, though it is done
    heal             no fault any more
    puts             how many writing requests came
    keys             the keys, as JSON
    truncate KEY     the object loses its second half
    swap KEY KEY     two objects change places
    delete KEY
"""

import json
import logging
import os
import socket
import sys
import threading

import boto3
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import make_server

BUCKET = "archives"


class Faulty:
    """The server with faults, asked for by this test alone."""

    def __init__(self, app):
        self.app = app
        self.lock = threading.Lock()
        self.heal()
        self.puts = 0

    def heal(self):
        self.refuse_from = None
        self.busy = 0
        self.lose = None

    def __call__(self, environ, start_response):
        if environ.get("HTTP_X_BEHIND"):
            return self.app(environ, start_response)
        writes = environ["REQUEST_METHOD"] in ("PUT", "POST")
        with self.lock:
            self.puts += writes
            refused = writes and self.refuse_from is not None and self.puts >= self.refuse_from
            busy = self.busy > 0
            self.busy -= busy
            lost = writes and self.lose is not None and self.lose in environ["PATH_INFO"]
            if lost:
                self.lose = None
        if refused:
            start_response("403 Forbidden", [("Content-Length", "0")])
            return [b""]
        if busy:
            start_response("503 Slow Down", [("Content-Length", "0")])
            return [b""]
        if lost:
            b"".join(self.app(environ, lambda *_: None))
            connection = environ.get("werkzeug.socket")
            connection.shutdown(socket.SHUT_RDWR)
            raise ConnectionAbortedError
        return self.app(environ, start_response)


def main() -> None:
    logging.disable(logging.CRITICAL)
    faulty = Faulty(DomainDispatcherApplication(create_backend_app))
    server = make_server("127.0.0.1", 0, faulty, threaded=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    os.environ.update(AWS_ACCESS_KEY_ID="test", AWS_SECRET_ACCESS_KEY="test", AWS_DEFAULT_REGION="us-east-1")
    s3 = boto3.client("s3", endpoint_url=f"http://127.0.0.1:{server.server_port}")
    # What the test does itself meets no faults.
    s3.meta.events.register("before-send.s3", lambda request, **_: request.headers.update({"x-behind": "1"}))
    s3.create_bucket(Bucket=BUCKET)
    body = lambda key: s3.get_object(Bucket=BUCKET, Key=key)["Body"].read()
    put = lambda key, content: s3.put_object(Bucket=BUCKET, Key=key, Body=content)
    print(server.server_port, flush=True)
    for line in sys.stdin:
        command, *words = line.split()
        answer = "done"
        if command == "refuse":
            faulty.refuse_from = faulty.puts + int(words[0])
        elif command == "busy":
            faulty.busy = int(words[0])
        elif command == "lose":
            faulty.lose = words[0]
        elif command == "heal":
            faulty.heal()
        elif command == "puts":
            answer = str(faulty.puts)
        elif command == "keys":
            pages = s3.get_paginator("list_objects_v2").paginate(Bucket=BUCKET)
            answer = json.dumps([obj["Key"] for page in pages for obj in page.get("Contents", [])])
        elif command == "truncate":
            content = body(words[0])
            put(words[0], content[: len(content) // 2])
        elif command == "swap":
            first, second = body(words[0]), body(words[1])
            put(words[0], second)
            put(words[1], first)
        elif command == "delete":
            s3.delete_object(Bucket=BUCKET, Key=words[0])
        else:
            answer = f"unknown: {command}"
        print(answer, flush=True)
    os._exit(0)


main()
