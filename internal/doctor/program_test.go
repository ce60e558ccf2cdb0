package doctor

import (
	"errors"
	"io/fs"
	"slices"
	"testing"
	"testing/fstest"

	"golang.org/x/sys/unix"

	"github.com/vishvananda/netlink"

	"github.com/fastrpc/fastrpc/afxdp"
	"github.com/fastrpc/fastrpc/bpf"
)

func TestFeatures(t *testing.T) {
	features := func(f afxdp.DeviceFeatures, err error) *machine {
		m := onMachine()
		m.device.xdp = got(f, err)
		return m
	}
	const native = afxdp.XDPBasic | afxdp.XDPRedirect
	want(t, features(afxdp.DeviceFeatures{XDP: native | afxdp.XDPZeroCopy, ZeroCopyMaxSegs: 8, RxMetadata: afxdp.RxTimestamp, TxMetadata: afxdp.TxChecksum}, nil).
		checkFeatures(), OK, "xsk-zerocopy", "received packets: timestamp", "sent ones: tx-checksum", "8 buffers")
	want(t, features(afxdp.DeviceFeatures{XDP: native | afxdp.XDPReceiveMultiBuf}, nil).checkFeatures(), OK, "rx-sg", "no zero-copy")
	want(t, features(afxdp.DeviceFeatures{}, nil).checkFeatures(), Note, "no native XDP")
	want(t, features(afxdp.DeviceFeatures{}, errors.ErrUnsupported).checkFeatures(), Note, "does not tell")
}

func TestFirewall(t *testing.T) {
	m := onMachine()
	want(t, m.judgeFirewall(0, nil), OK, "before nftables", "rp_filter")
	want(t, m.judgeFirewall(7, nil), Note, "7 rules", "xdp://eth7:9000?prefixes=")
	want(t, m.judgeFirewall(0, unix.EPERM), Note, "before nftables")
}

func TestAttached(t *testing.T) {
	const setUp = "sys/fs/bpf/fastrpc/eth7/link"
	holder := []string{"proc/88/fdinfo/4", "link_type:\txdp\nlink_id:\t9"}
	ours := bpf.Attachment{Interface: "eth7", Program: steerProgram, ProgramID: 5, LinkID: 9, Mode: bpf.Native}
	theirs := bpf.Attachment{Interface: "eth7", Program: "theirs", ProgramID: 5, LinkID: 9, Mode: bpf.Native}
	for _, c := range []struct {
		m     *machine
		a     bpf.Attachment
		level Level
		inUse bool
		says  []string
	}{
		{onMachine(), theirs, Wrong, false, []string{"theirs", "bpftool link detach id 9"}},
		{onMachine(setUp, ""), theirs, Wrong, false, []string{"theirs"}},
		{onMachine(), bpf.Attachment{Interface: "eth7", ProgramID: 5, Mode: bpf.Generic}, Wrong, false, []string{"CAP_SYS_ADMIN", "ip link set dev eth7 xdpgeneric off"}},
		{onMachine(), bpf.Attachment{Interface: "eth7", Program: "theirs", ProgramID: 5}, Wrong, false, []string{"ip link set dev eth7 xdpoffload off"}},
		{onMachine(holder...), ours, Note, true, []string{"eth7 is in use", "pid 88"}},
		{onMachine(), ours, Note, true, []string{"a fastrpc process holds it"}},
		{onMachine(setUp, ""), ours, OK, true, []string{"fastrpc setup", "program=pinned"}},
		{onMachine(setUp, ""), bpf.Attachment{Interface: "eth7", ProgramID: 5, Mode: bpf.Native}, OK, true, []string{"fastrpc setup", "program=pinned"}},
		{onMachine(), bpf.Attachment{Interface: "eth7", Program: dispatcherProgram, ProgramID: 5}, Note, true, []string{"xdp://eth7:9000?program=dispatcher"}},
	} {
		f, inUse := c.m.judgeAttached(c.a)
		want(t, f, c.level, c.says...)
		if inUse != c.inUse {
			t.Errorf("%q: in use %v", f.Text, inUse)
		}
	}
}

