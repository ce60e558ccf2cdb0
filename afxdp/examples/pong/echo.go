//go:build linux

package main

import (
	"encoding/binary"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"golang.org/x/sys/unix"
)

// Where things stand in an ICMP echo request over IPv4 without options.
const (
	etherTypeAt  = 12
	ipAt         = 14
	fragmentAt   = ipAt + 6
	protocolAt   = ipAt + 9
	sourceAt     = ipAt + 12
	targetAt     = ipAt + 16
	icmpAt       = ipAt + 20
	checksumAt   = icmpAt + 2
	leastBytes   = icmpAt + 8
	echoReply    = 0
	echoRequest  = 8
	noIPOptions  = 0x45
	fragmentBits = 0x3fff // "more fragments" and the offset
)

// turnAround makes the reply out of an echo request, in place; false if it is none.
func turnAround(b []byte) bool {
	if len(b) < leastBytes || b[icmpAt] != echoRequest || b[icmpAt+1] != 0 {
		return false
	}
	for i := range 6 {
		b[i], b[6+i] = b[6+i], b[i]
	}
	for i := range 4 { // the IP header's checksum stays what it is
		b[sourceAt+i], b[targetAt+i] = b[targetAt+i], b[sourceAt+i]
	}
	b[icmpAt] = echoReply
	sum := uint32(binary.BigEndian.Uint16(b[checksumAt:])) + echoRequest<<8 // what the type lost, the checksum gains (RFC 1624)
	binary.BigEndian.PutUint16(b[checksumAt:], uint16(sum+sum>>16))
	return true
}

// loadEchoFilter loads the XDP program: an echo request goes to the socket of its queue, everything else, and what has no socket, to the
// kernel.
func loadEchoFilter(queues int) (*ebpf.Program, *ebpf.Map, error) {
	sockets, err := ebpf.NewMap(&ebpf.MapSpec{Name: "pong_sockets", Type: ebpf.XSKMap, KeySize: 4, ValueSize: 4, MaxEntries: uint32(queues)})
	if err != nil {
		return nil, nil, err
	}
	const pass = 2 // XDP_PASS
	prog, err := ebpf.NewProgram(&ebpf.ProgramSpec{Name: "pong", Type: ebpf.XDP, License: "Apache-2.0", Instructions: asm.Instructions{
		asm.Mov.Imm(asm.R0, pass),
		asm.LoadMem(asm.R2, asm.R1, 0, asm.Word),  // xdp_md.data
		asm.LoadMem(asm.R3, asm.R1, 4, asm.Word),  // xdp_md.data_end
		asm.LoadMem(asm.R6, asm.R1, 16, asm.Word), // xdp_md.rx_queue_index
		asm.Mov.Reg(asm.R4, asm.R2),
		asm.Add.Imm(asm.R4, leastBytes),
		asm.JGT.Reg(asm.R4, asm.R3, "end"),

		asm.LoadMem(asm.R4, asm.R2, etherTypeAt, asm.Half),
		asm.HostTo(asm.BE, asm.R4, asm.Half),
		asm.JNE.Imm(asm.R4, unix.ETH_P_IP, "end"),
		asm.LoadMem(asm.R4, asm.R2, ipAt, asm.Byte),
		asm.JNE.Imm(asm.R4, noIPOptions, "end"),
		asm.LoadMem(asm.R4, asm.R2, protocolAt, asm.Byte),
		asm.JNE.Imm(asm.R4, unix.IPPROTO_ICMP, "end"),
		asm.LoadMem(asm.R4, asm.R2, fragmentAt, asm.Half),
		asm.HostTo(asm.BE, asm.R4, asm.Half),
		asm.And.Imm(asm.R4, fragmentBits),
		asm.JNE.Imm(asm.R4, 0, "end"),
		asm.LoadMem(asm.R4, asm.R2, icmpAt, asm.Byte),
		asm.JNE.Imm(asm.R4, echoRequest, "end"),

		asm.LoadMapPtr(asm.R1, sockets.FD()),
		asm.Mov.Reg(asm.R2, asm.R6),
		asm.Mov.Imm(asm.R3, pass),
		asm.FnRedirectMap.Call(),
		asm.Return().WithSymbol("end"),
	}})
	if err != nil {
		sockets.Close()
		return nil, nil, err
	}
	return prog, sockets, nil
}
