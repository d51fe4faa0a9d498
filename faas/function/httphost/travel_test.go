package httphost

import (
	"strings"
	"testing"

	"switchbridge/faas/instance/guest"
	"switchbridge/flow"
	"switchbridge/flow/contract"
)

// All states that may come with one event find room in the headers that a server reads, and in what a guest is given.
func TestRoomForStates(t *testing.T) {
	var list []flow.Travelling
	for kind := range flow.StateKeys {
		for i := range flow.MaxTravelling {
			var err error
			list, err = contract.AddTravel(list, flow.Travelling{Name: strings.Repeat("n", flow.MaxTravelName-1) + string(rune('a'+i)), Key: kind, Version: 1<<64 - 1,
				Data: make([]byte, flow.MaxState/flow.MaxTravelling)}, flow.MaxTravelEvent)
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	text := contract.TravelText(list)
	const others = 16 << 10
	if len(text)+others > maxHeaderBytes || len(text)+others > guest.MaxEnvelope-guest.MaxBody {
		t.Errorf("%d bytes, of %d in headers and %d around a guest's body", len(text), maxHeaderBytes, guest.MaxEnvelope-guest.MaxBody)
	}
	back, err := contract.ParseTravel(nil, text, flow.MaxTravelEvent)
	if err != nil || len(back) != len(list) {
		t.Errorf("%d states, %v", len(back), err)
	}
}
