package ofp

import "switchbridge/flow"

// AppendFeaturesRequest asks a switch for its datapath id and abilities.
func AppendFeaturesRequest(b []byte, v flow.Protocol, xid uint32) []byte {
	return appendEmpty(b, v, TypeFeaturesRequest, xid)
}

func appendEmpty(b []byte, v flow.Protocol, t Type, xid uint32) []byte {
	start := len(b)
	return mustEnd(begin(b, v, t, xid), start)
}

const featuresLen = 24 // after the header, without 1.0's ports

// maxPorts10 is how many ports fit into a FEATURES_REPLY of 1.0.
const maxPorts10 = (maxLen - HeaderLen - featuresLen) / portLen10

// AppendFeaturesReply describes a switch (OpenFlow 1.0.0, 5.3.1; 1.3.5, 7.3.1).
// In 1.0 it has the ports as well; those that don't fit into 64 KiB are left out.
func AppendFeaturesReply(b []byte, v flow.Protocol, xid uint32, sw *flow.Switch) []byte {
	start := len(b)
	b = begin(b, v, TypeFeaturesReply, xid)
	b = be.AppendUint64(b, uint64(sw.DPID))
	b = be.AppendUint32(b, sw.NBuffers)
	if v == flow.OpenFlow10 {
		b = append(b, sw.NTables, 0, 0, 0)
		b = be.AppendUint32(b, sw.Capabilities)
		b = be.AppendUint32(b, sw.Actions)
		for i := range sw.Ports[:min(len(sw.Ports), maxPorts10)] {
			b = appendPort(b, v, &sw.Ports[i])
		}
		return mustEnd(b, start)
	}
	b = append(b, sw.NTables, sw.Auxiliary, 0, 0)
	b = be.AppendUint32(b, sw.Capabilities)
	b = be.AppendUint32(b, 0)
	return mustEnd(b, start)
}

// ParseFeaturesReply sets everything in sw. In 1.3 it leaves the ports unchanged: they
// come with a port description ([ParsePortDescReply]).
func ParseFeaturesReply(msg []byte, sw *flow.Switch) error {
	v, b, err := body(msg, TypeFeaturesReply, featuresLen)
	if err != nil {
		return err
	}
	got := flow.Switch{
		Protocol: v, DPID: flow.DPID(be.Uint64(b)), NBuffers: be.Uint32(b[8:]), NTables: b[12],
		Capabilities: be.Uint32(b[16:]), Ports: sw.Ports,
	}
	if v == flow.OpenFlow10 {
		got.Actions = be.Uint32(b[20:])
		if got.Ports, err = parsePorts(b[featuresLen:], v); err != nil {
			return err
		}
	} else {
		got.Auxiliary = b[13]
	}
	*sw = got
	return nil
}

// AppendGetConfigReply answers a GET_CONFIG_REQUEST.
func AppendGetConfigReply(b []byte, v flow.Protocol, xid uint32, missSendLen uint16) []byte {
	return appendConfig(b, v, TypeGetConfigReply, xid, missSendLen)
}

func appendConfig(b []byte, v flow.Protocol, t Type, xid uint32, missSendLen uint16) []byte {
	start := len(b)
	b = begin(b, v, t, xid)
	b = append(b, 0, 0) // flags: OFPC_FRAG_NORMAL
	b = be.AppendUint16(b, missSendLen)
	return mustEnd(b, start)
}

// ParseConfig returns the miss_send_len of a SET_CONFIG or a GET_CONFIG_REPLY: how many
// bytes of a packet that no rule matches go to the controller. 0xffff means all of them.
func ParseConfig(msg []byte) (missSendLen uint16, err error) {
	t, err := eitherOf(msg, TypeSetConfig, TypeGetConfigReply)
	if err != nil {
		return 0, err
	}
	_, b, err := body(msg, t, 4)
	if err != nil {
		return 0, err
	}
	return be.Uint16(b[2:]), nil
}

// AppendBarrierReply answers a barrier request.
func AppendBarrierReply(b []byte, v flow.Protocol, xid uint32) []byte {
	return appendEmpty(b, v, TypeBarrierReply, xid)
}
