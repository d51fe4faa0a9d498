package p4test

import (
	"cmp"
	"context"

	p4v1 "github.com/p4lang/p4runtime/go/p4/v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"switchbridge/p4bridge/pipeline"
)

// SetForwardingPipelineConfig takes VERIFY_AND_COMMIT, which wipes everything,
// and VERIFY (P4Runtime 1.3, 12).
func (t *Target) SetForwardingPipelineConfig(ctx context.Context, req *p4v1.SetForwardingPipelineConfigRequest) (*p4v1.SetForwardingPipelineConfigResponse, error) {
	t.hang(ctx.Done())
	t.mu.Lock()
	defer t.mu.Unlock()
	if err := t.mayWrite(req.GetDeviceId(), electionOf(req.GetElectionId())); err != nil {
		return nil, err
	}
	if _, limited := t.opts.Roles[req.GetRole()]; limited {
		return nil, status.Errorf(codes.PermissionDenied, "Role %s can't push a pipeline", req.GetRole())
	}
	cfg := req.GetConfig()
	info, err := proto.Marshal(cfg.GetP4Info())
	if err != nil {
		return nil, status.Error(codes.InvalidArgument, err.Error())
	}
	pl, err := pipeline.Load(info, cfg.GetP4DeviceConfig())
	if err != nil {
		return nil, status.Errorf(codes.InvalidArgument, "Invalid P4 configuration: %v", err)
	}
	switch req.GetAction() {
	case p4v1.SetForwardingPipelineConfigRequest_VERIFY:
		return &p4v1.SetForwardingPipelineConfigResponse{}, nil
	case p4v1.SetForwardingPipelineConfigRequest_VERIFY_AND_COMMIT:
	default:
		return nil, status.Errorf(codes.Unimplemented, "%v is not supported", req.GetAction())
	}
	t.stats.Pushes++
	t.config, t.pl = cfg, pl
	t.tables = map[uint32]*table{}
	t.digest = map[uint32]*digestState{}
	t.members = map[memberKey]*p4v1.ActionProfileMember{}
	t.groups = map[memberKey]*p4v1.ActionProfileGroup{}
	t.pre.forget()
	t.meters, t.counters = map[cell]*meter{}, map[cell]*p4v1.CounterData{}
	for _, tab := range pl.Tables {
		t.tables[tab.ID] = &table{Table: tab, entries: map[string]*entry{}}
	}
	return &p4v1.SetForwardingPipelineConfigResponse{}, nil
}

// GetForwardingPipelineConfig returns what was pushed.
func (t *Target) GetForwardingPipelineConfig(ctx context.Context, req *p4v1.GetForwardingPipelineConfigRequest) (*p4v1.GetForwardingPipelineConfigResponse, error) {
	t.hang(ctx.Done())
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.config == nil {
		return nil, status.Error(codes.FailedPrecondition, "No forwarding pipeline config set for this device")
	}
	out := &p4v1.ForwardingPipelineConfig{Cookie: t.config.GetCookie()}
	if req.GetResponseType() != p4v1.GetForwardingPipelineConfigRequest_COOKIE_ONLY {
		out = t.config
	}
	return &p4v1.GetForwardingPipelineConfigResponse{Config: out}, nil
}

// Capabilities answers with the version: BMv2 is at 1.3.0.
func (t *Target) Capabilities(context.Context, *p4v1.CapabilitiesRequest) (*p4v1.CapabilitiesResponse, error) {
	return &p4v1.CapabilitiesResponse{P4RuntimeApiVersion: cmp.Or(t.opts.Version, "1.3.0")}, nil
}
