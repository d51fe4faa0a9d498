package ovs

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"time"
)

// Control is an open connection to ovs-vswitchd's control socket. It asks what ovs-appctl asks, without a
// process for each question: some thousands a second. It is for one goroutine at a time.
type Control struct {
	conn net.Conn
	in   *json.Decoder
	out  *json.Encoder
	id   int
}

// controlTimeout is how long one command may take.
const controlTimeout = 10 * time.Second

// Control connects to this switch's ovs-vswitchd. The connection closes with the test, and is of no use
// after a [Switchd.Restart].
func (s *Switchd) Control() *Control {
	s.tb.Helper()
	conn, err := net.Dial("unix", s.path("vswitchd.ctl"))
	if err != nil {
		s.tb.Fatal(err)
	}
	s.tb.Cleanup(func() { conn.Close() })
	return &Control{conn: conn, in: json.NewDecoder(conn), out: json.NewEncoder(conn)}
}

// Call runs one command, such as "ofproto/trace", and returns what it printed. A command that
// ovs-vswitchd refuses is an error with its text; the connection is still good then.
// The protocol is JSON-RPC 1.0 (RFC 4627's notation; see unixctl(7)).
func (c *Control) Call(command string, args ...string) (string, error) {
	if args == nil {
		args = []string{}
	}
	c.id++
	if err := c.conn.SetDeadline(time.Now().Add(controlTimeout)); err != nil {
		return "", err
	}
	request := struct {
		ID     int      `json:"id"`
		Method string   `json:"method"`
		Params []string `json:"params"`
	}{c.id, command, args}
	if err := c.out.Encode(request); err != nil {
		return "", fmt.Errorf("%s: %w", command, err)
	}
	var reply struct {
		ID     int     `json:"id"`
		Result *string `json:"result"`
		Error  *string `json:"error"`
	}
	if err := c.in.Decode(&reply); err != nil {
		return "", fmt.Errorf("%s: %w", command, err)
	}
	switch {
	case reply.ID != c.id:
		return "", fmt.Errorf("%s: an answer to question %d where %d was asked", command, reply.ID, c.id)
	case reply.Error != nil:
		return "", fmt.Errorf("%s: %w", command, errors.New(*reply.Error))
	case reply.Result == nil:
		return "", fmt.Errorf("%s: an answer without a result", command)
	}
	return *reply.Result, nil
}
