package fastrpc_test

import (
	"go/ast"
	"go/build"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const modulePath = "github.com/fastrpc/fastrpc"

// arrows are the imports between rooms that the architecture allows, tests not counted. A room that is not named here may not exist;
// "*" allows everything.
var arrows = map[string][]string{
	".":                      {"internal/engine", "transport", "transport/wire"},
	"codec":                  {},
	"fastgrpc":               {"."},
	"fastgrpc/gateway":       {},
	"fastgrpc/examples":      {".", "fastgrpc", "transport/tcp", "transport/udp", "transport/xdp"},
	"bpf":                    {},
	"ringbuf":                {},
	"afxdp":                  {"ringbuf", "bpf"},
	"rdma":                   {},
	"transport":              {},
	"transport/wire":         {},
	"transport/wire/dissect": {"transport/wire"},
	"transport/session":      {"transport", "transport/wire"},
	"transport/sim":          {"transport"},
	"transport/linktest":     {"transport"},
	"transport/xdp":          {"afxdp", "bpf", "internal/netpath", "internal/nic", "internal/tap", "transport"},
	"transport/rdma":         {"rdma", "transport", "internal/sock"},
	"transport/udp":          {"transport", "internal/sock"},
	"transport/tcp":          {"transport", "internal/sock"},
	"internal/engine":        {"transport", "transport/session", "ringbuf"},
	"internal/netpath":       {},
	"internal/sock":          {"transport"},
	"internal/tap":           {},
	"internal/privilege":     {},
	"internal/nic":           {},
	"internal/lab":           {"internal/lab/labtest"},
	"internal/doctor":        {"afxdp", "bpf", "rdma", "internal/nic"},
	"internal/guest":         {".", "afxdp", "bpf", "rdma", "rdma/rxetest", "rdma/examples/kv", "internal/nic", "transport", "transport/rdma", "transport/xdp"},
	"bench":                  {"*"},
	"cmd/fastrpc":            {"*"},
}

// subrooms are folders that belong to the room above them.
var subrooms = map[string]string{
	"internal/lab/labtest":                        "internal/lab",
	"rdma/rxetest":                                "rdma",
	"rdma/examples/kv":                            "rdma",
	"afxdp/conform":                               "afxdp",
	"afxdp/examples/pong":                         "afxdp",
	"internal/guest/boot":                         "internal/guest",
	"internal/guest/init":                         "internal/guest",
	"internal/guest/echo":                         "internal/guest",
	"internal/guest/hosts":                        "internal/guest",
	"internal/guest/roce":                         "internal/guest",
	"internal/guest/poll":                         "internal/guest",
	"fastgrpc/examples/helloworld":                "fastgrpc/examples",
	"fastgrpc/examples/helloworld/greeter_client": "fastgrpc/examples",
	"fastgrpc/examples/helloworld/greeter_server": "fastgrpc/examples",
	"fastgrpc/examples/routeguide":                "fastgrpc/examples",
	"bench/machine":                               "bench",
	"bench/stubpb":                                "bench",
	"bench/meter":                                 "bench",
	"bench/page":                                  "bench",
	"bench/result":                                "bench",
	"bench/stamp":                                 "bench",
	"bench/result/diff":                           "bench",
	"bench/result/text":                           "bench",
	"bench/verbs":                                 "bench",
	"bench/perftest":                              "bench",
}

func TestArrows(t *testing.T) {
	seen := map[string]bool{}
	eachPackage(t, func(dir string, p *build.Package) {
		room := dir
		if up, ok := subrooms[dir]; ok {
			room = up
		}
		allowed, known := arrows[room]
		if !known {
			t.Errorf("%s is no room of the architecture", dir)
			return
		}
		seen[room] = true
		for _, imp := range p.Imports {
			to, ours := strings.CutPrefix(imp, modulePath)
			to = strings.TrimPrefix(to, "/")
			if !ours || slices.Contains(allowed, "*") {
				continue
			}
			if to == "" {
				to = "."
			}
			if to != room && subrooms[to] != room && !slices.Contains(allowed, to) {
				t.Errorf("%s imports %s, which the architecture does not allow", dir, to)
			}
		}
	})
	for room := range arrows {
		if !seen[room] {
			t.Errorf("room %s is empty", room)
		}
	}
}

// TestLinkStandardLibraryOnly keeps the one interface between protocol and hardware free of everything else.
func TestLinkStandardLibraryOnly(t *testing.T) {
	eachPackage(t, func(dir string, p *build.Package) {
		if dir != "transport" {
			return
		}
		for _, imp := range p.Imports {
			if strings.Contains(strings.Split(imp, "/")[0], ".") {
				t.Errorf("transport imports %s", imp)
			}
		}
	})
}

// TestSessionIsSansIO keeps clocks, goroutines, locks, channels and global randomness out of the session core.
func TestSessionIsSansIO(t *testing.T) {
	forbiddenImports := []string{"sync", "context", "net", "os", "syscall", "golang.org/x/sys/unix", "runtime", "math/rand", "crypto/rand"}
	forbiddenCalls := map[string][]string{
		"time":      {"Now", "Since", "Until", "Sleep", "After", "AfterFunc", "NewTimer", "NewTicker", "Tick"},
		"transport": {"Now"},
		"rand":      {"Int", "IntN", "Uint32", "Uint64", "Float64", "Perm", "Shuffle", "N"},
	}
	fset := token.NewFileSet()
	files, err := filepath.Glob("transport/session/*.go")
	if err != nil || len(files) < 5 {
		t.Fatalf("found %d files: %v", len(files), err)
	}
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(fset, name, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, imp := range f.Imports {
			if p, _ := strconv.Unquote(imp.Path.Value); slices.Contains(forbiddenImports, p) {
				t.Errorf("%s imports %s", name, p)
			}
		}
		ast.Inspect(f, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.GoStmt:
				t.Errorf("%s starts a goroutine", fset.Position(n.Pos()))
			case *ast.ChanType, *ast.SelectStmt, *ast.SendStmt:
				t.Errorf("%s uses a channel", fset.Position(n.Pos()))
			case *ast.SelectorExpr:
				if x, ok := n.X.(*ast.Ident); ok && x.Obj == nil && slices.Contains(forbiddenCalls[x.Name], n.Sel.Name) {
					t.Errorf("%s uses %s.%s", fset.Position(n.Pos()), x.Name, n.Sel.Name)
				}
			}
			return true
		})
	}
}

