package compact

import (
	"bytes"
	"os"
	"strings"
	"testing"

	"switchbridge/flow"
)

func TestDocumentedExample(t *testing.T) {
	doc, err := os.ReadFile("../../../docs/guest-abi.md")
	if err != nil {
		t.Fatal(err)
	}
	_, compact, found := strings.Cut(string(doc), "## The compact encoding")
	_, example, found2 := strings.Cut(compact, "For example, an event of LLDP")
	_, example, found3 := strings.Cut(example, "\n\n")
	example, _, found4 := strings.Cut(example, "\n\n")
	if !found || !found2 || !found3 || !found4 {
		t.Fatal("no example")
	}
	want, _ := AppendEvent(nil, newEvent(packet(flow.EthTypeLLDP)))
	if got := unhex(t, example); !bytes.Equal(got, want) {
		t.Errorf("documented %x\nwant %x", got, want)
	}
}