func TestLinkHolder(t *testing.T) {
	proc := fstest.MapFS{
		"proc/7/fdinfo/3":     {Data: []byte("pos:\t0\nlink_type:\txdp\nlink_id:\t91\n")},
		"proc/88/fdinfo/4":    {Data: []byte("pos:\t0\nlink_type:\txdp\nlink_id:\t9\nprog_id:\t5\n")},
		"proc/driver/fdinfo/": {Mode: fs.ModeDir},
	}
	if pid := linkHolder(proc, 9); pid != 88 {
		t.Errorf("link 9 is held by process %d", pid)
	}
	if pid := linkHolder(proc, 5); pid != 0 {
		t.Errorf("link 5 is held by process %d", pid)
	}
}

func TestSockets(t *testing.T) {
	m := onMachine()
	m.device.queues = 4
	on := func(mode xskMode, queues ...int) (s []xskSocket) {
		for _, q := range queues {
			s = append(s, xskSocket{queue: q, mode: mode})
		}
		return s
	}
	want(t, m.judgeSockets(on(copyMode, 0, 1, 2, 3), nil), OK, "4 of 4 queues")
	want(t, m.judgeSockets(on(copyMode, 0, 1), nil), Note, "queues 2-3", "ethtool -L eth7 rx 2")
	want(t, m.judgeSockets(nil, nil), OK, "nobody")
	want(t, m.judgeSockets(nil, unix.ENOENT), OK, "does not tell", "no such file")
	want(t, m.judgeSockets(on(unknownMode, 0, 1, 2, 3), nil), OK, "4 of 4 queues")
	want(t, m.judgeSockets(on(unknownMode, 0, 2), nil), Note, "queues 1,3")
	dropping := on(copyMode, 0, 1, 2, 3)
	dropping[2].dropped, dropping[3].fillRingEmpty = 17, 1
	want(t, m.judgeSockets(dropping, nil), Note, "17 packets were dropped", "1 packet found no free buffer", "frames=")
	m.device.xdp.v.XDP = afxdp.XDPZeroCopy
	want(t, m.judgeSockets(on(zeroCopyMode, 0, 1, 2, 3), nil), OK)
	want(t, m.judgeSockets(on(unknownMode, 0, 1, 2, 3), nil), OK)
	want(t, m.judgeSockets(append(on(zeroCopyMode, 0, 1, 2), on(copyMode, 3)...), nil), Note, "copies were granted on queue 3", "zerocopy=on")
}

func TestDiagnosed(t *testing.T) {
	answer := func(ifindex, queue, flags uint32) *netlink.XDPDiagInfoResp {
		return &netlink.XDPDiagInfoResp{XDPInfo: &netlink.XDPInfo{Ifindex: ifindex, QueueID: queue, Umem: &netlink.XDPDiagUmem{Flags: flags},
			Stats: &netlink.XDPDiagStats{RxFull: 3, FillRingEmpty: 5}}}
	}
	shared := &netlink.XDPDiagInfoResp{XDPInfo: &netlink.XDPInfo{Ifindex: 7, QueueID: 2}}
	got := diagnosed([]*netlink.XDPDiagInfoResp{answer(7, 0, netlink.XDP_DU_F_ZEROCOPY), answer(8, 0, 0), answer(7, 1, 0), shared}, 7)
	want := []xskSocket{{0, zeroCopyMode, 3, 5}, {1, copyMode, 3, 5}, {2, copyMode, 0, 0}}
	if !slices.Equal(got, want) {
		t.Errorf("%+v, want %+v", got, want)
	}
}

func TestZeroCopy(t *testing.T) {
	native := func(queues, zeroCopy int) Granted { return Granted{Mode: "native", Queues: queues, ZeroCopy: zeroCopy} }
	want(t, judgeZeroCopy(native(2, 2), true, nil), OK, "2 queues")
	want(t, judgeZeroCopy(native(2, 0), false, nil), Note, "0 of 2")
	want(t, judgeZeroCopy(Granted{Mode: "generic", Queues: 2}, true, nil), Note, "0 of 2")
	want(t, judgeZeroCopy(native(2, 1), true, errors.New("afxdp: eth7 queue 1: no zero-copy: EINVAL")), Note, "1 of 2", "though the driver says", "EINVAL")
	want(t, judgeZeroCopy(native(2, 0), true, nil), Note, "though the driver says")
	silent(t, judgeZeroCopy(native(0, 0), true, nil))
}
