package tcp

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/fastrpc/fastrpc/transport"
)

// stranger is a connection of the standard library's.
func stranger(t testing.TB, to netip.AddrPort) *net.TCPConn {
	t.Helper()
	c, err := net.DialTCP("tcp", nil, net.TCPAddrFromAddrPort(to))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// receiveNothing lets l do what it has to.
func receiveNothing(t testing.TB, l *Link) {
	t.Helper()
	fs := make([]transport.Frame, 4)
	if n, err := l.Recv(fs); n != 0 || err != nil {
		t.Fatalf("Recv = %d, %v", n, err)
	}
}

// run lets l receive until done.
func run(t testing.TB, l *Link, done func() bool) {
	t.Helper()
	await(t, l, func() bool {
		receiveNothing(t, l)
		return done()
	})
}

// A connection that ends is told of at both ends, and the next Send opens another one between the same addresses.
func TestReconnect(t *testing.T) {
	client, server, path := joined(t, "", "")
	awaitEvent(t, client, transport.PeerConnected)
	first := awaitEvent(t, server, transport.PeerConnected)
	for round := range 3 {
		server.lose(server.conns.all[indexOf(server, &first.Path)], unix.ECONNABORTED)
		if ev := awaitEvent(t, server, transport.PeerClosed); ev.Path != first.Path {
			t.Errorf("PeerClosed of %+v, want %+v", ev.Path, first.Path)
		}
		if ev := awaitEvent(t, client, transport.PeerClosed); ev.Path != path || ev.Err == nil {
			t.Errorf("PeerClosed of %+v: %v, want of %+v", ev.Path, ev.Err, path)
		}
		send(t, client, path, "again")
		f := awaitPacket(t, server)
		if string(f.Data) != "again" || f.Path != first.Path {
			t.Errorf("round %d: received %q from %+v, want from %+v", round, f.Data, f.Path, first.Path)
		}
		freeOne(server, f)
		awaitEvent(t, client, transport.PeerConnected)
		awaitEvent(t, server, transport.PeerConnected)
	}
	if s := client.Stats(); s.Opened != 4 || s.Ended != 3 || s.Failed != 0 || len(client.conns.all) != 1 {
		t.Errorf("client: %+v, %d places", s, len(client.conns.all))
	}
	if s := server.Stats(); s.Accepted != 4 || s.Ended != 3 || len(server.conns.all) != 1 {
		t.Errorf("server: %+v, %d places", s, len(server.conns.all))
	}
}

// indexOf is the place of a path's connection.
func indexOf(l *Link, p *transport.Path) int { return l.conns.byPeer[keyOf(p)].index }

// A Link that listens opens no connection: what it sends to a peer that is gone completes and is lost.
func TestListenerOpensNone(t *testing.T) {
	client, server, _ := joined(t, "", "")
	back := awaitEvent(t, server, transport.PeerConnected).Path
	if err := client.Close(); err != nil {
		t.Fatal(err)
	}
	awaitEvent(t, server, transport.PeerClosed)
	send(t, server, back, "hello?")
	if s := server.Stats(); s.Lost != 1 || s.Opened != 0 || s.Failed != 0 {
		t.Errorf("%+v", s)
	}
}

// Where nobody listens, what was sent completes, an event says why, and the Link tries again when it is used again.
func TestNobodyListens(t *testing.T) {
	holder, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := holder.Addr().(*net.TCPAddr).AddrPort()
	holder.Close()
	client, _ := dial(t, addr, "")
	path := resolve(t, client, addr)
	for range 2 {
		send(t, client, path, "anybody?")
		if ev := awaitEvent(t, client, transport.Unreachable); !errors.Is(ev.Err, unix.ECONNREFUSED) || ev.Path != path {
			t.Errorf("%+v: %v", ev.Path, ev.Err)
		}
		time.Sleep(2 * refusedFor) // beyond it the Link believes that things may have changed
	}
	if s := client.Stats(); s.Failed != 2 || s.Lost != 2 {
		t.Errorf("%+v", s)
	}
	server, _ := listen(t, "tcp://"+addr.String())
	send(t, client, path, "now")
	freeOne(server, awaitPacket(t, server))
}

// A burst to where no connection can be opened at once makes one attempt.
func TestRefusedAtOnce(t *testing.T) {
	client, addr := dial(t, netip.MustParseAddrPort("127.0.0.1:9"), "")
	path := resolve(t, client, addr)
	path.RemoteIP = netip.MustParseAddr("255.255.255.255").As16() // connect(2): a broadcast address
	fs := make([]transport.Frame, burst)
	for i := range fs {
		if !client.Alloc(&fs[i]) {
			t.Fatal("no frame")
		}
		fs[i].Data, fs[i].Path = fs[i].Data[:10], path
	}
	if n, err := client.Send(fs); n != burst || err != nil {
		t.Fatal(n, err)
	}
	if n := client.Completed(fs); n != burst {
		t.Errorf("%d of %d completed", n, burst)
	}
	client.Free(fs)
	awaitEvent(t, client, transport.Unreachable)
	if s := client.Stats(); s.Failed != 1 || s.Lost != burst {
		t.Errorf("%+v", s)
	}
}

// Who sends what is no packet loses his connection; the others keep theirs.
func TestGarbageEndsItsConnection(t *testing.T) {
	client, server, path := joined(t, "", "")
	awaitEvent(t, server, transport.PeerConnected)
	for i, junk := range []string{"GET / HTTP/1.1\r\nHost: x\r\n\r\n", "\x00\x00\x00\x00", "\xff\xff\xff\xff", "\x05\x00\x00\x00good\x00\x00\x00\x00\x00"} {
		c := stranger(t, server.local)
		if _, err := c.Write([]byte(junk)); err != nil {
			t.Fatal(err)
		}
		await(t, server, func() bool { // the last one sends a packet first
			fs := make([]transport.Frame, 4)
			n, err := server.Recv(fs)
			if err != nil {
				t.Fatal(err)
			}
			server.Free(fs[:n])
			return server.Stats().Malformed == uint64(i+1)
		})
		if n, err := c.Read(make([]byte, 1)); n != 0 || err == nil {
			t.Errorf("after %q the connection stands: %d, %v", junk, n, err)
		}
	}
	send(t, client, path, "still here")
	freeOne(server, awaitPacket(t, server))
	if server.conns.n != 1 {
		t.Errorf("%d connections", server.conns.n)
	}
}

// Beyond the limit a connection is closed at once, and there is room again when one has gone.
func TestTooManyConnections(t *testing.T) {
	server, addr := listen(t, "tcp://127.0.0.1:0?conns=2")
	first := stranger(t, addr)
	stranger(t, addr)
	run(t, server, func() bool { return server.conns.n == 2 })
	third := stranger(t, addr)
	run(t, server, func() bool { return server.Stats().Refused == 1 })
	if n, err := third.Read(make([]byte, 1)); n != 0 || err == nil {
		t.Errorf("the third connection stands: %d, %v", n, err)
	}
	first.Close()
	run(t, server, func() bool { return server.conns.n == 1 })
	stranger(t, addr)
	run(t, server, func() bool { return server.Stats().Accepted == 3 })
}

// Without descriptors a Link leaves connections where they are, does not run in circles, and takes them later.
func TestNoDescriptors(t *testing.T) {
	client, server, path := joined(t, "", "")
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	highest, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	unix.Close(highest)
	low := limit
	low.Cur = uint64(highest) // no number below it is free
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &low); err != nil {
		t.Fatal(err)
	}
	restore := func() {
		if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
			t.Error(err)
		}
	}
	defer restore()
	if err := unix.Connect(fd, &unix.SockaddrInet4{Port: int(server.local.Port()), Addr: server.local.Addr().As4()}); err != nil {
		t.Fatal(err)
	}
	run(t, server, func() bool { return server.Stats().AcceptErrors == 1 })
	for range 10 {
		server.look()
	}
	if s := server.Stats(); s.AcceptErrors != 1 {
		t.Errorf("the Link tried %d times within its pause", s.AcceptErrors)
	}
	send(t, client, path, "others are served")
	freeOne(server, awaitPacket(t, server))
	restore()
	run(t, server, func() bool { return server.Stats().Accepted == 2 })
}

