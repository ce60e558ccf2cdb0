package result

import (
	"os"
	"reflect"
	"strings"
	"testing"
)

// Every field of the JSON form stands in the page that describes it.
func TestFieldsAreDescribed(t *testing.T) {
	page, err := os.ReadFile("../../docs/benchmarks.md")
	if err != nil {
		t.Fatal(err)
	}
	_, environment, found := strings.Cut(string(page), "\n## Environment\n")
	_, form, found2 := strings.Cut(environment, "\n## The JSON form\n")
	if !found || !found2 {
		t.Fatal("no sections Environment and The JSON form, in this order")
	}
	environment, _, _ = strings.Cut(environment, "\n## ")
	form, _, _ = strings.Cut(form, "\n## ")
	seen := map[reflect.Type]bool{}
	var visit func(t2 reflect.Type)
	visit = func(t2 reflect.Type) {
		for t2.Kind() == reflect.Pointer || t2.Kind() == reflect.Slice || t2.Kind() == reflect.Map {
			t2 = t2.Elem()
		}
		if t2.Kind() != reflect.Struct || seen[t2] {
			return
		}
		seen[t2] = true
		for _, f := range reflect.VisibleFields(t2) {
			name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
			if !strings.Contains(form, "`"+name+"`") && !strings.Contains(environment, "`"+name+"`") {
				t.Errorf("docs/benchmarks.md does not say what %s of %v is", name, t2)
			}
			visit(f.Type)
		}
	}
	visit(reflect.TypeFor[Report]())
	if len(seen) < 9 {
		t.Errorf("only %d types seen", len(seen))
	}
}
