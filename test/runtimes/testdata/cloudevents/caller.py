"""Sends events by the CloudEvents SDK for Python, as caller.go does by that for Go: caller.py URL."""

import base64
import http.client
import json
import sys
from datetime import datetime
from urllib.parse import urlsplit

from cloudevents.core.bindings.http import to_binary_event
from cloudevents.core.v1.event import CloudEvent


def main(url: str) -> None:
    connection = http.client.HTTPConnection(urlsplit(url).netloc)
    for line in sys.stdin:
        question = json.loads(line)
        attributes, other = {}, {}
        for name, value in question["header"].items():
            if name == "Content-Type":
                attributes["datacontenttype"] = value
            elif not name.lower().startswith("ce-"):
                other[name] = value
            else:
                attributes[name.lower().removeprefix("ce-")] = value
        if "time" in attributes:
            attributes["time"] = datetime.fromisoformat(attributes["time"])
        data = base64.b64decode(question["body"] or "")
        if attributes.get("datacontenttype") == "application/json":
            data = json.loads(data)
        message = to_binary_event(CloudEvent(attributes, data))
        connection.request("POST", urlsplit(url).path, message.body, message.headers | other)
        response = connection.getresponse()
        body = response.read()
        header = {name: response.headers.get_all(name) for name in response.headers}
        print(json.dumps({"status": response.status, "header": header, "body": base64.b64encode(body).decode()}), flush=True)


main(sys.argv[1])
