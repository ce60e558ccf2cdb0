package bench

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"net"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"
)

// What a program at a tcx hook answers (linux/bpf.h, enum tcx_action_base, Linux 6.6).
const (
	tcxNext = -1
	tcxDrop = 2
)

// dropArrivals has an interface of this network namespace drop a share of the IP packets that come to it, before the kernel's IP sees them; the
// kernel draws which. A card or driver that joins packets of a TCP stream (GRO, TSO over veth) has them dropped together. It lasts until it is
// closed, or the process ends, however it ends: a tcx link goes with its descriptor. It takes Linux 6.6, CAP_NET_ADMIN and CAP_BPF.
func dropArrivals(name string, share float64) (io.Closer, error) {
	ifi, err := net.InterfaceByName(name)
	if err != nil {
		return nil, err
	}
	if ifi.Flags&net.FlagLoopback != 0 {
		return nil, errors.New("loopback carries the packets of all programs: packets are dropped in a lab only, which takes root")
	}
	program, err := ebpf.NewProgram(&ebpf.ProgramSpec{Name: "bench_drop", Type: ebpf.SchedCLS, License: "Apache-2.0", Instructions: asm.Instructions{
		asm.LoadMem(asm.R6, asm.R1, 16, asm.Word), // __sk_buff.protocol, in the network's byte order
		asm.JEq.Imm(asm.R6, protocol(unix.ETH_P_IP), "ip"),
		asm.JEq.Imm(asm.R6, protocol(unix.ETH_P_IPV6), "ip"),
		asm.Ja.Label("keep"),
		asm.FnGetPrandomU32.Call().WithSymbol("ip"),
		asm.LoadImm(asm.R1, int64(share*math.MaxUint32), asm.DWord),
		asm.JLT.Reg(asm.R0, asm.R1, "drop"),
		asm.Mov.Imm(asm.R0, tcxNext).WithSymbol("keep"),
		asm.Return(),
		asm.Mov.Imm(asm.R0, tcxDrop).WithSymbol("drop"),
		asm.Return(),
	}})
	if err != nil {
		return nil, fmt.Errorf("load the program that drops packets: %w", err)
	}
	defer program.Close()
	l, err := link.AttachTCX(link.TCXOptions{Interface: ifi.Index, Program: program, Attach: ebpf.AttachTCXIngress})
	if err != nil {
		return nil, fmt.Errorf("have %s drop packets, which takes Linux 6.6: %w", name, err)
	}
	return l, nil
}

// protocol is an Ethernet protocol as a program reads it from __sk_buff: two bytes in the network's order.
func protocol(x uint16) int32 {
	return int32(binary.NativeEndian.Uint16(binary.BigEndian.AppendUint16(nil, x)))
}