// Connections that nothing comes on are closed in time, and no others.
func TestIdleConnections(t *testing.T) {
	client, server, path := joined(t, "?idle=100", "")
	awaitEvent(t, server, transport.PeerConnected)
	mute := stranger(t, server.local)
	run(t, server, func() bool { return server.conns.n == 2 })
	now := transport.Now()
	server.sweep(now.Add(proofLimit - time.Second))
	if server.conns.n != 2 {
		t.Error("a connection was closed before its time")
	}
	server.sweep(now.Add(proofLimit + time.Second))
	if n, err := mute.Read(make([]byte, 1)); n != 0 || err == nil || server.conns.n != 1 {
		t.Errorf("a connection without a packet stands: %d, %v", n, err)
	}
	send(t, client, path, "hello")
	freeOne(server, awaitPacket(t, server))
	server.sweep(now.Add(90 * time.Second))
	server.sweep(now.Add(180 * time.Second))
	if server.conns.n != 1 {
		t.Error("a connection was closed though something had come")
	}
	server.sweep(now.Add(191 * time.Second))
	if s := server.Stats(); server.conns.n != 0 || s.Idle != 2 {
		t.Errorf("%d connections, %+v", server.conns.n, s)
	}
	awaitEvent(t, client, transport.PeerClosed)
	if server.sweepAt.Load() != 0 {
		t.Error("a Link without connections wakes up for them")
	}
}

