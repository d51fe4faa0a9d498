"""A learning switch for os-ken over OpenFlow 1.0 and 1.3, to measure os-ken with.

Debian's package comes without an application that answers PACKET_INs. This one does what POX's l2_learning and
ovs-testcontroller do: it learns where a source is, installs a rule for a pair of addresses once it knows where the
destination is, and floods until then.
"""

from os_ken.base import app_manager
from os_ken.controller import ofp_event
from os_ken.controller.handler import CONFIG_DISPATCHER, MAIN_DISPATCHER, set_ev_cls
from os_ken.lib.mac import haddr_to_str
from os_ken.ofproto import ofproto_v1_0, ofproto_v1_3


class LearningSwitch(app_manager.OSKenApp):
    OFP_VERSIONS = [ofproto_v1_0.OFP_VERSION, ofproto_v1_3.OFP_VERSION]

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.ports = {}  # of each switch: address to port

    @set_ev_cls(ofp_event.EventOFPSwitchFeatures, CONFIG_DISPATCHER)
    def connected(self, ev):
        """What no rule matches is for the controller (OpenFlow 1.3.5, 5.4); in 1.0 it is so without a rule."""
        switch = ev.msg.datapath
        of, parser = switch.ofproto, switch.ofproto_parser
        self.ports[switch.id] = {}
        if of.OFP_VERSION == ofproto_v1_0.OFP_VERSION:
            return
        ask = [parser.OFPActionOutput(of.OFPP_CONTROLLER, of.OFPCML_NO_BUFFER)]
        switch.send_msg(parser.OFPFlowMod(
            datapath=switch, priority=0, match=parser.OFPMatch(),
            instructions=[parser.OFPInstructionActions(of.OFPIT_APPLY_ACTIONS, ask)]))

    @set_ev_cls(ofp_event.EventOFPPacketIn, MAIN_DISPATCHER)
    def packet_in(self, ev):
        msg = ev.msg
        switch = msg.datapath
        of, parser = switch.ofproto, switch.ofproto_parser
        old = of.OFP_VERSION == ofproto_v1_0.OFP_VERSION
        in_port = msg.in_port if old else msg.match["in_port"]
        to, source = haddr_to_str(msg.data[:6]), haddr_to_str(msg.data[6:12])
        ports = self.ports.setdefault(switch.id, {})
        ports[source] = in_port

        buffered = msg.buffer_id != (0xffffffff if old else of.OFP_NO_BUFFER)
        if to in ports:
            actions = [parser.OFPActionOutput(ports[to])]
            if old:
                rule = dict(match=parser.OFPMatch(in_port=in_port, dl_dst=msg.data[:6], dl_src=msg.data[6:12]), cookie=0, command=of.OFPFC_ADD, actions=actions)
            else:
                rule = dict(match=parser.OFPMatch(in_port=in_port, eth_dst=to, eth_src=source),
                            instructions=[parser.OFPInstructionActions(of.OFPIT_APPLY_ACTIONS, actions)])
            switch.send_msg(parser.OFPFlowMod(datapath=switch, priority=1, idle_timeout=60, buffer_id=msg.buffer_id, **rule))
            if buffered:
                return  # the rule takes the packet along
        else:
            actions = [parser.OFPActionOutput(of.OFPP_FLOOD)]
        switch.send_msg(parser.OFPPacketOut(
            datapath=switch, buffer_id=msg.buffer_id, in_port=in_port, actions=actions,
            data=None if buffered else msg.data))