// TestGRPCStaysOut keeps gRPC and protobuf out of programs that do not ask for them.
func TestGRPCStaysOut(t *testing.T) {
	eachPackage(t, func(dir string, p *build.Package) {
		if dir == "bench" || strings.HasPrefix(dir, "bench/") || dir == "codec" || strings.HasPrefix(dir, "fastgrpc") || strings.HasPrefix(dir, "cmd/") {
			return
		}
		for _, imp := range p.Imports {
			if strings.HasPrefix(imp, "google.golang.org/grpc") || strings.HasPrefix(imp, "google.golang.org/protobuf") {
				t.Errorf("%s imports %s", dir, imp)
			}
		}
	})
}

// TestDriversStayOut keeps cgo and BPF out of programs that import the API alone.
func TestDriversStayOut(t *testing.T) {
	var visit func(dir string, seen map[string]bool)
	visit = func(dir string, seen map[string]bool) {
		p, err := build.ImportDir(dir, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, imp := range p.Imports {
			if to, ours := strings.CutPrefix(imp, modulePath+"/"); ours && !seen[to] {
				seen[to] = true
				visit(to, seen)
			} else if strings.Contains(imp, "cilium/ebpf") || imp == "C" {
				t.Errorf("%s, which the API needs, imports %s", dir, imp)
			}
		}
	}
	visit(".", map[string]bool{})
}

func eachPackage(t *testing.T, f func(dir string, p *build.Package)) {
	t.Helper()
	tagged := build.Default
	tagged.BuildTags = append(tagged.BuildTags, "rdma") // what is built without the tag has fewer imports
	tagged.CgoEnabled = true
	err := filepath.WalkDir(".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || !d.IsDir() {
			return err
		}
		if base := path.Base(name); name != "." && (strings.HasPrefix(base, ".") || base == "testdata" || base == "bin") {
			return filepath.SkipDir
		}
		if _, err := os.Stat(filepath.Join(name, "go.mod")); err == nil && name != "." {
			return filepath.SkipDir // a module of its own
		}
		if p, err := tagged.ImportDir(name, 0); err == nil {
			f(filepath.ToSlash(name), p)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
