package bpf

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// TestDispatcherFull has no slot for one more, and no program is lost over it.
func TestDispatcherFull(t *testing.T) {
	s := newShared(t)
	var names []string
	for range dispatcherSlots {
		s.join(t, nil, Options{})
		names = append(names, "fastrpc_steer")
	}
	if _, err := Attach(s.index(), Options{Dispatcher: true}); err == nil || !containsAll(err, []string{"10 slots", "xdp-loader status near"}) {
		t.Errorf("an eleventh program: %v", err)
	}
	s.expect(t, strings.Join(names, " "))
}

// TestDispatcherRefused finds programs on the interface that cannot be joined, and leaves them there.
func TestDispatcherRefused(t *testing.T) {
	dispatcher := func(t *testing.T, magic, version uint8) *ebpf.Program {
		c := configOf(dispatcherVersion, nil)
		spec, err := c.spec()
		must(t, err)
		raw := spec.Maps[dispatcherMapRodata].Contents[0].Value.([]byte)
		raw[0], raw[1] = magic, version
		return loadedSpec(t, spec)
	}
	for _, c := range []struct {
		name    string
		program func(*testing.T) *ebpf.Program
		byLink  bool
		joined  []string // the error of Attach with Dispatcher
		alone   []string // and without
		never   string   // in neither
	}{
		{name: "no dispatcher", program: someoneElse, joined: []string{`"someone_else"`}, alone: []string{`"someone_else"`}, never: "libxdp"},
		{name: "a dispatcher's name alone", program: func(t *testing.T) *ebpf.Program {
			p, err := ebpf.NewProgram(&ebpf.ProgramSpec{Name: "xdp_dispatcher", Type: ebpf.XDP, License: "GPL",
				Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, xdpPass), asm.Return()}})
			must(t, err)
			t.Cleanup(func() { p.Close() })
			return p
		}, joined: []string{`"xdp_dispatcher"`}, alone: []string{`"xdp_dispatcher"`}, never: "libxdp"},
		{name: "version 1", program: func(t *testing.T) *ebpf.Program { return dispatcher(t, 0, 0) },
			joined: []string{"version 1, which cannot be joined", "takes version 2 or 3"}, alone: []string{"version 1"}, never: "program=dispatcher"},
		{name: "version 4", program: func(t *testing.T) *ebpf.Program { return dispatcher(t, dispatcherMagic, 4) },
			joined: []string{"version 4, which cannot be joined", "takes version 2 or 3"}, alone: []string{"version 4"}, never: "program=dispatcher"},
		{name: "version 3, in a map of version 2", program: func(t *testing.T) *ebpf.Program { return dispatcher(t, dispatcherMagic, 3) },
			joined: []string{`"xdp_dispatcher"`}, alone: []string{`"xdp_dispatcher"`}, never: "libxdp"},
		{name: "bound to the device", program: func(t *testing.T) *ebpf.Program {
			return loadedDispatcher(t, dispatcherConfig{Magic: dispatcherMagic, Version: dispatcherNewest, DeviceBound: 1})
		}, joined: []string{"bound to the device"}, alone: []string{"Options.Dispatcher"}},
		{name: "held by a bpf_link", program: func(t *testing.T) *ebpf.Program { return dispatcher(t, dispatcherMagic, 2) }, byLink: true,
			joined: []string{"bpftool link detach"}, alone: []string{"bpftool link detach"}, never: "program=dispatcher"},
		{name: "version 2, its pins elsewhere", program: func(t *testing.T) *ebpf.Program {
			return loadedDispatcher(t, configOf(dispatcherVersion, make([]member, 1)))
		}, joined: []string{"already runs", "should be in", "dispatch-", "LIBXDP_BPFFS"}, alone: []string{"Options.Dispatcher", "program=dispatcher", "xdp-loader unload near --all"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			v := newVethPair(t, 1)
			ownBPFFS(t)
			prog := c.program(t)
			if c.byLink {
				l, err := link.AttachXDP(link.XDPOptions{Program: prog, Interface: v.index(), Flags: link.XDPDriverMode})
				must(t, err)
				defer l.Close()
			} else {
				must(t, netlink.LinkSetXdpFdWithFlags(v.near, prog.FD(), unix.XDP_FLAGS_DRV_MODE))
			}
			for option, words := range map[bool][]string{true: c.joined, false: c.alone} {
				_, err := Attach(v.index(), Options{Dispatcher: option})
				var taken *AttachedError
				if !errors.As(err, &taken) || !containsAll(err, words) || c.never != "" && strings.Contains(err.Error(), c.never) {
					t.Errorf("with Dispatcher %v: %v; want an AttachedError with %q, without %q", option, err, words, c.never)
				}
			}
			if a, ok, err := Attached(v.index()); err != nil || !ok || a.ProgramID != programID(t, prog) {
				t.Errorf("afterwards attached is %+v, %v", a, err)
			}
			if left(t) != "" {
				t.Errorf("left behind: %s", left(t))
			}
		})
	}
}

// TestDispatcherNeedsBPFFS says what to do where no BPF file system is mounted.
func TestDispatcherNeedsBPFFS(t *testing.T) {
	v := newVethPair(t, 1)
	dir := t.TempDir()
	t.Setenv("LIBXDP_BPFFS", dir)
	if _, err := Attach(v.index(), Options{Dispatcher: true}); err == nil || !containsAll(err, []string{"mount -t bpf bpf " + dir}) {
		t.Errorf("Attach: %v", err)
	}
	v.clean(t)
}

// loadedDispatcher is one without programs in its slots.
func loadedDispatcher(t *testing.T, c dispatcherConfig) *ebpf.Program {
	t.Helper()
	spec, err := c.spec()
	must(t, err)
	return loadedSpec(t, spec)
}

func loadedSpec(t *testing.T, spec *ebpf.CollectionSpec) *ebpf.Program {
	t.Helper()
	var objs dispatcherPrograms
	must(t, spec.LoadAndAssign(&objs, nil))
	t.Cleanup(func() { objs.Close() })
	return objs.XdpDispatcher
}

// TestDispatcherSwap replaces what is expected on the interface, and nothing else.
func TestDispatcherSwap(t *testing.T) {
	v := newVethPair(t, 1)
	r, err := openRTNL()
	must(t, err)
	defer r.close()
	a, b, c := &dispatcher{prog: loadedDispatcher(t, configOf(dispatcherVersion, nil))}, &dispatcher{prog: loadedDispatcher(t, configOf(dispatcherVersion, nil))},
		&dispatcher{prog: loadedDispatcher(t, configOf(dispatcherVersion, nil))}
	for i, step := range []struct {
		old, next, then *dispatcher
		errs            []error
	}{
		{nil, a, a, nil},
		{nil, b, a, []error{unix.EBUSY, unix.EEXIST}},
		{c, b, a, []error{unix.EEXIST}},
		{c, nil, a, []error{unix.EEXIST}},
		{a, b, b, nil},
		{b, nil, nil, nil},
		{b, c, nil, []error{unix.EEXIST}},
	} {
		err := r.swap(v.index(), Native, step.old, step.next)
		if (err == nil) != (step.errs == nil) || err != nil && !slices.ContainsFunc(step.errs, func(e error) bool { return errors.Is(err, e) }) {
			t.Errorf("step %d: %v, want one of %v", i, err, step.errs)
		}
		attached, there, err := Attached(v.index())
		must(t, err)
		if there != (step.then != nil) || there && attached.ProgramID != programID(t, step.then.prog) {
			t.Errorf("step %d: then near runs %+v", i, attached)
		}
	}
}
