// Command example is a function that lets everything pass but SSH.
package main

import (
	"log"
	"net/http"
	"os"

	"switchbridge/sdk/go/function"
)

func decide(p *function.Packet) *function.Decision {
	if port, _ := p.Number("tcp_dst"); port == 22 {
		return p.Deny("no ssh")
	}
	return p.ReuseFor(p.Allow("not ssh"), 5)
}

func main() {
	log.Fatal(http.ListenAndServe(os.Args[1], &function.Handler{PacketIn: decide, Policy: "1-00000001"}))
}
