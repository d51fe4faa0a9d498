package p4bridge

import (
	"context"
	"errors"
	"fmt"

	"google.golang.org/grpc/codes"

	"switchbridge/flow"
)

// An error event speaks OpenFlow 1.3's types and codes (7.5.4.6), as all events
// of P4 switches do, so that one function understands both kinds of switch;
// its name and rule are in the program's own terms: P4 table, key, and the
// switch's words.
const (
	errFlowModFailed = 5
	errUnknown       = 0
	errTableFull     = 1
)

// refused tells the controller of an entry of its decision that is not in the
// switch, where it asked to be told. An answer to such an event that fails in
// turn is not told of: it could go round for ever.
func (o *owner) refused(ctx context.Context, because *job, rule string, err error) {
	if !o.s.cfg.Errors || because == nil || because.ev.Type == flow.EventError {
		return
	}
	e := &flow.SwitchError{Type: errFlowModFailed, Code: errUnknown, XID: because.ev.XID, Rule: rule}
	var update *UpdateError
	switch {
	case errors.Is(err, ErrTableFull):
		e.Code, e.Name = errTableFull, "P4Runtime: "+err.Error()
	case errors.As(err, &update):
		if update.Code == codes.ResourceExhausted {
			e.Code = errTableFull
		}
		e.Name = fmt.Sprintf("P4Runtime: %v: %s of an entry of table %s: %s", update.Code, update.Op, update.Table, update.Message)
	default:
		e.Name = "P4Runtime: " + err.Error()
	}
	j := o.newJob(flow.EventError)
	j.ev.Error = e
	o.start(ctx, j)
}
