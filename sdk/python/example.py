"""A function that lets everything pass but SSH: python3 example.py [port]"""
import sys
from switchbridge_function import Decision, Function, Packet

function = Function(policy="1-00000001")

@function.packet_in
def decide(packet: Packet) -> Decision:
    if packet.get("tcp_dst") == 22:
        return packet.deny("no ssh")
    return packet.reuse_for(packet.allow("not ssh"), 5)

app = function.asgi  # uvicorn example:app; function.wsgi and function.aws_lambda are the others
if __name__ == "__main__":
    function.serve(port=int(sys.argv[1]) if sys.argv[1:] else 8080)
