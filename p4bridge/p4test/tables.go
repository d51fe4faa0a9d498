package p4test

import (
	"context"
	"slices"
	"sort"
	"time"

	p4v1 "github.com/p4lang/p4runtime/go/p4/v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"switchbridge/p4bridge/pipeline"
)

type table struct {
	*pipeline.Table
	entries    map[string]*entry
	miss       *p4v1.Action // the default action; nil is the program's own
	missCookie uint64
}

type entry struct {
	*p4v1.TableEntry
	used     time.Time // last hit, or when it was written
	notified time.Time
	packets  int64
	bytes    int64
}

func (t *table) list() []*p4v1.TableEntry {
	keys := make([]string, 0, len(t.entries))
	for k := range t.entries {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	out := make([]*p4v1.TableEntry, 0, len(keys))
	for _, k := range keys {
		out = append(out, t.entries[k].copy())
	}
	return out
}

func (e *entry) copy() *p4v1.TableEntry {
	out := proto.CloneOf(e.TableEntry)
	out.CounterData = &p4v1.CounterData{PacketCount: e.packets, ByteCount: e.bytes}
	return out
}

// Write applies updates in order, each for itself (P4Runtime 1.3, 12.2:
// CONTINUE_ON_ERROR).
func (t *Target) Write(ctx context.Context, req *p4v1.WriteRequest) (*p4v1.WriteResponse, error) {
	t.hang(ctx.Done())
	t.mu.Lock()
	restart := false
	err := func() error {
		defer t.mu.Unlock()
		if err := t.mayWrite(req.GetDeviceId(), electionOf(req.GetElectionId())); err != nil {
			return err
		}
		if t.pl == nil {
			return status.Error(codes.FailedPrecondition, "No forwarding pipeline config set for this device")
		}
		t.stats.Writes++
		if t.faults.WriteStatus != nil {
			return t.faults.WriteStatus
		}
		errs := make([]error, len(req.GetUpdates()))
		failed := false
		for i, u := range req.GetUpdates() {
			if errs[i] = t.mayTouch(req.GetRole(), u); errs[i] == nil {
				errs[i] = t.update(u)
			}
			if errs[i] != nil {
				failed = true
				continue
			}
			t.stats.Updates++
			if t.faults.AfterUpdates > 0 {
				if t.faults.AfterUpdates--; t.faults.AfterUpdates == 0 {
					restart = true
					return status.Error(codes.Unavailable, "going down")
				}
			}
		}
		if !failed {
			return nil
		}
		return updateErrors(errs)
	}()
	if restart {
		go t.Restart() //nolint:errcheck // a test that waits for it will see
		<-ctx.Done()
	}
	return &p4v1.WriteResponse{}, err
}

// mayTouch says what a role may write.
func (t *Target) mayTouch(role string, u *p4v1.Update) error {
	tables, limited := t.opts.Roles[role]
	tab := t.tables[u.GetEntity().GetTableEntry().GetTableId()]
	if !limited || tab != nil && slices.Contains(tables, tab.Name) {
		return nil
	}
	return status.Errorf(codes.PermissionDenied, "Role %s may not write this", role)
}

// updateErrors is the status UNKNOWN with one p4.v1.Error for each update.
func updateErrors(errs []error) error {
	st := status.New(codes.Unknown, "")
	p := st.Proto()
	for _, err := range errs {
		s := status.Convert(err)
		d, _ := anypb.New(&p4v1.Error{CanonicalCode: int32(s.Code()), Message: s.Message()})
		p.Details = append(p.Details, d)
	}
	return status.ErrorProto(p)
}

func (t *Target) update(u *p4v1.Update) error {
	if t.faults.Write != nil {
		if err := t.faults.Write(u); err != nil {
			return err
		}
	}
	switch e := u.GetEntity().GetEntity().(type) {
	case *p4v1.Entity_TableEntry:
		return t.updateTable(u.GetType(), e.TableEntry)
	case *p4v1.Entity_ActionProfileMember:
		return t.updateMember(u.GetType(), e.ActionProfileMember)
	case *p4v1.Entity_ActionProfileGroup:
		return t.updateGroup(u.GetType(), e.ActionProfileGroup)
	case *p4v1.Entity_MeterEntry:
		return t.updateMeter(u.GetType(), e.MeterEntry)
	case *p4v1.Entity_DigestEntry:
		return t.updateDigest(u.GetType(), e.DigestEntry)
	case *p4v1.Entity_PacketReplicationEngineEntry:
		return t.updateReplication(u.GetType(), e.PacketReplicationEngineEntry)
	}
	return status.Error(codes.Unimplemented, "this entity is not supported")
}

func (t *Target) updateTable(op p4v1.Update_Type, e *p4v1.TableEntry) error {
	tab := t.tables[e.GetTableId()]
	if tab == nil {
		return status.Errorf(codes.NotFound, "table %#x is not in the pipeline", e.GetTableId())
	}
	if e.GetIsDefaultAction() {
		return tab.setDefault(op, e)
	}
	act, err := t.actionOf(tab.Table, e.GetAction())
	if err != nil && op != p4v1.Update_DELETE {
		return err
	}
	if err := tab.check(op, e, act); err != nil {
		return err
	}
	k := pipeline.KeyOf(e)
	old := tab.entries[k]
	switch op {
	case p4v1.Update_INSERT:
		if tab.Const {
			return status.Error(codes.Unknown, "Error when adding match entry to target")
		}
		if old != nil {
			return status.Error(codes.AlreadyExists, "Match entry exists, use MODIFY if you wish to change action")
		}
		if int64(len(tab.entries)) >= tab.Size {
			if t.opts.Specification {
				return status.Error(codes.ResourceExhausted, "table is full")
			}
			return status.Error(codes.Unknown, "Error when adding match entry to target")
		}
		tab.entries[k] = &entry{TableEntry: proto.CloneOf(e), used: time.Now()}
	case p4v1.Update_MODIFY:
		if old == nil {
			return status.Error(codes.NotFound, "Cannot find match entry")
		}
		old.TableEntry, old.used = proto.CloneOf(e), time.Now()
	case p4v1.Update_DELETE:
		if old == nil {
			return status.Error(codes.NotFound, "Cannot find match entry")
		}
		delete(tab.entries, k)
	default:
		return status.Error(codes.InvalidArgument, "update type")
	}
	return nil
}

func (tab *table) setDefault(op p4v1.Update_Type, e *p4v1.TableEntry) error {
	id := e.GetAction().GetAction().GetActionId()
	if tab.ConstMiss != nil {
		return status.Errorf(codes.PermissionDenied, "Cannot set / reset default action for table %d which has a const default action", tab.ID)
	}
	if e.GetAction() == nil && op == p4v1.Update_MODIFY { // back to the program's own (P4Runtime 1.3, 9.1.3)
		tab.miss, tab.missCookie = nil, 0
		return nil
	}
	for _, a := range tab.Defaults {
		if op == p4v1.Update_MODIFY && a.ID == id {
			tab.miss, tab.missCookie = e.GetAction().GetAction(), e.GetControllerMetadata()
			return nil
		}
	}
	return status.Errorf(codes.InvalidArgument, "table %s: %v of the default action to %#x", tab.Name, op, id)
}

// check is P4Runtime 1.3, 9.1.1 as PI enforces it.
func (tab *table) check(op p4v1.Update_Type, e *p4v1.TableEntry, act *p4v1.Action) error {
	bad := func(format string, args ...any) error {
		return status.Errorf(codes.InvalidArgument, "table %s: "+format, append([]any{tab.Name}, args...)...)
	}
	seen := map[uint32]bool{}
	for _, m := range e.GetMatch() {
		f := tab.FieldByID(m.GetFieldId())
		if f == nil || seen[m.GetFieldId()] {
			return bad("key %d is unknown or there twice", m.GetFieldId())
		}
		seen[f.ID] = true
		value, mask := matchBits(m)
		if value == nil || kindOf(m) != f.Kind {
			return bad("key %s wants a %v match", f.Name, f.Kind)
		}
		v, err := pipeline.Pad(value, f.Width)
		if err != nil {
			return bad("key %s: %v", f.Name, err)
		}
		if f.Kind == pipeline.Ternary {
			k, err := pipeline.Pad(mask, f.Width)
			if err != nil {
				return bad("key %s: mask: %v", f.Name, err)
			}
			any := true
			for i := range v {
				if v[i]&^k[i] != 0 {
					return bad("key %s: value has bits that the mask lacks", f.Name)
				}
				any = any && k[i] == 0
			}
			if any {
				return bad("key %s: don't care must be left out", f.Name)
			}
		}
	}
	for _, f := range tab.Fields {
		if f.Kind == pipeline.Exact && !seen[f.ID] {
			return bad("key %s is missing", f.Name)
		}
	}
	if tab.Priority != (e.GetPriority() > 0) {
		return bad("priority %d", e.GetPriority())
	}
	if e.GetIdleTimeoutNs() != 0 && !tab.IdleTimeout {
		return bad("it has no idle timeouts")
	}
	if op == p4v1.Update_DELETE {
		return nil
	}
	for _, a := range tab.Actions {
		if a.ID != act.GetActionId() {
			continue
		}
		if len(act.GetParams()) != len(a.Params) {
			return bad("action %s: %d parameters, want %d", a.Name, len(act.GetParams()), len(a.Params))
		}
		for i, p := range act.GetParams() {
			if _, err := pipeline.Pad(p.GetValue(), a.Params[i].Width); err != nil {
				return bad("action %s: %v", a.Name, err)
			}
		}
		return nil
	}
	return bad("action %#x is not one of its actions", act.GetActionId())
}

func kindOf(m *p4v1.FieldMatch) pipeline.Kind {
	switch {
	case m.GetLpm() != nil:
		return pipeline.LPM
	case m.GetTernary() != nil:
		return pipeline.Ternary
	case m.GetRange() != nil:
		return pipeline.Range
	case m.GetOptional() != nil:
		return pipeline.Optional
	}
	return pipeline.Exact
}

func matchBits(m *p4v1.FieldMatch) (value, mask []byte) {
	switch {
	case m.GetExact() != nil:
		return m.GetExact().GetValue(), nil
	case m.GetLpm() != nil:
		return m.GetLpm().GetValue(), nil
	case m.GetTernary() != nil:
		return m.GetTernary().GetValue(), m.GetTernary().GetMask()
	case m.GetOptional() != nil:
		return m.GetOptional().GetValue(), nil
	case m.GetRange() != nil:
		return m.GetRange().GetLow(), m.GetRange().GetHigh()
	}
	return nil, nil
}

// Read answers with one message, as PI does.
func (t *Target) Read(req *p4v1.ReadRequest, srv p4v1.P4Runtime_ReadServer) error {
	t.hang(srv.Context().Done())
	resp := new(p4v1.ReadResponse)
	t.mu.Lock()
	if t.pl == nil {
		t.mu.Unlock()
		return status.Error(codes.FailedPrecondition, "No forwarding pipeline config set for this device")
	}
	for _, want := range req.GetEntities() {
		switch e := want.GetEntity().(type) {
		case *p4v1.Entity_TableEntry:
			for id, tab := range t.tables {
				if e.TableEntry.GetTableId() != 0 && e.TableEntry.GetTableId() != id {
					continue
				}
				for _, te := range tab.read(e.TableEntry) {
					resp.Entities = append(resp.Entities, &p4v1.Entity{Entity: &p4v1.Entity_TableEntry{TableEntry: te}})
				}
			}
		case *p4v1.Entity_PacketReplicationEngineEntry:
			resp.Entities = append(resp.Entities, t.readReplication(e.PacketReplicationEngineEntry)...)
		case *p4v1.Entity_ActionProfileMember:
			list, err := t.readMembers(e.ActionProfileMember)
			if err != nil {
				t.mu.Unlock()
				return err
			}
			resp.Entities = append(resp.Entities, list...)
		case *p4v1.Entity_ActionProfileGroup:
			list, err := t.readGroups(e.ActionProfileGroup)
			if err != nil {
				t.mu.Unlock()
				return err
			}
			resp.Entities = append(resp.Entities, list...)
		case *p4v1.Entity_CounterEntry:
			resp.Entities = append(resp.Entities, t.readCounters(e.CounterEntry)...)
		case *p4v1.Entity_MeterEntry:
			resp.Entities = append(resp.Entities, t.readMeters(e.MeterEntry)...)
		default:
			t.mu.Unlock()
			return status.Error(codes.Unimplemented, "this entity can't be read")
		}
	}
	t.mu.Unlock()
	return srv.Send(resp)
}

// read gives what was asked for: the default action, one entry, or all of them.
func (t *table) read(ask *p4v1.TableEntry) []*p4v1.TableEntry {
	if ask.GetIsDefaultAction() {
		def := &p4v1.TableEntry{TableId: t.ID, IsDefaultAction: true, ControllerMetadata: t.missCookie}
		if t.miss != nil {
			def.Action = &p4v1.TableAction{Type: &p4v1.TableAction_Action{Action: t.miss}}
		}
		return []*p4v1.TableEntry{def}
	}
	var list []*p4v1.TableEntry
	if len(ask.GetMatch()) == 0 && ask.GetPriority() == 0 {
		list = t.list()
	} else if e := t.entries[pipeline.KeyOf(ask)]; e != nil {
		list = []*p4v1.TableEntry{e.copy()}
	}
	for _, e := range list {
		if ask.GetCounterData() == nil {
			e.CounterData = nil
		}
	}
	return list
}

// sweepIdle tells of idle entries, every two sweeps while they are idle. It
// never removes one: neither does BMv2.
func (t *Target) sweepIdle(stop <-chan struct{}) {
	tick := time.NewTicker(t.opts.IdleSweep)
	defer tick.Stop()
	for {
		select {
		case <-stop:
			return
		case now := <-tick.C:
			t.mu.Lock()
			n := &p4v1.IdleTimeoutNotification{Timestamp: now.UnixNano()}
			for _, tab := range t.tables {
				for _, e := range tab.entries {
					idle := time.Duration(e.GetIdleTimeoutNs())
					if idle > 0 && now.Sub(e.used) >= idle && now.Sub(e.notified) >= 2*t.opts.IdleSweep {
						e.notified = now
						n.TableEntry = append(n.TableEntry, &p4v1.TableEntry{
							TableId: e.TableId, Match: e.Match, Priority: e.Priority, IdleTimeoutNs: e.IdleTimeoutNs, ControllerMetadata: e.ControllerMetadata,
						})
					}
				}
			}
			if len(n.TableEntry) > 0 && t.primary != nil {
				t.post(t.primary, &p4v1.StreamMessageResponse{Update: &p4v1.StreamMessageResponse_IdleTimeoutNotification{IdleTimeoutNotification: n}})
			}
			t.mu.Unlock()
		}
	}
}
