// Command adversary is a guest that does to its host and to the next event whatever it can. The
// first line of a request's body says what; docs/guest-abi.md says how it is called.
package main

import (
	"crypto/rand"
	"fmt"
	mathrand "math/rand/v2"
	"os"
	"time"

	"switchbridge/faas/instance/guest"
)

func init() { guest.Serve(guest.Functions{Configure: configure, Decide: decide}) }

func main() {}

var (
	policy  string
	secret  string             // what one event leaves for the next
	secrets = map[string]int{} // the same on the heap
	hoard   [][]byte
)

func configure(p []byte) error {
	if string(p) == "refuse" {
		return fmt.Errorf("line 3: no such verdict %q", "perhaps")
	}
	policy = string(p)
	if len(p) > 100 {
		policy = fmt.Sprint(len(p), " bytes")
		hoard = append(hoard, p)
	}
	return nil
}

func decide(r *guest.Request, a *guest.Answer) {
	a.Status, a.Encoding, a.Policy = 200, r.Encoding, policy
	switch what := string(r.Body); what {
	case "echo":
		a.Body = r.Body
	case "keep":
		a.Body = fmt.Appendf(nil, "%q %d", secret, len(secrets))
		secret = r.ID
		for i := range 100 {
			secrets[fmt.Sprint(r.ID, i)] = i
		}
	case "random":
		a.Body = make([]byte, 16)
		rand.Read(a.Body)
	case "pseudorandom":
		a.Body = fmt.Appendf(nil, "%x", mathrand.Uint64())
	case "time":
		a.Body = fmt.Append(nil, time.Now().UnixNano())
	case "grow":
		hoard = append(hoard, make([]byte, 16<<20))
		a.Body = fmt.Append(nil, len(hoard))
	case "allocate":
		for {
			hoard = append(hoard, make([]byte, 1<<20))
		}
	case "loop":
		for {
		}
	case "sleep":
		time.Sleep(time.Hour)
	case "panic":
		panic("out of spite")
	case "exit":
		os.Exit(3)
	case "close":
		_, before := os.Stdout.WriteString("a line\n")
		os.Stdout.Close()
		a.Body = fmt.Append(nil, before)
	case "files":
		_, err := os.ReadDir("/")
		a.Body = fmt.Append(nil, err, os.Args, os.Environ())
	case "huge":
		a.Body = make([]byte, guest.MaxEnvelope)
	default:
		a.Status, a.Reason = 400, "what is "+what
	}
}
