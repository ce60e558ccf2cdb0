package bench

import (
	"maps"
	"slices"
	"strings"
)

// missing has the systems that exist and that this machine lacks, with the reason. Like systems it is filled before a comparison and
// read-only afterwards.
var missing = map[string]string{}

// AddMissing names a system that this machine lacks; why says what would bring it. A comparison that asks for the system reports it as
// missing, with that reason, and goes on with the others. A system that is registered is not missing, whatever is said here.
func AddMissing(name, why string) {
	missing[name] = why
}

// absent gives the reason why a system is missing.
func absent(name string) (why string, is bool) {
	if _, there := systems[name]; there {
		return "", false
	}
	why, is = missing[name]
	return why, is
}

// All stands for every system that has the workload, in a list of names: see [Expand].
const All = "all"

// Expand replaces the name "all" in a list by the systems that have the workload, those of a comparison that names none first. Systems that
// are missing are among them, so that the report says so. A name that is in the list already is not added again. The flows of streams are left
// out: what they measure is no round trip, and has no place beside those.
func Expand(names []string, workload string) []string {
	var list []string
	for _, name := range names {
		if name != All {
			list = append(list, name)
			continue
		}
		every := slices.Concat(Default(workload), Names(), slices.Sorted(maps.Keys(missing)))
		for _, name := range every {
			if strings.HasSuffix(name, string(Flow)) {
				continue
			}
			if s, there := systems[name]; !slices.Contains(list, name) && !slices.Contains(names, name) && (!there || has(s, workload)) {
				list = append(list, name)
			}
		}
	}
	return list
}
