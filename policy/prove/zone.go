package prove

// zone is what values a few clocks may have: a matrix of the largest differences between any two of them, in milliseconds (Dill, "Timing assumptions and
// verification of finite-state concurrent systems", 1989). Clock 0 is always 0. All clocks go at the same pace, so that time that passes changes
// no difference but those to clock 0. A zone is kept closed: no difference can be smaller because of the others.
type zone struct {
	n     int // clocks, with clock 0
	upper []int64
}

const never = int64(1) << 60

// start is the zone of no clock but clock 0.
func startZone() zone { return zone{1, []int64{0}} }

// at is how much clock i may be ahead of clock j.
func (z *zone) at(i, j int) *int64 { return &z.upper[i*z.n+j] }

func (z *zone) clone() zone { return zone{z.n, append([]int64(nil), z.upper...)} }

// pass lets any time pass.
func (z *zone) pass() {
	for i := 1; i < z.n; i++ {
		*z.at(i, 0) = never
	}
}

// within leaves what has clock i at most limit ahead of clock j, and reports false where that is nothing.
func (z *zone) within(i, j int, limit int64) bool {
	if *z.at(j, i)+limit < 0 {
		return false
	}
	if *z.at(i, j) <= limit {
		return true
	}
	*z.at(i, j) = limit
	for a := range z.n {
		for b := range z.n {
			if *z.at(a, i) == never || *z.at(j, b) == never {
				continue
			}
			if d := *z.at(a, i) + limit + *z.at(j, b); d < *z.at(a, b) {
				*z.at(a, b) = d
			}
		}
	}
	return true
}

// pick returns the zone of some of the clocks. One that begins now is clock 0.
func (z *zone) pick(clocks []int) zone {
	o := zone{len(clocks), make([]int64, 0, len(clocks)*len(clocks))}
	for _, i := range clocks {
		for _, j := range clocks {
			o.upper = append(o.upper, *z.at(i, j))
		}
	}
	return o
}

// has reports whether all of o is in z.
func (z *zone) has(o *zone) bool {
	for i, d := range o.upper {
		if d > z.upper[i] {
			return false
		}
	}
	return true
}
