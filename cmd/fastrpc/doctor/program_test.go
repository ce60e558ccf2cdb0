package doctor

import (
	"errors"
	"io/fs"
	"testing"
	"testing/fstest"

	"golang.org/x/sys/unix"

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
	want(t, features(afxdp.DeviceFeatures{XDP: native | afxdp.XDPReceiveMultiBuf}, nil).checkFeatures(), Note, "rx-sg", "no zero-copy")
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
	want(t, judgeAttached(bpf.Attachment{Interface: "eth7", Program: "theirs", ProgramID: 5, LinkID: 9, Mode: bpf.Native}), Wrong, "theirs", "bpftool link detach id 9")
	want(t, judgeAttached(bpf.Attachment{Interface: "eth7", ProgramID: 5, Mode: bpf.Generic}), Wrong, "CAP_SYS_ADMIN", "ip link set dev eth7 xdpgeneric off")
	want(t, judgeAttached(bpf.Attachment{Interface: "eth7", Program: "theirs", ProgramID: 5}), Wrong, "xdpoffload off")
	inUse := bpf.Attachment{Interface: "eth7", Program: steerProgram, ProgramID: 5, LinkID: 9, Mode: bpf.Native}
	want(t, judgeInUse(inUse, 88), Note, "eth7 is in use", "pid 88")
	want(t, judgeInUse(inUse, 0), Note, "a fastrpc process holds it")
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
	on := func(zeroCopy bool, queues ...int) (s []xskSocket) {
		for _, q := range queues {
			s = append(s, xskSocket{queue: q, zeroCopy: zeroCopy})
		}
		return s
	}
	want(t, m.judgeSockets(on(false, 0, 1, 2, 3), nil), OK, "4 of 4 queues")
	want(t, m.judgeSockets(on(false, 0, 1), nil), Note, "queues 2-3", "ethtool -L eth7 combined 2")
	want(t, m.judgeSockets(nil, nil), Note, "queues 0-3")
	want(t, m.judgeSockets(nil, unix.ENOENT), OK, "CONFIG_XDP_SOCKETS_DIAG")
	dropping := on(false, 0, 1, 2, 3)
	dropping[2].dropped, dropping[3].fillRingEmpty = 17, 1
	want(t, m.judgeSockets(dropping, nil), Note, "17 packets were dropped", "1 packet found no free buffer", "frames=")
	m.device.xdp.v.XDP = afxdp.XDPZeroCopy
	want(t, m.judgeSockets(on(true, 0, 1, 2, 3), nil), OK)
	want(t, m.judgeSockets(append(on(true, 0, 1, 2), on(false, 3)...), nil), Note, "queues 3 were granted copies", "zerocopy=on")
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
