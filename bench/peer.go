package bench

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// known are the systems of other people, each with the program that carries it.
var known = []struct{ name, program string }{
	{"grpc", "grpc"},
	{"grpc-ping-pong", "grpc"},
	{"grpc-flow", "grpc"},
	{"connect", "connect"},
	{"drpc", "drpc"},
	{"kitex", "kitex"},
	{"rpcx", "rpcx"},
	{"arpc", "arpc"},
	{"net-rpc", "net-rpc"},
	{"asavie", "asavie"},
	{"libxdp", "libxdp"},
	{"libxdp-tx", "libxdp"},
	{"libxdp-rx", "libxdp"},
}

// Peers lists the systems of other people by name, whether they are on this machine or not: see [AddPeers].
func Peers() []string {
	names := make([]string, len(known))
	for i, k := range known {
		names[i] = k.name
	}
	return names
}

// AddPeers registers those of names that are systems of other people, of [All] every one. Their programs, of which 'make peers' builds as many
// as it can, are in dir. A system whose program is not there, or does not run, is missing, see [AddMissing], and takes no other along.
func AddPeers(dir string, names []string) {
	for _, k := range known {
		if _, added := systems[k.name]; added || !slices.Contains(names, k.name) && !slices.Contains(names, All) {
			continue
		}
		if p, err := askPeer(filepath.Join(dir, k.program), k.name); err == nil {
			Register(p)
		} else {
			AddMissing(k.name, err.Error())
		}
	}
}

// A peer is a System of another program, so that what other people's systems depend on is no dependency of this one. Its processes are that
// program's; only its description is here.
type peer struct {
	Label     string   `json:"name"`
	NeedsXDP  bool     `json:"bypass"`
	Workloads []string `json:"workloads"`

	child []string
}

func (p *peer) Name() string             { return p.Label }
func (p *peer) Bypass() bool             { return p.NeedsXDP }
func (p *peer) Has(workload string) bool { return slices.Contains(p.Workloads, workload) }

var errElsewhere = errors.New("the system runs in a program of its own")

func (p *peer) Serve(context.Context, Endpoint, func(Ready)) error { return errElsewhere }

func (p *peer) Connect(context.Context, Endpoint) (Caller, error) { return nil, errElsewhere }

// The arguments of a program of peers.
const (
	listPeers = "list"
	peerChild = "child"
)

// PeerMain is what a program of peers does: it registers its systems and, as its only argument says, lists them or serves one side of one run.
func PeerMain(args []string, in io.Reader, out io.Writer, systems ...System) error {
	var list []peer
	for _, s := range systems {
		Register(s)
		p := peer{Label: s.Name(), NeedsXDP: s.Bypass()}
		for _, w := range Workloads() {
			if has(s, w) {
				p.Workloads = append(p.Workloads, w)
			}
		}
		list = append(list, p)
	}
	switch {
	case len(args) == 1 && args[0] == listPeers:
		return json.NewEncoder(out).Encode(list)
	case len(args) == 1 && args[0] == peerChild:
		return Child(in, out)
	}
	return fmt.Errorf("this program is run by 'fastrpc bench'; its argument is %q or %q", listPeers, peerChild)
}

// How long a program may take to list its systems, and how much is told of why it was not built.
const (
	listLimit  = 10 * time.Second
	whyMissing = 500 // bytes
)

// askPeer has a program describe one of its systems. Where 'make peers' could not build it, it has left the compiler's words in its place.
func askPeer(program, name string) (*peer, error) {
	if why, err := os.ReadFile(program + ".missing"); err == nil {
		return nil, fmt.Errorf("'make peers' could not build it: %s", oneLine(why))
	}
	if _, err := os.Stat(program); err != nil {
		return nil, fmt.Errorf("%w; build it with 'make peers'", err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), listLimit)
	defer cancel()
	text, err := exec.CommandContext(ctx, program, listPeers).Output()
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		err = fmt.Errorf("%w: %s", err, oneLine(exit.Stderr))
	}
	var list []*peer
	if err == nil {
		err = json.Unmarshal(text, &list)
	}
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w; build it again with 'make peers'", program, listPeers, err)
	}
	for _, p := range list {
		if p.Label == name {
			p.child = []string{program, peerChild}
			return p, nil
		}
	}
	return nil, fmt.Errorf("%s does not have it; build it again with 'make peers'", program)
}

// oneLine fits what a program said into an error.
func oneLine(b []byte) string {
	lines := strings.FieldsFunc(string(b[:min(len(b), whyMissing)]), func(r rune) bool { return r == '\n' || r == '\r' })
	return strings.Join(lines, "; ")
}

// childOf is the command of a system's processes; own is this program's.
func childOf(system string, own []string) []string {
	if p, ok := systems[system].(*peer); ok {
		return p.child
	}
	return own
}
