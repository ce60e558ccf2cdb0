//go:build linux

package conform

import (
	"encoding/binary"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
)

// The XDP programs of the kernel's test (progs/xsk_xdp_progs.c). Unlike those they leave the packets of others to the kernel: neighbour
// discovery must not upset the count.

const (
	xdpDrop      = 1
	xdpPass      = 2
	hasFrags     = 1 << 5 // BPF_F_XDP_HAS_FRAGS, Linux 5.18
	metaBytes    = 32     // struct xdp_info of the kernel's test is aligned to that
	mapSockets   = 2      // MAX_SOCKETS
	counterIndex = 0      // of the state map: packets that the program saw
	answerIndex  = 1      // of the state map: what a helper answered, negative
)

// programMaps are what a device's programs share: the sockets, and a few numbers of state.
type programMaps struct{ sockets, state *ebpf.Map }

func newMaps() (m programMaps, err error) {
	if m.sockets, err = ebpf.NewMap(&ebpf.MapSpec{Type: ebpf.XSKMap, KeySize: 4, ValueSize: 4, MaxEntries: mapSockets}); err != nil {
		return m, err
	}
	m.state, err = ebpf.NewMap(&ebpf.MapSpec{Type: ebpf.Array, KeySize: 4, ValueSize: 8, MaxEntries: 2})
	return m, err
}

func (m programMaps) close() {
	for _, x := range []*ebpf.Map{m.sockets, m.state} {
		if x != nil {
			x.Close()
		}
	}
}

// program is a body for packets of testType; R6 holds the context, R8 the start of the packet, whose Ethernet header is there.
type program func(programMaps) asm.Instructions

// toFirst is xsk_def_prog: all to socket 0.
func toFirst(m programMaps) asm.Instructions { return redirect(m, asm.Mov.Imm(asm.R2, 0)) }

// dropHalf is xsk_xdp_drop: every second packet is dropped, the first is not.
func dropHalf(m programMaps) asm.Instructions {
	return join(count(m), asm.Instructions{asm.And.Imm(asm.R7, 1), asm.JNE.Imm(asm.R7, 0, "drop")}, toFirst(m))
}

// bySource is xsk_xdp_shared_umem; it goes by the source address, because a real device looks at the other.
func bySource(m programMaps) asm.Instructions {
	return redirect(m, asm.LoadMem(asm.R2, asm.R8, 11, asm.Byte))
}

// writeMetadata is xsk_xdp_populate_metadata: the count of packets goes in front of each.
func writeMetadata(m programMaps) asm.Instructions {
	return join(count(m), asm.Instructions{
		asm.Mov.Reg(asm.R1, asm.R6),
		asm.Mov.Imm(asm.R2, -metaBytes),
		asm.FnXdpAdjustMeta.Call(),
		asm.JNE.Imm(asm.R0, 0, "failed"),
		asm.LoadMem(asm.R2, asm.R6, 0, asm.Word), // struct xdp_md: data
		asm.LoadMem(asm.R3, asm.R6, 8, asm.Word), // and data_meta
		asm.Mov.Reg(asm.R4, asm.R3),
		asm.Add.Imm(asm.R4, metaBytes),
		asm.JGT.Reg(asm.R4, asm.R2, "drop"),
		asm.StoreMem(asm.R3, 0, asm.R7, asm.DWord),
	}, toFirst(m), failed(m))
}

// adjustTail is xsk_xdp_adjust_tail: every packet grows or shrinks.
func adjustTail(by int) program {
	return func(m programMaps) asm.Instructions {
		return join(asm.Instructions{
			asm.Mov.Reg(asm.R1, asm.R6),
			asm.Mov.Imm(asm.R2, int32(by)),
			asm.FnXdpAdjustTail.Call(),
			asm.JNE.Imm(asm.R0, 0, "failed"),
		}, toFirst(m), failed(m))
	}
}

// failed keeps a helper's refusal in the state map and drops the packet.
func failed(m programMaps) asm.Instructions {
	return asm.Instructions{
		asm.Mov.Reg(asm.R7, asm.R0).WithSymbol("failed"),
		asm.StoreImm(asm.RFP, -4, answerIndex, asm.Word),
		asm.LoadMapPtr(asm.R1, m.state.FD()),
		asm.Mov.Reg(asm.R2, asm.RFP),
		asm.Add.Imm(asm.R2, -4),
		asm.FnMapLookupElem.Call(),
		asm.JEq.Imm(asm.R0, 0, "drop"),
		asm.StoreMem(asm.R0, 0, asm.R7, asm.DWord),
		asm.Ja.Label("drop"),
	}
}

// count leaves in R7 how many packets were counted before this one.
func count(m programMaps) asm.Instructions {
	return asm.Instructions{
		asm.StoreImm(asm.RFP, -4, counterIndex, asm.Word),
		asm.LoadMapPtr(asm.R1, m.state.FD()),
		asm.Mov.Reg(asm.R2, asm.RFP),
		asm.Add.Imm(asm.R2, -4),
		asm.FnMapLookupElem.Call(),
		asm.JEq.Imm(asm.R0, 0, "drop"),
		asm.LoadMem(asm.R7, asm.R0, 0, asm.DWord),
		asm.Mov.Reg(asm.R1, asm.R7),
		asm.Add.Imm(asm.R1, 1),
		asm.StoreMem(asm.R0, 0, asm.R1, asm.DWord),
	}
}

func redirect(m programMaps, index asm.Instruction) asm.Instructions {
	return asm.Instructions{
		index, // into R2
		asm.LoadMapPtr(asm.R1, m.sockets.FD()),
		asm.Mov.Imm(asm.R3, xdpDrop), // if there is no socket
		asm.FnRedirectMap.Call(),
		asm.Return(),
	}
}

func join(parts ...asm.Instructions) (all asm.Instructions) {
	for _, p := range parts {
		all = append(all, p...)
	}
	return all
}

func (p program) load(m programMaps) (*ebpf.Program, error) {
	var wire [2]byte
	binary.BigEndian.PutUint16(wire[:], testType)
	head := asm.Instructions{
		asm.Mov.Reg(asm.R6, asm.R1),
		asm.LoadMem(asm.R8, asm.R1, 0, asm.Word), // struct xdp_md: data
		asm.LoadMem(asm.R3, asm.R1, 4, asm.Word), // and data_end
		asm.Mov.Reg(asm.R4, asm.R8),
		asm.Add.Imm(asm.R4, 14),
		asm.JGT.Reg(asm.R4, asm.R3, "pass"),
		asm.LoadMem(asm.R4, asm.R8, 12, asm.Half),
		asm.JNE.Imm(asm.R4, int32(binary.NativeEndian.Uint16(wire[:])), "pass"),
	}
	tail := asm.Instructions{
		asm.Mov.Imm(asm.R0, xdpPass).WithSymbol("pass"),
		asm.Return(),
		asm.Mov.Imm(asm.R0, xdpDrop).WithSymbol("drop"),
		asm.Return(),
	}
	body := p(m)
	if !jumpsTo(body, "drop") {
		tail = tail[:2] // the verifier refuses what cannot be reached
	}
	return ebpf.NewProgram(&ebpf.ProgramSpec{Name: "conform", Type: ebpf.XDP, License: "Apache-2.0", Flags: hasFrags,
		Instructions: join(head, body, tail)})
}

func jumpsTo(body asm.Instructions, label string) bool {
	for _, i := range body {
		if i.Reference() == label {
			return true
		}
	}
	return false
}
