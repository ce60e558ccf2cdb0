package text

import (
	"fmt"
	"math"
	"strings"

	"github.com/fastrpc/fastrpc/bench/result"
)

// knees says of each system how much of a rising load it carried; empty if the report has no such loads.
func knees(r *result.Report, ordered []*result.Result) string {
	var out []string
	seen := map[string]bool{}
	for _, res := range ordered {
		if seen[res.System] {
			continue
		}
		seen[res.System] = true
		least, most := bounds(r, res.System)
		if !(least < most) {
			continue
		}
		where := ""
		if k := r.Knee(res.System); k != nil {
			where = number(k.OfferedLoad()) + "/s"
			if r.Run.Axis == result.AxisLoad {
				where += " (" + OnAxis(r.Run.Axis, k.Point) + ")"
			}
		} else if highest, all := r.CarriedAll(res.System); all {
			where = "not reached at " + number(highest) + "/s"
		} else {
			where = "below " + number(least) + "/s"
		}
		out = append(out, res.System+" "+where)
	}
	if out == nil {
		return ""
	}
	return fmt.Sprintf("knee, the highest load of which %.0f %% still ended: %s\n", 100*result.Carried, strings.Join(out, ", "))
}

// bounds are the least and the highest load that a system was offered.
func bounds(r *result.Report, system string) (least, most float64) {
	least, most = math.Inf(1), math.Inf(-1)
	for i := range r.Results {
		if load := r.Results[i].OfferedLoad(); r.Results[i].System == system && len(r.Results[i].Rounds) > 0 && !math.IsNaN(load) {
			least, most = min(least, load), max(most, load)
		}
	}
	return least, most
}
