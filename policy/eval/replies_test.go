package eval_test

import (
	"testing"

	"switchbridge/flow"
	"switchbridge/policy/eval"
)

// What answers a packet of the capture is allowed where the policy lets replies in, and nothing else.
func TestReplies(t *testing.T) {
	pcap := dataFile(t, "home-web.pcapng")
	count := func(replies string) (questions, answers, denied int) {
		report := evaluate(t, "serial: 1\nchain: [{header: {rules: [{name: ask, match: {tcp_dst: 80}, action: allow"+replies+"}]}}]", pcap, eval.Options{})
		for _, f := range report.Flows {
			h := f.Headers()
			switch tcp := h.IPProto == flow.ProtoTCP; {
			case f.Verdict == "deny":
				denied++
			case tcp && h.L4Dst == 80:
				questions++
			case tcp && h.L4Src == 80 && f.Reason == "header: ask (a reply)" && len(f.Rules) == 1:
				answers++
			default:
				t.Errorf("%s is %s (%s)", f.Match, f.Verdict, f.Reason)
			}
		}
		return questions, answers, denied
	}
	questions, answers, denied := count(", replies: allow")
	if questions == 0 || answers == 0 || answers > questions || denied == 0 {
		t.Errorf("%d questions, %d answers, %d denied", questions, answers, denied)
	}
	if q, a, d := count(""); q != questions || a != 0 || d != denied+answers {
		t.Errorf("without replies: %d questions, %d answers, %d denied; with them %d, %d, %d", q, a, d, questions, answers, denied)
	}
}
