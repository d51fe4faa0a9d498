package policy

import "fmt"

// Guard is an entry that ties sources' addresses to ports, such as sourceguard.
type Guard interface {
	// Uncovered says of which ports the entry can't tell who sends; empty: of none.
	Uncovered() string
}

// Warnings are what the author of a valid policy may not have thought of: entries that rest on packets' sources where nothing has looked whether
// those are forged, and ports that the guard does not cover. An entry rests on sources if it lets replies in, or if it has a method NeedsSources that
// reports so.
func (p *Policy) Warnings() (list []string) {
	guarded := false
	for i, s := range p.Chain {
		if g, ok := s.(Guard); ok {
			guarded = true
			if ports := g.Uncovered(); ports != "" {
				list = append(list, fmt.Sprintf("chain entry %d: %s does not cover %s", i+1, s.Name(), ports))
			}
		}
		if !guarded && needsSources(s) {
			list = append(list, fmt.Sprintf("chain entry %d: %s rests on who sent a packet, and no sourceguard stands before it: "+
				"a host that forges another's addresses is taken for it", i+1, s.Name()))
		}
	}
	return list
}

func needsSources(s Source) bool {
	n, ok := s.(interface{ NeedsSources() bool })
	if ok && n.NeedsSources() {
		return true
	}
	r, ok := s.(interface{ Replies() bool })
	return ok && r.Replies()
}
