package ovs

import (
	"bytes"
	"encoding/binary"
	"os/exec"
	"strings"
)

// separator is an echo request that no test sends. ovs-ofctl prints it on a line of its own, which tells
// where one message's lines end and the next one's begin.
var separator = []byte{1, 2, 0, 8, 0x5e, 0x9a, 0x7a, 0x70}

const separatorLine = "OFPT_ECHO_REQUEST (xid=0x5e9a7a70): 0 bytes of payload\n"

// Print returns the text that ovs-ofctl prints for each of the OpenFlow messages, one text for a message,
// which is how Open vSwitch understands them. A message that it rejects has "decode error" in its text.
// All are printed by one process, so give it many at once. It needs no switch and no privilege; without
// ovs-ofctl the test is skipped (with CI set, failed). A message whose length field disagrees with its
// length fails the test.
func Print(tb TB, messages ...[]byte) []string {
	tb.Helper()
	ofctl := need(tb, "ovs-ofctl")["ovs-ofctl"]
	if len(messages) == 0 {
		return nil
	}
	var stream bytes.Buffer
	for i, m := range messages {
		if len(m) < 8 || int(binary.BigEndian.Uint16(m[2:])) != len(m) {
			tb.Fatalf("message %d is not one whole OpenFlow message: %x", i, m)
		}
		stream.Write(m)
		stream.Write(separator)
	}
	cmd := exec.Command(ofctl, "-vconsole:off", "ofp-parse", "/dev/stdin")
	cmd.Stdin = &stream
	texts := strings.Split(run(tb, cmd), separatorLine)
	if len(texts) != len(messages)+1 || texts[len(messages)] != "" {
		tb.Fatalf("%d texts for %d messages: %q", len(texts)-1, len(messages), texts)
	}
	return texts[:len(messages)]
}

// OFPPrint is [Print] for a single message.
func OFPPrint(tb TB, message []byte) string {
	tb.Helper()
	return Print(tb, message)[0]
}