// A peer that takes nothing holds up no other one, and when it has all the frames, or for too long, its connection ends.
func TestPeerThatDoesNotRead(t *testing.T) {
	client, server, path := joined(t, "?frames=64", "")
	back := awaitEvent(t, server, transport.PeerConnected).Path
	mute := stranger(t, server.local)
	at := mute.LocalAddr().(*net.TCPAddr).AddrPort()
	run(t, server, func() bool { return server.conns.n == 2 })
	path2 := back
	path2.RemotePort = at.Port()
	stuck := server.conns.byPeer[keyOf(&path2)]
	fill := func() {
		for {
			fs := make([]transport.Frame, 1)
			if server.Free(fs[:server.Completed(fs)]); !server.Alloc(&fs[0]) {
				return
			}
			fs[0].Data, fs[0].Path = fs[0].Data[:frameBytes], path2
			if n, err := server.Send(fs); n != 1 || err != nil {
				t.Fatal(n, err)
			}
			if err := server.Flush(); err != nil {
				t.Fatal(err)
			}
		}
	}
	for range 20 {
		if server.Counts().Free > 0 || server.frames.Landed() > 0 {
			fill()
			receiveNothing(t, server)
		}
	}
	if stuck.queued != 32 || !stuck.blocked {
		t.Fatalf("%d frames wait, blocked: %v", stuck.queued, stuck.blocked)
	}
	send(t, client, path, "ask")
	freeOne(server, awaitPacket(t, server))
	if stuck.blockedAt = transport.Now().Add(-2 * dryLimit); server.Alloc(new(transport.Frame)) {
		t.Fatal("there is a frame")
	}
	server.look()
	if s := server.Stats(); s.Stalled != 1 || s.Lost != 32 || server.conns.n != 1 {
		t.Errorf("%+v", s)
	}
	fs := make([]transport.Frame, 32)
	server.Free(fs[:server.Completed(fs)])
	send(t, server, back, "answer")
	freeOne(client, awaitPacket(t, client))

	// The same without need: after some time.
	late := stranger(t, server.local)
	run(t, server, func() bool { return server.conns.n == 2 })
	path2.RemotePort = late.LocalAddr().(*net.TCPAddr).AddrPort().Port()
	stuck = server.conns.byPeer[keyOf(&path2)]
	stuck.proven = true
	for !stuck.blocked {
		fill()
	}
	server.sweep(stuck.blockedAt.Add(stallLimit - time.Second))
	if server.conns.n != 2 {
		t.Error("a connection was closed before its time")
	}
	server.sweep(stuck.blockedAt.Add(stallLimit))
	if s := server.Stats(); s.Stalled != 2 || server.conns.n != 1 {
		t.Errorf("%+v", s)
	}
}

// What a peer sent before it closed is received, also when a Send has failed meanwhile.
func TestLastWords(t *testing.T) {
	client, server, path := joined(t, "", "")
	back := awaitEvent(t, server, transport.PeerConnected).Path
	send(t, client, path, "unread: the server's kernel resets the connection when it closes")
	send(t, server, back, "goodbye")
	if err := server.Close(); err != nil {
		t.Fatal(err)
	}
	send(t, client, path, "hello?")
	send(t, client, path, "hello??")
	if f := awaitPacket(t, client); string(f.Data) != "goodbye" {
		t.Errorf("received %q", f.Data)
	} else {
		freeOne(client, f)
	}
	awaitEvent(t, client, transport.PeerClosed)
}

// One Link, several peers: each has a connection of its own, all from the same port.
func TestManyPeers(t *testing.T) {
	var client *Link
	for i := range 2 * fewConns {
		server, addr := listen(t, "tcp://127.0.0.1:0")
		if i == 0 {
			client, _ = dial(t, addr, "")
		}
		path := resolve(t, client, addr)
		send(t, client, path, "hello")
		f := awaitPacket(t, server)
		if f.Path.Remote() != client.local {
			t.Errorf("peer %d sees %v, want %v", i, f.Path.Remote(), client.local)
		}
		send(t, server, f.Path, "hello yourself")
		freeOne(server, f)
		freeOne(client, awaitPacket(t, client))
	}
	if client.conns.n != 2*fewConns {
		t.Errorf("%d connections", client.conns.n)
	}
}

// Opening, failing to open, connecting, breaking and closing leave no descriptor behind.
func TestNoDescriptorLeft(t *testing.T) {
	once := func() {
		client, server, path := joined(t, "", "")
		for _, bad := range []transport.Target{{Host: "nosuchdevice0"}, {Host: "127.0.0.1", Port: server.local.Port()}, {Host: "198.51.100.9"}} {
			if _, err := (Driver{}).Listen(t.Context(), bad); err == nil {
				t.Errorf("Listen(%v) succeeded", bad)
			}
		}
		p := awaitEvent(t, server, transport.PeerConnected).Path
		server.lose(server.conns.all[indexOf(server, &p)], unix.ECONNABORTED)
		awaitEvent(t, client, transport.PeerClosed)
		send(t, client, path, "again")
		freeOne(server, awaitPacket(t, server))
		if err := errors.Join(server.Close(), client.Close()); err != nil {
			t.Fatal(err)
		}
	}
	once()
	before := descriptors(t)
	for range 20 {
		once()
	}
	if after := descriptors(t); after > before {
		t.Errorf("%d descriptors before, %d after", before, after)
	}
}

func descriptors(t testing.TB) int {
	t.Helper()
	d, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(d)
}
