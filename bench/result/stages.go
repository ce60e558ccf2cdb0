package result

// MedianStages are the stages of a round trip in order, each figure the median over the rounds. A round whose stages are others, because the
// kernel could not stamp what it stamped in the first, is left out.
func (r *Result) MedianStages() []Stage {
	var rounds [][]Stage
	for i := range r.Rounds {
		if s := r.Rounds[i].Stages; len(s) > 0 && (len(rounds) == 0 || sameStages(s, rounds[0])) {
			rounds = append(rounds, s)
		}
	}
	if len(rounds) == 0 {
		return nil
	}
	out := make([]Stage, len(rounds[0]))
	for i, first := range rounds[0] {
		median := func(of func(*Stage) float64) float64 {
			var xs []float64
			for _, s := range rounds {
				xs = append(xs, of(&s[i]))
			}
			return Median(xs)
		}
		out[i] = Stage{
			Name: first.Name, Side: first.Side,
			P50:  median(func(s *Stage) float64 { return s.P50 }),
			P99:  median(func(s *Stage) float64 { return s.P99 }),
			Mean: median(func(s *Stage) float64 { return s.Mean }),
		}
		if first.KernelP50 != nil {
			kernel := median(func(s *Stage) float64 { return *s.KernelP50 })
			out[i].KernelP50 = &kernel
		}
	}
	return out
}

func sameStages(a, b []Stage) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i].Name != b[i].Name || a[i].Side != b[i].Side || (a[i].KernelP50 == nil) != (b[i].KernelP50 == nil) {
			return false
		}
	}
	return true
}
