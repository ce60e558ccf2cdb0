package fastrpc

import (
	"reflect"
	"testing"

	"github.com/fastrpc/fastrpc/internal/engine"
)

// TestQueueStatsComplete: every counter of the engine and of its endpoint comes out, under its own name.
func TestQueueStatsComplete(t *testing.T) {
	var from engine.Stats
	next, want := uint64(1), map[string]uint64{}
	var fill func(v reflect.Value)
	fill = func(v reflect.Value) {
		for i := range v.NumField() {
			name, f := v.Type().Field(i).Name, v.Field(i)
			switch {
			case f.Kind() == reflect.Uint64:
				f.SetUint(next)
				want[name] = next
				next++
			case f.Kind() == reflect.Struct:
				fill(f)
			case name != "SlowHandlers":
				t.Errorf("%s is a %v", name, f.Kind())
			}
		}
	}
	fill(reflect.ValueOf(&from).Elem())
	from.SlowHandlers = map[string]uint64{"slow": 7}

	got := newQueueStats("a queue", 3, from)
	if got.Queue != "a queue" || got.Sessions != 3 || got.SlowHandlers["slow"] != 7 {
		t.Errorf("%+v", got)
	}
	for name, n := range want {
		if f := reflect.ValueOf(got).FieldByName(name); !f.IsValid() || f.Uint() != n {
			t.Errorf("%s is missing or not %d", name, n)
		}
	}
}
