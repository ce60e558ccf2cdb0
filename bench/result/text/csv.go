package text

import (
	"encoding/csv"
	"fmt"
	"io"
	"maps"
	"reflect"
	"slices"
	"strings"

	"github.com/fastrpc/fastrpc/bench/result"
)

// Parts are the names of Round.Parts that have columns of the CSV form.
var Parts = []string{"first", "dial", "call", "close", "bulk", "late", result.PartUnstamped}

// CSV writes a line for each round: workload and system, the point, then all figures of the round. The columns are the fields of the JSON form under
// the same names and in its units, those of an inner object after its name and a point: latency.p50_us. They are the same for every workload; what was
// not measured is empty. Histograms and stages of a round trip are in the JSON alone.
func CSV(w io.Writer, r *result.Report) error {
	out := csv.NewWriter(w)
	head := append([]string{"workload", "system"}, names("point.", reflect.TypeFor[result.Point]())...)
	head = append(head, names("", reflect.TypeFor[result.Round]())...)
	_ = out.Write(head) // errors stay with the writer
	for i := range r.Results {
		res := &r.Results[i]
		for j := range res.Rounds {
			line := append([]string{r.Run.Workload, res.System}, values(reflect.ValueOf(res.Point))...)
			_ = out.Write(append(line, values(reflect.ValueOf(res.Rounds[j]))...))
		}
	}
	out.Flush()
	return out.Error()
}

// Fields without a column.
var skipped = []string{"histogram", "stages"}

var (
	partsType = reflect.TypeFor[map[string]*result.Latency]()
	dropsType = reflect.TypeFor[map[string]uint64]()
)

// names gives the columns of a struct of the JSON form; values what stands in them.
func names(prefix string, t reflect.Type) []string {
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	var out []string
	for _, f := range columnsOf(t) {
		name := prefix + jsonName(f)
		switch {
		case f.Type == partsType:
			for _, part := range Parts {
				out = append(out, names(name+"."+part+".", partsType.Elem())...)
			}
		case isStruct(f.Type):
			out = append(out, names(name+".", f.Type)...)
		default:
			out = append(out, name)
		}
	}
	return out
}

func values(v reflect.Value) []string {
	if v.Kind() == reflect.Pointer {
		if v.IsNil() {
			return make([]string, len(names("", v.Type())))
		}
		v = v.Elem()
	}
	var out []string
	for _, f := range columnsOf(v.Type()) {
		x := v.FieldByIndex(f.Index)
		switch {
		case f.Type == partsType:
			for _, part := range Parts {
				out = append(out, values(reflect.ValueOf(x.Interface().(map[string]*result.Latency)[part]))...)
			}
		case isStruct(f.Type):
			out = append(out, values(x)...)
		default:
			if _, options, _ := strings.Cut(f.Tag.Get("json"), ","); options == "omitempty" && x.IsZero() {
				out = append(out, "") // as the JSON form leaves it out
				continue
			}
			out = append(out, value(x))
		}
	}
	return out
}

func value(x reflect.Value) string {
	if x.Kind() == reflect.Pointer {
		if x.IsNil() {
			return ""
		}
		x = x.Elem()
	}
	if x.Type() == dropsType {
		drops := x.Interface().(map[string]uint64)
		var text []string
		for _, cause := range slices.Sorted(maps.Keys(drops)) {
			text = append(text, fmt.Sprintf("%s=%d", cause, drops[cause]))
		}
		return strings.Join(text, " ")
	}
	return fmt.Sprint(x.Interface())
}

func columnsOf(t reflect.Type) []reflect.StructField {
	return slices.DeleteFunc(reflect.VisibleFields(t), func(f reflect.StructField) bool { return slices.Contains(skipped, jsonName(f)) })
}

func isStruct(t reflect.Type) bool {
	return t.Kind() == reflect.Struct || t.Kind() == reflect.Pointer && t.Elem().Kind() == reflect.Struct
}

func jsonName(f reflect.StructField) string {
	name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
	return name
}
