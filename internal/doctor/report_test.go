package doctor

import (
	"bytes"
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"
)

func TestReport(t *testing.T) {
	r := Report{Version: Version, Scheme: "xdp", Interface: "eth7"}
	r.add(Memory, ok("numa", "one node"), Finding{})
	r.add(Kernel, ok("kernel", "Linux 6.1"))
	r.add(Kernel, note("virtual", "a virtual machine whose host gave %d %% of its time since boot to others (steal), which is in every tail", 3))
	if len(r.Findings) != 3 {
		t.Errorf("%d findings: what does not apply is one", len(r.Findings))
	}
	if !r.Fit || r.verdict() != "eth7 is fit for xdp://; 1 note above." {
		t.Errorf("a note alone: %v, %q", r.Fit, r.verdict())
	}
	r.Granted = &Granted{Mode: "native", Queues: 2, ZeroCopy: 2}
	if r.verdict() != "eth7 is fit for xdp://: native, sockets on 2 queues with zero-copy; 1 note above." {
		t.Errorf("what was granted: %q", r.verdict())
	}
	r.add(Kernel, wrong("memlock", "too little").mend("ulimit -l 16384",
		"sudo setcap cap_net_raw,cap_net_admin,cap_bpf,cap_perfmon,cap_ipc_lock=ep /usr/local/bin/fastrpc"))
	if r.Fit {
		t.Error("fit although something is wrong")
	}
	var text, js bytes.Buffer
	if err := errors.Join(r.Print(&text), r.JSON(&js)); err != nil {
		t.Fatal(err)
	}
	const golden = `kernel
  wrong  memlock      too little
         $ ulimit -l 16384
         $ sudo setcap cap_net_raw,cap_net_admin,cap_bpf,cap_perfmon,cap_ipc_lock=ep /usr/local/bin/fastrpc
  note   virtual      a virtual machine whose host gave 3 % of its time since
                      boot to others (steal), which is in every tail
  ok     kernel       Linux 6.1

memory
  ok     numa         one node

eth7 is not fit for xdp:// before what is wrong is mended (1 above); udp://
works meanwhile.
`
	if text.String() != golden {
		t.Errorf("got:\n%s\nwant:\n%s", text.String(), golden)
	}
	var back Report
	if err := json.Unmarshal(js.Bytes(), &back); err != nil || !reflect.DeepEqual(back, r) {
		t.Errorf("JSON %s: %v", js.String(), err)
	}
	// The names that docs/hardware.md promises to scripts.
	for _, name := range []string{`"version": 1`, `"scheme": "xdp"`, `"interface": "eth7"`, `"fit": false`, `"granted": {`, `"mode": "native"`, `"queues": 2`, `"zero_copy": 2`,
		`"findings": [`, `"check": "memlock"`, `"group": "kernel"`, `"level": "wrong"`, `"text": "too little"`, `"fix": [`} {
		if !strings.Contains(js.String(), name) {
			t.Errorf("JSON has no %s:\n%s", name, js.String())
		}
	}
}

func TestGrantedString(t *testing.T) {
	for want, g := range map[string]Granted{
		"native, sockets on 1 queue in copy mode":               {Mode: "native", Queues: 1},
		"native, sockets on 4 queues, 1 of them with zero-copy": {Mode: "native", Queues: 4, ZeroCopy: 1},
	} {
		if g.String() != want {
			t.Errorf("%q, want %q", g.String(), want)
		}
	}
}

// No line is longer than the width but for commands, which must stay whole.
func TestPrintWidth(t *testing.T) {
	r := Examine("lo", Options{NoProbe: true})
	r.add(Interface, note("long", "%s", strings.Repeat("words of several lengths µµµµµµ ", 20)))
	var b bytes.Buffer
	if err := r.Print(&b); err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(b.String()) {
		if n := len([]rune(strings.TrimSuffix(line, "\n"))); n > 80 && !strings.HasPrefix(strings.TrimSpace(line), "$") {
			t.Errorf("%d columns: %q", n, line)
		}
	}
}

func TestExamineLoopbackAndNothing(t *testing.T) {
	r := Examine("lo", Options{})
	if r.Fit {
		t.Error("loopback is fit")
	}
	want(t, find(t, r, "interface"), Wrong, "udp://")
	want(t, find(t, r, "probe"), Note)
	for _, f := range r.Findings {
		if f.Check == "mtu" || f.Check == "busy-poll" {
			t.Errorf("advice on an interface that nothing makes fit: %+v", f)
		}
	}

	r = Examine("no-such-iface0", Options{})
	want(t, find(t, r, "interface"), Wrong, "no-such-iface0", "lo", "ip link")
}

// What concerns no interface is found without one.
func TestMachine(t *testing.T) {
	r := Report{Findings: Machine([]int{0})}
	for _, f := range r.Findings {
		if f.Group != Kernel && f.Group != CPU {
			t.Errorf("%+v is about an interface", f)
		}
	}
	for _, check := range []string{"bpf", "virtual", "clock", "mitigations", "governor", "c-states", "threads", "isolation"} {
		find(t, r, check)
	}
}
